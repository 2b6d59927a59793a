"""Procedural objects: one seed in, one lit, coloured, recognisable thing out.

The bundled model is trained on these, so they follow what it meets in use: the front view (camera on +z at distance
1.5, 49.1 degrees) is framed as `prepare_image` frames a picture, and the light is fixed in the world, as if the object
were photographed, and baked into the vertex colours.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .families import animals, held_out, home, outdoors, still, vehicles, vessels
from .families.assembly import assembly
from .families.strange import chimera, recolored, warp
from .palette import Rng
from .shapes import Array, Part, join, rotation, vertex_normals

if TYPE_CHECKING:
    from ..cameras import Cameras

Build = Callable[[Rng], tuple[list[Part], str]]

# name: (builder, degrees by which the thing is turned to one side or the other before the random yaw). A long thing
# is photographed from its side or over its corner; from its front, its other views would not fit the picture.
_BUILDERS: dict[str, tuple[Build, float]] = {
    "mug": (vessels.mug, 0), "bottle": (vessels.bottle, 0), "vase": (vessels.vase, 0),
    "chair": (home.chair, 15), "table": (home.table, 0), "lamp": (vessels.lamp, 0),
    "mushroom": (outdoors.mushroom, 0), "tree": (outdoors.tree, 0), "rocket": (vehicles.rocket, 0),
    "house": (outdoors.house, 20), "car": (vehicles.car, 60), "duck": (animals.duck, 45),
    "snowman": (outdoors.snowman, 0), "robot": (home.robot, 0), "cupcake": (vessels.cupcake, 0),
    "airplane": (vehicles.airplane, 35), "boat": (vehicles.boat, 70), "cactus": (outdoors.cactus, 0),
    "quadruped": (animals.quadruped, 60), "tower": (outdoors.tower, 0), "sofa": (home.sofa, 0),
    "fish": (animals.fish, 75), "icecream": (vessels.icecream, 0), "umbrella": (home.umbrella, 0),
    "guitar": (home.guitar, 0), "pot": (vessels.pot, 0), "teapot": (vessels.teapot, 0),
    "bird": (animals.bird, 45), "watering_can": (vessels.watering_can, 0), "penguin": (animals.penguin, 0),
    "turtle": (animals.turtle, 50), "rabbit": (animals.rabbit, 30), "bus": (vehicles.bus, 60),
    "windmill": (outdoors.windmill, 10), "fruit": (still.fruit, 0), "arrangement": (still.arrangement, 0),
    "hammer": (held_out.hammer, 0), "bicycle": (held_out.bicycle, 60), "camera": (held_out.camera, 15),
    "trophy": (held_out.trophy, 0), "dumbbell": (held_out.dumbbell, 20), "octopus": (held_out.octopus, 0),
    "ladder": (held_out.ladder, 25), "telescope": (held_out.telescope, 45), "assembly": (assembly, 0),
}  # fmt: skip
ASSEMBLY, CHIMERA = "assembly", "chimera"
"""Random solids, and two objects grown together: in the training, and in no list of families, since the tests go
through those in order."""
HELD_OUT: tuple[str, ...] = (
    "teapot", "bird", "hammer", "bicycle", "camera", "trophy", "dumbbell", "octopus", "ladder", "telescope",
)  # fmt: skip
"""Families that no training sees."""
FAMILIES: tuple[str, ...] = tuple(name for name in _BUILDERS if name not in (*HELD_OUT, ASSEMBLY))
_BUILDERS[CHIMERA] = (lambda rng: chimera(rng, [_BUILDERS[name][0] for name in FAMILIES]), 0)

FILL = 0.8  # prepare_image's: the silhouette's longer side over the picture's
DISTANCE = 1.5  # world units, the camera's from the origin
TAN_HALF = float(np.tan(np.radians(49.1 / 2)))
MAX_RADIUS = 0.75  # world units
VARY_FILL = (0.66, 0.90)
TILT_PITCH, TILT_ROLL, TILT_MAX = 5.0, 3.0, 12.0  # degrees: standard deviations about x and z, limit
MARGIN = 0.96  # of the picture, for the views from around the object


@dataclass(frozen=True)
class ProceduralObject:
    """A coloured triangle mesh in world space (+y up, front on +z) around the origin.

    Args:
        vertices: float32 [V, 3], world units.
        faces: int32 [F, 3], outward winding.
        colors: float32 [V, 3] in [0, 1], lit.
        albedo: float32 [V, 3] in [0, 1], not lit.
        family: one of FAMILIES or HELD_OUT, ASSEMBLY or CHIMERA.
        caption: a phrase that names the object and its colours.
        seed: what made it.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    colors: NDArray[np.float32]
    albedo: NDArray[np.float32]
    family: str
    caption: str
    seed: int


def make_object(
    seed: int, family: str | None = None, *, vary_fill: bool = True, warped: bool = False
) -> ProceduralObject:
    """The object of this seed.

    Args:
        seed: >= 0; the same seed and family give the same object.
        family: one of FAMILIES or HELD_OUT, ASSEMBLY or CHIMERA; None draws from FAMILIES.
        vary_fill: the front view's longer side fills 0.66 to 0.90 of the picture; otherwise exactly 0.80, as
            `prepare_image` makes it. Less where the object would leave the picture in other views.
        warped: stretch, twist and bend the object, and exchange the primary colours of its parts.

    Raises:
        InputError: the family is not known, or the seed is negative.

    Example:
        >>> thing = make_object(7, "mug")
        >>> thing.family, thing.vertices.dtype.name
        ('mug', 'float32')
    """
    if seed < 0:
        raise InputError(f"seed must be 0 or more; got {seed}")
    if family is not None and family not in _BUILDERS:
        raise InputError(f"family must be one of {', '.join(_BUILDERS)}; got {family!r}")
    name = _draw_family(seed) if family is None else family
    # The name is part of the seed, or else every family's object of one seed would have the same colours.
    rng = np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(name.encode())]))
    build, heading = _BUILDERS[name]
    parts, caption = build(rng)
    if warped:
        parts = [recolored(rng, part) for part in parts]
    yaw = heading * rng.choice([-1.0, 1.0]) + rng.uniform(-35, 35)
    turn = _tilt(rng) @ rotation("y", yaw)
    fill = rng.uniform(*VARY_FILL) if vary_fill else FILL
    whole = join(parts)
    points = warp(rng, whole.vertices) if warped else whole.vertices
    vertices = frame(points @ turn.T, fill)
    albedo = np.clip(whole.colors, 0, 1)
    colors = albedo * _light(rng, vertices, vertex_normals(vertices, whole.faces), whole.openness)
    caption = re.sub(r"\ba (?=[aeiou])", "an ", caption)  # builders write "a" before every colour
    return ProceduralObject(
        vertices.astype(np.float32), whole.faces, np.clip(colors, 0, 1).astype(np.float32), albedo.astype(np.float32),
        name, caption, seed,
    )  # fmt: skip


def _draw_family(seed: int) -> str:
    return FAMILIES[np.random.default_rng(np.random.SeedSequence([seed])).integers(len(FAMILIES))]


def _tilt(rng: Rng) -> Array:
    """A rotation [3, 3]: half of the objects lean a little, as before a camera that was not held level."""
    pitch, roll = np.clip(rng.normal(0, (TILT_PITCH, TILT_ROLL)), -TILT_MAX, TILT_MAX) * (rng.random() < 0.5)
    return rotation("z", roll) @ rotation("x", pitch)


def frame(vertices: Array, fill: float) -> Array:
    """Move and scale vertices [V, 3] so that the front view is centred and its longer side fills `fill` of the picture.

    Depth is centred on z = 0. If an orbit's view would cut the object off, it is made smaller.
    """
    points = np.ascontiguousarray(vertices.T)  # [3, V]: rows in one piece make the many minima and maxima fast
    low, high = points.min(axis=1), points.max(axis=1)
    points = (points - ((low + high) / 2)[:, None]) * (fill * TAN_HALF * DISTANCE * 2 / np.linalg.norm(high - low))
    for _ in range(5):  # perspective makes it slightly non-linear; each round shrinks the error about tenfold
        points = points * min(1.0, _room(points))
        points = centred(points * zoom(points, fill))
    return centred(points * min(1.0, _room(points))).T


def _projected_bounds(points: Array) -> tuple[Array, Array]:
    """Lowest and highest front-view coordinate of points [3, V], [2] each; the picture spans [-1, 1]."""
    seen = points[:2] / ((DISTANCE - points[2]) * TAN_HALF)  # [2, V]
    return seen.min(axis=1), seen.max(axis=1)


def zoom(points: Array, fill: float) -> float:
    """The factor by which points [3, V] must grow for the front view's longer side to fill `fill` of the picture."""
    low, high = _projected_bounds(points)
    return float(2 * fill / (high - low).max())


def centred(points: Array) -> Array:
    """Points [3, V] with the front view in the middle of the picture and the depth centred on z = 0."""
    low, high = _projected_bounds(points)
    x, y = (low + high) / 2 * TAN_HALF * DISTANCE
    return points - np.array([[x], [y], [(points[2].min() + points[2].max()) / 2]])


def _room(points: Array) -> float:
    """The factor by which points [3, V] may grow before a level orbit cuts them off or they leave MAX_RADIUS."""
    around, height = np.hypot(points[0], points[2]), np.abs(points[1])  # [V]
    edge = TAN_HALF * MARGIN
    # At azimuth a, a point is at (around * sin, height) and depth DISTANCE - around * cos: solved for the worst a.
    wide = DISTANCE * edge / np.sqrt(1 + edge**2) / around.max()
    tall = (DISTANCE * edge / (height + edge * around)).min()
    return float(min(wide, tall, MAX_RADIUS / np.hypot(around, height).max()))


def _light(rng: Rng, vertices: Array, normals: Array, openness: Array) -> Array:
    """Brightness [V, 1]: sky and ground, a key light from the upper front left, a weak fill from the right."""
    key = _direction(rng, (-0.45, 0.65, 0.62), 0.3 if rng.random() < 0.8 else 0.14)
    key = np.maximum(key, (-1.0, 0.1, 0.2))  # never from below or behind: the front would be dark
    key /= np.linalg.norm(key)
    fill = _direction(rng, (0.8, 0.1, 0.25), 0.14)
    ambient = rng.uniform(0.42, 0.62)
    strength = rng.uniform(0.32, min(0.55, 1.04 - ambient))  # together no more than white can bear
    facing = np.maximum(normals @ np.stack([key, fill], axis=1), 0)  # [V, 2]
    height = vertices[:, 1]
    grounded = 0.86 + 0.14 * np.clip((height - height.min()) / (0.45 * (height.max() - height.min())), 0, 1)
    sky = ambient * (1 + 0.16 * normals[:, 1]) * grounded * openness
    return (sky + (strength * facing[:, 0] + 0.12 * facing[:, 1]) * np.sqrt(openness))[:, None]


def _direction(rng: Rng, about: tuple[float, float, float], sigma: float) -> Array:
    vector = np.asarray(about) + rng.normal(0, sigma, 3)
    return vector / np.linalg.norm(vector)


def render_views(thing: ProceduralObject, cameras: Cameras, supersample: int = 2) -> NDArray[np.uint8]:
    """Pictures of an object, uint8 [C, H, W, 4], premultiplied alpha."""
    from ..rendering.mesh_zbuffer import rasterize_mesh  # compiles with numba: only when needed

    viewmats, Ks = cameras.viewmats.cpu().numpy(), cameras.Ks.cpu().numpy()
    size = (cameras.width, cameras.height)
    return rasterize_mesh(thing.vertices, thing.faces, thing.colors, viewmats, Ks, *size, supersample)[0]
