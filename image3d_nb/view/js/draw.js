// Draws splats with WebGL2: one instanced square a splat, far to near, premultiplied blending over the background.

import { axesOf, eyeOf, focalOf } from "./camera.js";
import { ROW_BYTES } from "./data.js";
import { FRAGMENT_SHADER, VERTEX_SHADER } from "./shaders.js";

const TEXTURE_WIDTH = 2048; // every WebGL2 has at least that; two texels a splat
const BYTES_PER_LINE = TEXTURE_WIDTH * 16;

// null when the browser has no WebGL2.
export function createPainter(canvas, rows) {
  // "over" an opaque background, so the page behind never shines through.
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false });
  if (!gl) return null;
  const program = link(gl);
  gl.useProgram(program);
  uploadRows(gl, rows);
  const indices = setUpSquares(gl, program);
  const uniform = (name) => gl.getUniformLocation(program, name);
  const places = {
    toCamera: uniform("toCamera"),
    eye: uniform("eye"),
    focal: uniform("focal"),
    viewport: uniform("viewport"),
  };
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  let count = 0;

  return {
    setOrder(order) {
      gl.bindBuffer(gl.ARRAY_BUFFER, indices);
      gl.bufferData(gl.ARRAY_BUFFER, order, gl.DYNAMIC_DRAW);
      count = order.length;
    },
    draw(camera, background) {
      const { width, height } = canvas;
      const { right, down, forward } = axesOf(camera);
      gl.viewport(0, 0, width, height);
      gl.clearColor(...background, 1);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniformMatrix3fv(places.toCamera, true, [...right, ...down, ...forward]);
      gl.uniform3fv(places.eye, eyeOf(camera));
      gl.uniform1f(places.focal, focalOf(camera, width, height));
      gl.uniform2f(places.viewport, width, height);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
    },
  };
}

function link(gl) {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX_SHADER], [gl.FRAGMENT_SHADER, FRAGMENT_SHADER]]) {
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
  return program;
}

// The rows go to the GPU byte by byte as they are; the vertex shader takes them apart.
function uploadRows(gl, rows) {
  const lines = Math.ceil(rows.length / BYTES_PER_LINE);
  const largest = gl.getParameter(gl.MAX_TEXTURE_SIZE);
  if (lines > largest) {
    const most = (largest * BYTES_PER_LINE) / ROW_BYTES;
    throw new Error(`this browser draws at most ${most} splats; got ${rows.length / ROW_BYTES}`);
  }
  const padded = new Uint8Array(lines * BYTES_PER_LINE);
  padded.set(rows);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32UI, TEXTURE_WIDTH, lines, 0, gl.RGBA_INTEGER, gl.UNSIGNED_INT,
    new Uint32Array(padded.buffer));
}

// Four corners shared by all; one index a splat. Returns the buffer of the indices.
function setUpSquares(gl, program) {
  const corner = gl.getAttribLocation(program, "corner");
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
  gl.enableVertexAttribArray(corner);
  gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);

  const index = gl.getAttribLocation(program, "index");
  const indices = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, indices);
  gl.enableVertexAttribArray(index);
  gl.vertexAttribIPointer(index, 1, gl.UNSIGNED_INT, 0, 0);
  gl.vertexAttribDivisor(index, 1);
  return indices;
}
