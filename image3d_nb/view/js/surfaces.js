// The pass that draws triangles: coloured by vertex or by a texture, lit as in image3d_nb/rendering/mesh_zbuffer.py
// (shade=True), both sides seen.

import { link, PROJECTION, useProgram } from "./gl.js";

const GREY = 0.7; // of a mesh with neither colours nor a texture, as in the renderer

const SURFACE_VERTEX_SHADER = `#version 300 es
precision highp float;
${PROJECTION}
uniform bool lit;

in vec3 position;
in vec3 normal;
in vec3 colour;
in vec2 uv;

out vec3 tint;
out vec2 place;
out float shade;

void main() {
  // A wrapped Lambert term: the light stands to the left of the camera, above and behind; no side turns black.
  float towardsLight = dot(toCamera * normal, normalize(vec3(-0.45, -0.55, -0.70)));
  shade = lit ? clamp(0.62 + 0.42 * towardsLight, 0.2, 1.0) : 1.0;
  tint = colour;
  place = vec2(uv.x, 1.0 - uv.y); // a texture's first row is its top
  gl_Position = onScreen(toCamera * (position - eye));
}`;

const SURFACE_FRAGMENT_SHADER = `#version 300 es
precision highp float;

uniform sampler2D picture;
uniform bool textured;
uniform float fade;         // towards white

in vec3 tint;
in vec2 place;
in float shade;
out vec4 rgba;

void main() {
  vec3 own = textured ? texture(picture, place, -0.5).rgb : tint; // half a level sharper: the edges are smooth anyway
  rgba = vec4(shade * mix(own, vec3(1.0), fade), 1.0);
}`;

export function createSurfacePass(gl) {
  const linked = link(gl, SURFACE_VERTEX_SHADER, SURFACE_FRAGMENT_SHADER);

  return {
    upload(surface, store) {
      const array = store.vertexArray();
      store.attribute(linked, "position", surface.vertices, { size: 3, type: gl.FLOAT });
      store.attribute(linked, "normal", surface.normals, { size: 3, type: gl.SHORT, normalized: true });
      if (surface.colours) {
        store.attribute(linked, "colour", surface.colours, { size: 3, type: gl.UNSIGNED_BYTE, normalized: true });
      }
      if (surface.picture) store.attribute(linked, "uv", surface.uvs, { size: 2, type: gl.FLOAT });
      store.elements(surface.faces);
      const texture = surface.picture && uploadPicture(gl, surface.picture, store);
      return { array, texture, count: surface.faces.length, lit: surface.lit };
    },
    draw(uploaded, view, light, fade) {
      useProgram(gl, linked, view);
      gl.uniform1i(linked.places.lit, light && uploaded.lit);
      gl.uniform1i(linked.places.textured, uploaded.texture !== null);
      gl.uniform1f(linked.places.fade, fade);
      gl.bindTexture(gl.TEXTURE_2D, uploaded.texture);
      gl.bindVertexArray(uploaded.array);
      gl.vertexAttrib3f(gl.getAttribLocation(linked.program, "colour"), GREY, GREY, GREY); // where it has no array
      gl.drawElements(gl.TRIANGLES, uploaded.count, gl.UNSIGNED_INT, 0);
    },
  };
}

function uploadPicture(gl, picture, store) {
  const largest = gl.getParameter(gl.MAX_TEXTURE_SIZE);
  const { width, height } = picture;
  if (Math.max(width, height) > largest) {
    throw new Error(`this browser takes textures of at most ${largest} pixels; got ${width} x ${height}`);
  }
  const texture = store.texture();
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
  gl.generateMipmap(gl.TEXTURE_2D);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  return texture;
}

// Each edge of the triangles once -> Float32Array of both ends, for the pass that draws lines.
export function edgesOf({ vertices, faces }) {
  const count = vertices.length / 3;
  const known = new Set();
  const ends = [];
  for (let i = 0; i < faces.length; i++) {
    const [a, b] = [faces[i], faces[i % 3 === 2 ? i - 2 : i + 1]];
    const key = Math.min(a, b) * count + Math.max(a, b);
    if (known.has(key)) continue;
    known.add(key);
    for (const vertex of [a, b]) ends.push(vertices[3 * vertex], vertices[3 * vertex + 1], vertices[3 * vertex + 2]);
  }
  return new Float32Array(ends);
}
