// What lies under the cursor: the first point of the scene along a ray.

import { positionsOf, ROW_BYTES } from "./data.js";

// ray: { origin, direction (unit length) }. Returns [x, y, z], or null where nothing is.
export function pick(scene, ray, splatScale) {
  const hits = scene.surfaces.map((surface) => surfaceHit(surface, ray));
  if (scene.rows) hits.push(splatHit(scene.rows, ray, splatScale));
  const nearest = Math.min(...hits);
  return nearest < Infinity ? along(ray, nearest) : null;
}

const along = ({ origin, direction }, distance) => origin.map((value, i) => value + distance * direction[i]);
const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];

// Distance to the nearest triangle, or Infinity. Source: Moeller and Trumbore 1997.
function surfaceHit({ vertices, faces }, { origin, direction }) {
  const corner = (i) => vertices.subarray(3 * faces[i], 3 * faces[i] + 3);
  let nearest = Infinity;
  for (let i = 0; i < faces.length; i += 3) {
    const a = corner(i);
    const [ab, ac] = [minus(corner(i + 1), a), minus(corner(i + 2), a)];
    const p = cross(direction, ac);
    const determinant = dot(ab, p);
    if (determinant === 0) continue;
    const t = minus(origin, a);
    const q = cross(t, ab);
    const [u, v] = [dot(t, p) / determinant, dot(direction, q) / determinant];
    const distance = dot(ac, q) / determinant;
    if (u >= 0 && v >= 0 && u + v <= 1 && distance > 0 && distance < nearest) nearest = distance;
  }
  return nearest;
}

// Distance at which half of the light is gone, or Infinity when more than that comes through.
function splatHit(rows, ray, splatScale) {
  const touched = touchedSplats(rows, ray, splatScale).sort((a, b) => a.distance - b.distance);
  let light = 1;
  for (const { distance, alpha } of touched) {
    light *= 1 - alpha;
    if (light < 0.5) return distance;
  }
  return Infinity;
}

function touchedSplats(rows, { origin, direction }, splatScale) {
  const view = new DataView(rows.buffer, rows.byteOffset, rows.byteLength);
  const positions = positionsOf(rows);
  const [offset, scale] = [[0, 0, 0], [0, 0, 0]];
  const touched = [];
  for (let i = 0; i < rows.length / ROW_BYTES; i++) {
    const start = ROW_BYTES * i;
    for (let axis = 0; axis < 3; axis++) {
      offset[axis] = positions[3 * i + axis] - origin[axis];
      scale[axis] = Math.max(1e-9, splatScale * view.getFloat32(start + 12 + 4 * axis, true));
    }
    const distance = dot(offset, direction);
    const beside = dot(offset, offset) - distance * distance;
    if (distance <= 0 || beside > 9 * Math.max(...scale) ** 2) continue;
    // In the splat's own axes it is a unit ball, and the ray still a line: its closest point has the most alpha.
    const axes = axesOfRow(rows, start);
    const own = (vector) => axes.map((axis, k) => dot(axis, vector) / scale[k]);
    const [o, d] = [own(offset), own(direction)];
    const squared = dot(o, o) - dot(o, d) ** 2 / dot(d, d);
    const alpha = (rows[start + 27] / 255) * Math.exp(-0.5 * squared);
    if (alpha > 1 / 255) touched.push({ distance, alpha });
  }
  return touched;
}

// The splat's three axes in the world: columns of the rotation of its quaternion.
function axesOfRow(rows, start) {
  const bytes = [28, 29, 30, 31].map((at) => rows[start + at] - 128);
  const [w, x, y, z] = bytes.map((value) => value / (Math.hypot(...bytes) || 1));
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
    [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
    [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
  ];
}
