// An orbit camera with the conventions of image3d_nb/cameras.py: OpenGL world, +y up, angles in degrees,
// azimuth 0 on +z and 90 on +x, elevation up is positive. fovy spans the shorter side of the canvas,
// so that a narrow window does not cut the object off; on a square canvas that is the Python camera.

const RADIANS = Math.PI / 180;
const CLOSEST = 1 / 30; // of the first radius
const FARTHEST = 60;
const NEAR = 0.01; // world units, as in image3d_nb/rendering/mesh_zbuffer.py

export function createCamera({ elevation = 0, azimuth = 0, radius = 1.5, target = [0, 0, 0], fovy = 49.1 } = {}) {
  const home = { elevation, azimuth, radius, target: [...target] };
  const camera = { ...home, target: [...target], fovy };

  camera.reset = () => Object.assign(camera, home, { target: [...home.target] });

  camera.orbit = (degreesRight, degreesUp) => {
    camera.azimuth = (camera.azimuth + degreesRight) % 360;
    // Beyond the poles the picture would turn over under the reader's hand.
    camera.elevation = Math.max(-89.9, Math.min(89.9, camera.elevation + degreesUp));
  };

  camera.zoom = (factor) => {
    camera.radius = Math.max(CLOSEST * home.radius, Math.min(FARTHEST * home.radius, camera.radius * factor));
  };

  // Moves the target in the picture's plane; x right and y up, in fractions of the shorter side.
  camera.pan = (x, y) => {
    const { right, down } = axesOf(camera);
    const span = 2 * camera.radius * Math.tan((camera.fovy * RADIANS) / 2);
    for (let i = 0; i < 3; i++) camera.target[i] += span * (x * right[i] - y * down[i]);
  };

  return camera;
}

// Unit axes of the camera in the world, OpenCV order (x right, y down, z forward). Straight from the angles:
// a cross product with "up" would fail when looking straight down.
export function axesOf({ elevation, azimuth }) {
  const [sinE, cosE] = [Math.sin(elevation * RADIANS), Math.cos(elevation * RADIANS)];
  const [sinA, cosA] = [Math.sin(azimuth * RADIANS), Math.cos(azimuth * RADIANS)];
  return {
    right: [cosA, 0, -sinA],
    down: [sinA * sinE, -cosE, cosA * sinE],
    forward: [-sinA * cosE, -sinE, -cosA * cosE],
  };
}

function eyeOf(camera) {
  const { forward } = axesOf(camera);
  return camera.target.map((value, i) => value - camera.radius * forward[i]);
}

// Focal length in pixels, the same for x and y.
function focalOf(camera, width, height) {
  return (0.5 * Math.min(width, height)) / Math.tan((camera.fovy * RADIANS) / 2);
}

// What the shaders need to know of the camera. The near plane moves away with it, for the sake of the depth buffer.
export function viewOf(camera, width, height) {
  const { right, down, forward } = axesOf(camera);
  return {
    width,
    height,
    toCamera: [...right, ...down, ...forward],
    eye: eyeOf(camera),
    focal: focalOf(camera, width, height),
    near: Math.max(NEAR, 0.002 * camera.radius),
  };
}

// The ray through a point of the picture, x and y from its upper left corner; the direction has unit length.
export function rayThrough(camera, x, y, width, height) {
  const { right, down, forward } = axesOf(camera);
  const focal = focalOf(camera, width, height);
  const along = forward.map((value, i) => value + ((x - width / 2) * right[i] + (y - height / 2) * down[i]) / focal);
  const length = Math.hypot(...along);
  return { origin: eyeOf(camera), direction: along.map((value) => value / length) };
}
