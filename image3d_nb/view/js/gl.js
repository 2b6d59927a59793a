// What the passes (splats, surfaces, lines) share: linking, uniforms, buffers, and the projection.

// Camera space (x right, y down, z forward) to clip space. The far plane is infinitely far away.
export const PROJECTION = `
uniform mat3 toCamera;      // rows: right, down, forward
uniform vec3 eye;
uniform float focal;        // pixels
uniform float near;         // world units
uniform vec2 viewport;      // pixels

vec4 onScreen(vec3 p) {
  return vec4(2.0 * focal / viewport * vec2(p.x, -p.y), p.z - 2.0 * near, p.z);
}`;

// A program and the places of its uniforms by name.
export function link(gl, vertexShader, fragmentShader) {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertexShader], [gl.FRAGMENT_SHADER, fragmentShader]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
      throw new Error(`shader: ${gl.getShaderInfoLog(shader)}`);
    }
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(`shader program: ${gl.getProgramInfoLog(program)}`);
  }
  const places = {};
  const count = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS) || 0; // none when the context is lost
  for (let i = 0; i < count; i++) {
    const { name } = gl.getActiveUniform(program, i);
    places[name] = gl.getUniformLocation(program, name);
  }
  return { program, places };
}

// Makes the program current and gives it the view (see viewOf in camera.js).
export function useProgram(gl, { program, places }, view) {
  gl.useProgram(program);
  gl.uniformMatrix3fv(places.toCamera, true, view.toCamera);
  gl.uniform3fv(places.eye, view.eye);
  gl.uniform1f(places.focal, view.focal);
  gl.uniform1f(places.near, view.near);
  gl.uniform2f(places.viewport, view.width, view.height);
}

// What a scene keeps on the GPU, to be given back when another scene takes its place.
export function createStore(gl) {
  const owned = [];
  const own = (kind, object) => {
    owned.push([kind, object]);
    return object;
  };
  return {
    vertexArray() {
      const array = own("VertexArray", gl.createVertexArray());
      gl.bindVertexArray(array);
      return array;
    },
    // An attribute of the bound vertex array. `shape`: size, type, and where needed normalized, integer, divisor.
    attribute({ program }, name, data, { size, type, normalized = false, integer = false, divisor = 0 }) {
      const buffer = own("Buffer", gl.createBuffer());
      const place = gl.getAttribLocation(program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      if (data) gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(place);
      if (integer) gl.vertexAttribIPointer(place, size, type, 0, 0);
      else gl.vertexAttribPointer(place, size, type, normalized, 0, 0);
      gl.vertexAttribDivisor(place, divisor);
      return buffer;
    },
    elements(indices) {
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, own("Buffer", gl.createBuffer()));
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices, gl.STATIC_DRAW);
    },
    texture() {
      const texture = own("Texture", gl.createTexture());
      gl.bindTexture(gl.TEXTURE_2D, texture);
      return texture;
    },
    free: () => owned.splice(0).forEach(([kind, object]) => gl[`delete${kind}`](object)),
  };
}
