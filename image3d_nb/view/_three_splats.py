"""Splats for three.js r97: one float texture that holds the Gaussians and 16 depth orders of them, and two shaders.

A transparent object must be drawn from the back to the front. Sorting for every view would need the kernel, or a worker
that pythreejs does not have. So the table holds the order along 16 axes, and the vertex shader reads, forwards or
backwards, the one nearest to the direction of view: it is exact for 32 directions, LGM's four views among them, and at
most 26 degrees off in between.

The shaders are GLSL ES 1.00, which three r97 takes in WebGL 1 and 2 alike. Three vertices a splat: a triangle around
the circle within which it is seen.

Sources: Kerbl et al. 2023, 3D Gaussian Splatting, eq. 5 and 6; Zwicker et al. 2001, EWA volume splatting, eq. 29.
"""

from __future__ import annotations

import math
from string import Template

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..gaussians import Gaussians

Floats = NDArray[np.float32]

AXES = 16
TEXELS = 3 + AXES // 4  # of four floats, a splat: mean, opacity; covariance, colour; its ranks' entries
MAX_SIDE = 4096  # pixels; what every WebGL 2 machine can hold as a texture
STEPS = 4095  # a colour channel in 12 bits: two of them fit exactly into one float


def sort_axes() -> Floats:
    """[16, 3], unit length: four around the equator (the front first), eight at 38 degrees, three at 70, the pole."""
    rows = [(0.0, 45.0 * k) for k in range(4)]  # elevation, azimuth; the other side of each is its own reverse
    rows += [(38.0, 22.5 + 45.0 * k) for k in range(8)]
    rows += [(70.0, 120.0 * k) for k in range(3)] + [(90.0, 0.0)]
    up, turn = np.deg2rad(np.array(rows)).T
    axes = np.stack([np.cos(up) * np.sin(turn), np.sin(up), np.cos(up) * np.cos(turn)], 1)  # [16, 3]
    return axes.astype(np.float32)


def sort_orders(means: Floats) -> NDArray[np.int64]:
    """[16, N]: for each axis the Gaussians [N, 3], the farthest along it first."""
    depths = sort_axes() @ means.T  # [16, N]
    return np.argsort(-depths, axis=1, kind="stable")


def splat_table(gaussians: Gaussians) -> Floats:
    """[H, W, 4], the texture: three texels a Gaussian, then four a rank, then zeros; W is a power of two.

    Raises:
        InputError: more of them than a texture holds.
    """
    count = len(gaussians)
    most = MAX_SIDE * MAX_SIDE // TEXELS
    if count > most:
        raise InputError(f"preview_splats can hold {most:,} Gaussians; got {count:,}: prune, crop, or use show")
    width = 2 ** math.ceil(math.log2(math.sqrt(TEXELS * count)))
    height = math.ceil(TEXELS * count / width)
    plain = gaussians.detach().to("cpu")
    means, covariances, opacities, rgb = (
        tensor.float().numpy() for tensor in (plain.means, plain.covariances(), plain.opacities, plain.rgb.clamp(0, 1))
    )
    red, green, blue = np.rint(rgb * STEPS).T  # each [N]
    xx, xy, xz, yy, yz, zz = (covariances[:, i, j] for i in range(3) for j in range(i, 3))
    table = np.zeros((height * width, 4), np.float32)
    table[: 3 * count : 3] = np.column_stack([means, opacities])
    table[1 : 3 * count : 3] = np.column_stack([xx, xy, xz, yy])
    table[2 : 3 * count : 3] = np.column_stack([yz, zz, red / STEPS, green * (STEPS + 1) + blue])
    table[3 * count : TEXELS * count] = sort_orders(means).T.reshape(-1, 4)  # a rank's 16 entries are four texels
    return table.reshape(height, width, 4)


def vertex_numbers(count: int) -> Floats:
    """[3N], what stands in the attribute ``position``: the number of each vertex."""
    return np.arange(3 * count, dtype=np.float32)


def vertex_shader(count: int, table: Floats, size: int) -> str:
    """The vertex shader for ``count`` Gaussians, their table, and a square canvas of ``size`` pixels."""
    choices = "\n".join(
        f"  consider(forward, vec3({x:.8f}, {y:.8f}, {z:.8f}), {k}.0, best, axis);"
        for k, (x, y, z) in enumerate(sort_axes())
    )
    numbers = {"count": count, "width": table.shape[1], "height": table.shape[0], "size": size}
    return Template(_VERTEX).substitute(
        {name: f"{value}.0" for name, value in numbers.items()}, steps=f"{STEPS + 1}.0", choices=choices
    )


_VERTEX = """
precision highp float;
precision highp sampler2D;

uniform sampler2D splats;
varying vec4 colour;          // rgb, opacity
varying vec2 sigmas;          // offset from the centre along the ellipse's axes, in standard deviations

const float COUNT = $count;
const vec2 TABLE = vec2($width, $height);
const float SIZE = $size;     // of the canvas, pixels
const float NEAR = 0.1;       // world units; constants as in image3d_nb/rendering
const float LOW_PASS = 0.3;   // px^2, added to the ellipse so that none is thinner than a pixel

vec4 texel(float number) {
  float row = floor((number + 0.5) / TABLE.x);
  return texture2D(splats, (vec2(number - row * TABLE.x, row) + 0.5) / TABLE);
}

void consider(vec3 forward, vec3 candidate, float number, inout float best, inout float axis) {
  float along = dot(forward, candidate);
  if (abs(along) > abs(best)) { best = along; axis = number; }
}

// Which Gaussian to draw as the rank-th, counted from the farthest: by the order of the axis nearest to the view.
float drawn(float rank, vec3 forward) {
  float best = 0.0, axis = 0.0;
$choices
  float entry = best > 0.0 ? rank : COUNT - 1.0 - rank;
  float group = floor(axis / 4.0);
  vec4 four = texel(3.0 * COUNT + 4.0 * entry + group);
  float part = axis - 4.0 * group;
  return part < 0.5 ? four.x : part < 1.5 ? four.y : part < 2.5 ? four.z : four.w;
}

void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0); // outside of the picture, until we know better
  sigmas = vec2(0.0);
  colour = vec4(0.0);
  float rank = floor((position.x + 0.5) / 3.0);
  float corner = position.x - 3.0 * rank;
  mat3 turn = mat3(modelViewMatrix);
  vec3 right = vec3(turn[0].x, turn[1].x, turn[2].x);  // the camera's axes, in the Gaussians' space
  vec3 up = vec3(turn[0].y, turn[1].y, turn[2].y);
  vec3 back = vec3(turn[0].z, turn[1].z, turn[2].z);
  float index = drawn(rank, -back);
  vec4 first = texel(3.0 * index), second = texel(3.0 * index + 1.0), third = texel(3.0 * index + 2.0);
  float green = floor(third.w / $steps);
  colour = vec4(third.z, vec2(green, third.w - green * $steps) / ($steps - 1.0), first.w);
  vec4 p = modelViewMatrix * vec4(first.xyz, 1.0);
  float depth = -p.z;
  float reach = 2.0 * log(255.0 * max(colour.a, 1e-6)); // square of the sigmas at which alpha falls to 1/255
  if (depth < NEAR || reach <= 0.0) return;

  // The rows of J W. The clamp keeps splats beside the picture from growing without end.
  vec2 focal = 0.5 * SIZE * vec2(projectionMatrix[0].x, projectionMatrix[1].y);
  vec2 limit = 1.3 * 0.5 * SIZE / focal;
  vec2 slope = clamp(p.xy / depth, -limit, limit);
  vec3 rowX = focal.x / depth * (right + slope.x * back);
  vec3 rowY = focal.y / depth * (up + slope.y * back);
  mat3 covariance = mat3(second.xyz, second.y, second.w, third.x, second.z, third.xy);
  float a = dot(rowX, covariance * rowX) + LOW_PASS;
  float b = dot(rowX, covariance * rowY);
  float c = dot(rowY, covariance * rowY) + LOW_PASS;

  // Axes of the ellipse [a b; b c]: eigenvalues and the angle of the longer one.
  float middle = 0.5 * (a + c);
  float spread = length(vec2(0.5 * (a - c), b));
  float angle = spread > 0.0 ? 0.5 * atan(b, 0.5 * (a - c)) : 0.0;
  vec2 longAxis = sqrt(middle + spread) * vec2(cos(angle), sin(angle));
  vec2 shortAxis = sqrt(max(middle - spread, LOW_PASS)) * vec2(-sin(angle), cos(angle));

  // A triangle with corners at distance 2 holds the unit circle.
  vec2 place = corner < 0.5 ? vec2(0.0, 2.0) : corner < 1.5 ? vec2(-1.7320508, -1.0) : vec2(1.7320508, -1.0);
  sigmas = sqrt(reach) * place;
  vec2 offset = sigmas.x * longAxis + sigmas.y * shortAxis; // pixels, y up
  vec4 centre = projectionMatrix * p;
  gl_Position = centre + vec4(2.0 * offset / SIZE * centre.w, 0.0, 0.0);
}
"""

FRAGMENT_SHADER = """
precision highp float;

varying vec4 colour;
varying vec2 sigmas;

void main() {
  float alpha = min(0.99, colour.a * exp(-0.5 * dot(sigmas, sigmas)));
  if (alpha < 1.0 / 255.0) discard;
  gl_FragColor = vec4(colour.rgb * alpha, alpha);
}
"""
