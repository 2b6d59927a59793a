// The two shaders: each splat is a square that just holds the part of its ellipse with alpha >= 1/255.
// Source: Kerbl et al. 2023, "3D Gaussian Splatting"; Zwicker et al. 2001, "EWA Splatting", eq. 29 and 31.

import { PROJECTION } from "./gl.js";

export const SPLAT_VERTEX_SHADER = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;

${PROJECTION}
uniform usampler2D rows;    // two texels a splat: its 32 bytes as eight uint32
uniform float size;         // factor of all scales, 1 for the splats as they are
uniform float dotRadius;    // pixels; above 0, splats are opaque dots of that size

in vec2 corner;             // of the square, -1 or 1
in uint index;              // which splat: the sorted order

flat out vec4 colour;       // rgb, opacity
out vec2 sigmas;            // offset from the centre along the ellipse's axes, in standard deviations

const float CLOSEST = 0.1;  // world units; constants as in image3d_nb/rendering
const float LOW_PASS = 0.3; // px^2, added to the ellipse so that none is thinner than a pixel

uvec4 texel(uint number) {
  uint width = uint(textureSize(rows, 0).x);
  return texelFetch(rows, ivec2(int(number % width), int(number / width)), 0);
}

vec4 fourBytes(uint word) {
  return vec4(uvec4(word, word >> 8, word >> 16, word >> 24) & 255u);
}

mat3 rotation(vec4 q) {     // q is (w, x, y, z); GLSL matrices are written column by column
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(
    1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
    2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
    2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
}

void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0); // outside of the picture, until we know better
  uvec4 first = texel(2u * index);
  uvec4 second = texel(2u * index + 1u);
  vec3 mean = uintBitsToFloat(first.xyz);
  vec3 scale = size * uintBitsToFloat(uvec3(first.w, second.xy));
  colour = fourBytes(second.z) / 255.0;
  vec4 quat = normalize((fourBytes(second.w) - 128.0) / 128.0);

  vec3 p = toCamera * (mean - eye);
  float reach = 2.0 * log(255.0 * colour.a); // square of the sigmas at which alpha falls to 1/255
  if (p.z < CLOSEST || reach <= 0.0) return;

  // J W R S, of which we need the two upper rows; the clamp keeps splats beside the picture from growing without end.
  mat3 m = transpose(toCamera * rotation(quat) * mat3(scale.x, 0, 0, 0, scale.y, 0, 0, 0, scale.z));
  vec2 limit = 1.3 * 0.5 * viewport / focal;
  vec2 slope = clamp(p.xy / p.z, -limit, limit);
  vec3 rowX = focal / p.z * (m[0] - slope.x * m[2]);
  vec3 rowY = focal / p.z * (m[1] - slope.y * m[2]);
  float a = dot(rowX, rowX) + LOW_PASS;
  float b = dot(rowX, rowY);
  float c = dot(rowY, rowY) + LOW_PASS;

  // Axes of the ellipse [a b; b c]: eigenvalues and the angle of the longer one.
  float middle = 0.5 * (a + c);
  float spread = length(vec2(0.5 * (a - c), b));
  float angle = spread > 0.0 ? 0.5 * atan(b, 0.5 * (a - c)) : 0.0;
  vec2 longAxis = sqrt(middle + spread) * vec2(cos(angle), sin(angle));
  vec2 shortAxis = sqrt(max(middle - spread, LOW_PASS)) * vec2(-sin(angle), cos(angle));

  sigmas = sqrt(reach) * corner;
  vec2 offset = sigmas.x * longAxis + sigmas.y * shortAxis; // pixels, y down
  if (dotRadius > 0.0) {
    sigmas = corner;
    offset = dotRadius * corner;
  }
  gl_Position = onScreen(p + vec3(offset * p.z / focal, 0.0));
}`;

export const SPLAT_FRAGMENT_SHADER = `#version 300 es
precision highp float;

uniform float dotRadius;
flat in vec4 colour;
in vec2 sigmas;
out vec4 premultiplied;

void main() {
  if (dotRadius > 0.0) {
    if (dot(sigmas, sigmas) > 1.0) discard;
    premultiplied = vec4(colour.rgb, 1.0);
    return;
  }
  float alpha = min(0.99, colour.a * exp(-0.5 * dot(sigmas, sigmas)));
  if (alpha < 1.0 / 255.0) discard;
  premultiplied = vec4(colour.rgb * alpha, alpha);
}`;
