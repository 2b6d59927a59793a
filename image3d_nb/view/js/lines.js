// The pass that draws lines of an even width in pixels: a WebGL line would be one pixel wide, whatever the screen.
// The same widening, in the same place, is in image3d_nb/view/frusta.py.

import { link, PROJECTION, useProgram } from "./gl.js";

const LINE_VERTEX_SHADER = `#version 300 es
precision highp float;
${PROJECTION}
uniform float halfWidth;    // pixels

in vec2 corner;             // x: 0 at one end, 1 at the other; y: -1 or 1 across
in vec3 start;
in vec3 end;
in vec4 colour;
flat out vec4 tint;

const float TOWARDS_EYE = 0.998; // so that an edge lies on its surface and not in it; moves nothing on the screen

void main() {
  vec3 p = toCamera * (start - eye);
  vec3 q = toCamera * (end - eye);
  vec3 here = mix(p, q, corner.x);
  vec3 across = cross(q - p, here); // at right angles to the line and to the ray towards it
  float pixel = max(here.z, near) / focal; // its size at that depth
  here += corner.y * halfWidth * pixel * across / max(length(across), 1e-12);
  gl_Position = onScreen(TOWARDS_EYE * here);
  tint = colour;
}`;

const LINE_FRAGMENT_SHADER = `#version 300 es
precision highp float;

flat in vec4 tint;
out vec4 premultiplied;

void main() {
  premultiplied = vec4(tint.rgb * tint.a, tint.a);
}`;

export function createLinePass(gl) {
  const linked = link(gl, LINE_VERTEX_SHADER, LINE_FRAGMENT_SHADER);

  return {
    // ends: Float32Array, two points a line; colours: Uint8Array rgba, one a line, or one colour for all.
    upload(ends, colours, store) {
      const count = ends.length / 6;
      const starts = new Float32Array(3 * count);
      const stops = new Float32Array(3 * count);
      for (let i = 0; i < count; i++) {
        starts.set(ends.subarray(6 * i, 6 * i + 3), 3 * i);
        stops.set(ends.subarray(6 * i + 3, 6 * i + 6), 3 * i);
      }
      const array = store.vertexArray();
      const corners = new Float32Array([0, -1, 1, -1, 0, 1, 1, 1]);
      store.attribute(linked, "corner", corners, { size: 2, type: gl.FLOAT });
      store.attribute(linked, "start", starts, { size: 3, type: gl.FLOAT, divisor: 1 });
      store.attribute(linked, "end", stops, { size: 3, type: gl.FLOAT, divisor: 1 });
      const everyLine = colours.length === 4 ? new Uint8Array(4 * count).map((_, i) => colours[i % 4]) : colours;
      store.attribute(linked, "colour", everyLine, { size: 4, type: gl.UNSIGNED_BYTE, normalized: true, divisor: 1 });
      return { array, count };
    },
    draw(uploaded, view, width) {
      useProgram(gl, linked, view);
      gl.uniform1f(linked.places.halfWidth, width / 2);
      gl.bindVertexArray(uploaded.array);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, uploaded.count);
      gl.disable(gl.BLEND);
    },
  };
}
