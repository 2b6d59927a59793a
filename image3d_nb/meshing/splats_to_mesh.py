"""All stages together: Gaussians to one closed, textured mesh."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .._numbers import is_whole
from ..errors import Cancelled, InputError
from ..gaussians import Gaussians
from ..images.caller import warn
from ..mesh import Mesh, vertex_normals
from .cloud import Cloud, Grid, find_object, visible
from .depth import depth_views, seen, view_directions
from .haze import Haze, measure_haze, solidify
from .simplify import simplify
from .surface import (
    Floats,
    Ints,
    area,
    covered,
    distinct,
    enclosed,
    is_manifold,
    marching_cubes,
    outer_shells,
    pull_to_centres,
    taubin,
    thickness,
)
from .texture import bake, colors_at, even_colors, grid_atlas, longest_edge_last
from .volume import BAND, SIGMA, Fusion, Volume, drop_floaters, fill_cavities, seal, smooth

OnStep: TypeAlias = Callable[[str, int, int], object]

STAGES = ("views", "volume", "surface", "simplify", "texture")
UNSEEN = 0.002  # of the border may be out of sight before one looks from more directions
READINGS = 4  # of the Gaussians, each more solid than the one before
HELD = 0.95  # of what is seen of the Gaussians, that must lie at the solid's surface
BULK = 0.5  # of all Gaussians, seen or not: a faint halo is no surface around them
WITHIN = 3.0  # cells from the surface
AROUND = 4.0  # or as many deviations of the haze, if these are more
LEAKY = 0.002  # of a view's pixels, through which light may leak, of a skin
COLLAPSED = 0.3  # of the solid's volume, which the surface must enclose
HIDDEN = 0.01  # of the border out of sight: more is what light that leaked has left of the inside
SAME = 0.15  # of the volume, by which two readings may differ where light leaks
STAYS = 0.8  # of the light that leaks: as much or more leaks through an open place in a more solid reading, too
UNSURE = 0.4  # of the centres' deviation, by which a noisy skin's surface may be misplaced
DOUBT = 0.05  # of the volume: a larger possible error gets a warning
HANDLES = 20  # more of them are slits in a wall that is too thin, more likely than the object's own
LOOSE = 0.62  # Haze.spread of a haze, at least
THICK = 0.55  # thickness() of a haze, at least: 0.63 to 0.81 of the tiny model's objects, to 0.48 of very noisy skins
REACH = 2.0  # cells that a vertex is pulled at most, twice
HELD_BACK = 9.0  # a deep haze's vertices are pulled so many times less: its outlines then fit the true ones best


def to_mesh(
    gaussians: Gaussians,
    resolution: int = 128,
    texture: Literal["uv", "vertex"] = "uv",
    target_faces: int = 20_000,
    *,
    texture_size: int | None = None,
    progress: bool = True,
    on_step: OnStep | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Mesh:
    """Make one closed, coloured mesh of Gaussians: what a slicer, a game or a CAD program can take.

    The shell is watertight (each edge is shared by two faces), manifold (around each vertex there is one fan of faces)
    and faces outwards. Each separate part is one shell: what is closed off inside is filled, parts of less than a
    hundredth of the largest one's volume are left out as floaters. The same input gives the same bits on one machine.

    The stages are functions of :mod:`image3d_nb.meshing`, to be called one by one: depth views from all around, a
    volume of signed distances, repairs of the volume, marching cubes, pulling vertices to the Gaussians' centres,
    smoothing, simplifying, a texture.

    Args:
        gaussians: some 1,000 to 250,000, anywhere, of any size and on any device; those of opacity below 0.02 are left
            out. Colours are those that are the same from all sides (SH degree 0).
        resolution: cells along the object's longest side, 16 to 512. A wall, a gap or a handle thinner than about three
            cells may vanish or close. 128 suits LGM's 65,536 Gaussians, which are half a cell apart then, and small
            models' too; time and memory grow with its square to cube (256: about 4 times as long, 0.5 GB).
        texture: "uv": a texture of its own, which every format can hold but .stl; each triangle has its own place in
            it, so each vertex comes once a face (V = 3F) and with equal bits: **merging vertices by position gives the
            closed shell** (trimesh, admesh and slicers do so when they load a file). "vertex": a colour a vertex, and
            the closed shell as it is (V = F / 2, about).
        target_faces: the most triangles, 100 or more.
        texture_size: texels along the texture's side, at least 4 for each square of two triangles (400 for 20,000
            faces); None: 9 for each square (900).
        progress: show a bar in a notebook or a terminal, unless ``on_step`` is given (never if TQDM_DISABLE is set).
        on_step: called as f(stage, done, total), stage one of "views" (counts directions; their number grows where
            something is hollow), "volume", "surface", "simplify", "texture".
        cancelled: asked between steps; True stops the work.

    Returns:
        A Mesh of float32 vertices with normals, and uvs and texture (or vertex_colors), in the Gaussians' world.

    Raises:
        InputError: the Gaussians enclose nothing (too few, all transparent, all in a plane, a skin with holes that
            encloses another volume each time it is read as more solid), hold NaN or numbers out of range, or lie so
            far from the origin that float32 cannot tell cells apart; or an argument is out of range.
        Cancelled: ``cancelled`` said so.

    Warns:
        UserWarning: light leaks through the surface; much of its inside is out of sight; it has more than 20 handles;
            readings differ; or the Gaussians' noise leaves the volume in doubt.

    Source:
        Curless and Levoy 1996 (volume); Lewiner et al. 2003 (marching cubes); Taubin 1995 (smoothing).

    Example:
        >>> mesh = to_mesh(result.gaussians)  # doctest: +SKIP
        >>> mesh  # doctest: +SKIP
        Mesh(vertices=57168, faces=19056, colors=texture)
    """
    _check(resolution, texture, target_faces, texture_size)
    steps = _Steps(on_step, cancelled, progress)
    try:
        cloud, grid = find_object(visible(gaussians), resolution)
        haze = measure_haze(cloud, grid)
        vertices, faces = _shell(cloud, grid, haze, steps)
        steps.report("simplify", 0, 1)
        vertices, faces = outer_shells(*simplify(vertices, faces, target_faces))
        assert is_manifold(faces)
        places = distinct(vertices, faces)
        steps.report("simplify", 1, 1)
        steps.report("texture", 0, 1)
        paint = cloud if haze.faintness == 1 else even_colors(cloud)
        mesh = _painted(places, faces, paint, texture, texture_size)
        steps.report("texture", 1, 1)
    finally:
        steps.end()
    return mesh


def _shell(cloud: Cloud, grid: Grid, haze: Haze, steps: _Steps) -> tuple[Floats, Ints]:
    """The surface of the first reading that passes the check; each reading is more solid than the one before.

    A reading passes if what is seen of the Gaussians lies at its surface and little light leaks. One that leaks may be
    a sieve, which grows where less light gets through, or an open object. If the next reading encloses as much, with as
    many handles, that one passes. If it leaks as much, with as many handles, the object is open, and the earlier one
    passes. If only the volumes agree, the last such reading is returned in the end, with a warning.
    """
    deep = haze.depth / grid.cell  # cells
    in_sight = seen(solidify(cloud, haze.more_solid(1, grid.cell)), grid, grid.cell)
    # the deeper the haze, the wider the volume is smoothed, and the larger the holes that this closes
    leaky, faults = LEAKY * max(1.0, deep) ** 3, []
    earlier: _Reading | None = None  # the reading before, if light leaks there
    doubtful: _Reading | None = None  # the last one that encloses as much as that before it, with other handles
    for number in range(READINGS):
        volume, leaks, unseen = _volume(cloud, grid, haze.more_solid(number, grid.cell), leaky, steps)
        previous, earlier = earlier, None
        if volume is None:
            faults.append("they hide less than half of what is behind them")
            continue
        vertices, faces, noisy = _surface(volume, cloud, grid, haze, steps)
        size, solid = enclosed(vertices, faces), float((volume < 0).sum()) * grid.cell**3
        near = covered(vertices, cloud.means, max(WITHIN * grid.cell, AROUND * haze.depth))
        held, bulk = (_share(near, cloud.opacities * counted) for counted in (in_sight, np.ones(len(cloud))))
        if size < COLLAPSED * solid:
            faults.append(f"the surface collapsed to {max(size, 0) / solid:.0%} of the solid's volume")
            continue
        if held < HELD or bulk < BULK:
            faults.append(f"the surface holds {100 * held:.0f} % of what is seen of them, {100 * bulk:.0f} % of all")
            continue
        euler = len(vertices) - len(faces) // 2
        earlier = _Reading(vertices, faces, size, euler, leaks, unseen, haze.depth if noisy else 0.0)
        if leaks <= leaky and unseen <= HIDDEN:
            return earlier.with_warnings(2 * leaky)
        faults.append(
            f"light leaks through {100 * leaks:.1f} % of the pixels; {100 * unseen:.0f} % of the inside's border "
            "is out of sight"
        )
        if previous is None:
            continue
        alike = earlier.euler == previous.euler
        if alike and max(earlier.unseen, previous.unseen) <= HIDDEN and leaks >= STAYS * previous.leaks:
            return previous.with_warnings(leaky)
        if abs(size - previous.size) <= SAME * size:
            if alike:
                return earlier.with_warnings(2 * leaky)
            doubtful = earlier
    if doubtful is not None:
        warn("the Gaussians, read as more solid, have other handles or another volume: look at the mesh")
        return doubtful.with_warnings(2 * leaky)
    raise InputError(
        "to_mesh needs Gaussians that enclose a volume, hide what is behind them and lie near the surface that they "
        f"show; got: {'; '.join(dict.fromkeys(faults))}. Try another resolution, remove stray Gaussians first "
        "(image3d_nb.meshing.clean), or raise the opacities"
    )


@dataclass(frozen=True)
class _Reading:
    """A surface, and what speaks against it."""

    vertices: Floats
    faces: Ints
    size: float  # the volume inside
    euler: int  # 2 for each shell, 2 less for each handle
    leaks: float  # the share of the pixels through which light leaks
    unseen: float  # the share of the inside's border that is out of sight
    noise: float  # the deviation of the centres from the surface; 0 where the surface's place is sure

    def with_warnings(self, leaky: float) -> tuple[Floats, Ints]:
        """The surface, after warnings: more than ``leaky`` of the pixels leak light, and what else is in doubt."""
        off = UNSURE * self.noise * area(self.vertices, self.faces) / self.size
        if self.leaks > leaky:
            warn(
                f"light leaks through {100 * self.leaks:.1f} % of the pixels: look at the mesh, it may have holes or "
                "handles that the object has not"
            )
        if self.unseen > HIDDEN:
            warn(
                f"{100 * self.unseen:.0f} % of the inside's border cannot be seen from outside: the Gaussians are too "
                "sparse or faint to be sure of, or hollow behind a small opening: look at the mesh"
            )
        handles = 1 - self.euler // 2
        if handles > HANDLES:
            warn(
                f"the surface has at least {handles} handles: the Gaussians' walls are thin or torn; look at the "
                "mesh, or try a lower resolution"
            )
        if off > DOUBT:
            warn(
                f"the Gaussians' centres lie {self.noise:.2g} units before or behind their surface: the volume may be "
                f"{100 * off:.0f} % off; more Gaussians, or less noise, would help"
            )
        return self.vertices, self.faces


def _share(chosen: NDArray[np.bool_], weights: Floats) -> float:
    return float(weights[chosen].sum() / max(weights.sum(), 1e-9))


def _volume(cloud: Cloud, grid: Grid, haze: Haze, leaky: float, steps: _Steps) -> tuple[Volume | None, float, float]:
    """Look from more and more directions until nothing is out of sight; then repair, holes where light leaks as well.

    Returns:
        The volume, None if nothing is inside; the share of pixels through which light leaked; and the share of the
        border that no view has seen.
    """
    depth = haze.depth / grid.cell  # in cells
    fusion, done, total = Fusion(grid, max(BAND, 3 * depth)), 0, 0
    solid = solidify(cloud, haze)
    for directions in view_directions():
        total += len(directions)
        steps.report("views", done, total)
        for view in depth_views(solid, grid, directions):
            fusion.add(view)
            done += 1
            steps.report("views", done, total)
        unseen = fusion.unseen()
        if unseen <= UNSEEN:
            break
    steps.report("volume", 0, 1)
    volume = smooth(fusion.volume(), max(SIGMA, SIGMA * depth))
    if not (volume < 0).any():
        return None, fusion.leaks, unseen
    volume = fill_cavities(drop_floaters(volume))
    if fusion.leaks > leaky:  # the handles of a skin that does not leak are its own
        volume = seal(volume)
    steps.report("volume", 1, 1)
    return volume, fusion.leaks, unseen


def _surface(volume: Volume, cloud: Cloud, grid: Grid, haze: Haze, steps: _Steps) -> tuple[Floats, Ints, bool]:
    """Marching cubes, pulling and smoothing; and whether the Gaussians are a skin with much noise along its normal."""
    steps.report("surface", 0, 3)
    for _ in range(5):
        vertices, faces = marching_cubes(volume, grid)
        if is_manifold(faces):
            break
        volume = smooth(volume)  # two sheets touch in a face of a cell; seen in pure noise only
    vertices, faces = outer_shells(vertices, faces)
    steps.report("surface", 1, 3)
    # of a deep haze, what can be seen lies well before the centres, and rightly so; of a noisy skin, it does not
    noisy = haze.depth > grid.cell and thickness(vertices, faces, cloud) <= THICK
    held_back = haze.depth > grid.cell and haze.spread > LOOSE and not noisy
    reach = REACH * grid.cell / HELD_BACK if held_back else REACH * max(grid.cell, haze.depth)
    vertices = pull_to_centres(vertices, faces, cloud, reach)
    steps.report("surface", 2, 3)
    vertices = taubin(vertices, faces)
    steps.report("surface", 3, 3)
    return vertices, faces, noisy


def _painted(places: Floats, faces: Ints, cloud: Cloud, texture: str, texture_size: int | None) -> Mesh:
    normals = vertex_normals(places.astype(np.float64), faces).astype(np.float32)
    if texture == "vertex":
        colors = colors_at(places.astype(np.float64), cloud).astype(np.float32)
        return Mesh(places, faces, vertex_colors=colors, normals=normals)
    faces = longest_edge_last(places, faces)
    atlas = grid_atlas(len(faces), texture_size)
    picture = bake(places.astype(np.float64), faces, atlas, cloud)
    corners = faces.ravel()  # [3F]
    alone = np.arange(len(corners)).reshape(-1, 3)
    return Mesh(places[corners], alone, uvs=atlas.uvs.astype(np.float32), texture=picture, normals=normals[corners])


class _Steps:
    """Tells how far the work is, and asks whether to go on."""

    def __init__(self, on_step: OnStep | None, cancelled: Callable[[], bool] | None, progress: bool) -> None:
        self._on_step, self._cancelled = on_step, cancelled
        # a bar only where somebody watches: a terminal, or a notebook's kernel
        watched = sys.stderr.isatty() or "ipykernel" in sys.modules
        quiet = not (progress and watched and on_step is None) or any(map(os.environ.get, ("CI", "TQDM_DISABLE")))
        self._bar = tqdm(total=len(STAGES), desc="to_mesh", unit="stage", file=sys.stderr, leave=False, disable=quiet)

    def report(self, stage: str, done: int, total: int) -> None:
        if self._on_step is not None:
            self._on_step(stage, done, total)
        self._bar.set_postfix_str(stage, refresh=False)
        self._bar.n = round(STAGES.index(stage) + done / total, 2)
        self._bar.refresh()
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("to_mesh was cancelled")

    def end(self) -> None:
        self._bar.close()


def _check(resolution: int, texture: str, target_faces: int, texture_size: int | None) -> None:
    whole = {"resolution": (resolution, 16, 512), "target_faces": (target_faces, 100, 10_000_000)}
    if texture_size is not None:
        whole["texture_size"] = (texture_size, 32, 16_384)
    for name, (value, low, high) in whole.items():
        if not is_whole(value) or not low <= value <= high:
            raise InputError(f"{name} must be a whole number from {low:,} to {high:,}; got {value!r}")
    if texture not in ("uv", "vertex"):
        raise InputError(f'texture must be "uv" or "vertex"; got {texture!r}')
