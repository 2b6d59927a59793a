// The pass that draws splats: one instanced square each, far to near, premultiplied blending.

import { ROW_BYTES } from "./data.js";
import { link, useProgram } from "./gl.js";
import { SPLAT_FRAGMENT_SHADER, SPLAT_VERTEX_SHADER } from "./splat_shaders.js";

const TEXTURE_WIDTH = 2048; // every WebGL2 has at least that; two texels a splat
const BYTES_PER_LINE = TEXTURE_WIDTH * 16;

export function createSplatPass(gl) {
  const linked = link(gl, SPLAT_VERTEX_SHADER, SPLAT_FRAGMENT_SHADER);

  return {
    upload(rows, store) {
      const texture = uploadRows(gl, rows, store);
      const array = store.vertexArray();
      const corners = new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]); // shared by all
      store.attribute(linked, "corner", corners, { size: 2, type: gl.FLOAT });
      const indices = store.attribute(linked, "index", null, // the sorted order, one a splat: see setOrder
        { size: 1, type: gl.UNSIGNED_INT, integer: true, divisor: 1 });
      return { texture, array, indices, count: 0 };
    },
    setOrder(splats, order) {
      gl.bindBuffer(gl.ARRAY_BUFFER, splats.indices);
      gl.bufferData(gl.ARRAY_BUFFER, order, gl.DYNAMIC_DRAW);
      splats.count = order.length;
    },
    draw(splats, view, size, dotRadius) {
      useProgram(gl, linked, view);
      gl.uniform1f(linked.places.size, size);
      gl.uniform1f(linked.places.dotRadius, dotRadius);
      gl.bindTexture(gl.TEXTURE_2D, splats.texture);
      gl.bindVertexArray(splats.array);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.depthMask(false); // they hide behind surfaces, but blend with each other
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, splats.count);
      gl.depthMask(true);
      gl.disable(gl.BLEND);
    },
  };
}

// The rows go to the GPU byte by byte as they are; the vertex shader takes them apart.
function uploadRows(gl, rows, store) {
  const lines = Math.ceil(rows.length / BYTES_PER_LINE);
  const largest = gl.getParameter(gl.MAX_TEXTURE_SIZE);
  if (lines > largest) {
    const most = (largest * BYTES_PER_LINE) / ROW_BYTES;
    throw new Error(`this browser draws at most ${most} splats; got ${rows.length / ROW_BYTES}`);
  }
  const padded = new Uint8Array(lines * BYTES_PER_LINE);
  padded.set(rows);
  const texture = store.texture();
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32UI, TEXTURE_WIDTH, lines, 0, gl.RGBA_INTEGER, gl.UNSIGNED_INT,
    new Uint32Array(padded.buffer));
  return texture;
}
