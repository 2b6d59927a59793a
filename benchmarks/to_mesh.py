"""How good is to_mesh, and how fast? Five analytic shapes, clean and noisy, beside marching cubes on a density grid.

    python benchmarks/to_mesh.py --grid [--cases 50] [--seed 12] [--resolution 128]
    python benchmarks/to_mesh.py [--seeds 20] [--shapes sphere,mug] [--count 65536] [--resolution 128] [--no-rival]

Each row is one shape and kind: the mean over the seeds, and the worst in brackets. Both ways run in one process, on one
thread (set OMP_NUM_THREADS=1 too: threads that wait for each other count as work); seconds are of the processor, after
one run that compiles. The bars: watertight and manifold always, one closed
shell per part; the right genus always on sphere, torus and box, in 0.9 of the seeds on the others; F-score at 0.005
units at least 0.97 clean and 0.83 noisy; volume within 3 % and 8 %; texture at least 26 and 23 dB; the time at most 15
times the density grid's.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numba
import numpy as np
import torch
from analytic_shapes import SHAPES, Shape, ball, box, capsule, colour, gaussians, skin, torus
from numpy.typing import NDArray

import image3d_nb as i3d
from image3d_nb import Gaussians, Mesh, to_mesh
from image3d_nb.errors import InputError
from image3d_nb.meshing import find_object, is_manifold, outer_shells, visible
from image3d_nb.metrics import f_score

Floats = NDArray[np.float64]
POINTS = 300_000  # on each surface: as many, and chance distances stay far below the threshold
THRESHOLD = 0.005
SEED = 12  # of the grid
ALWAYS = ("sphere", "torus", "box with a hole")
RIVAL_BLUR, RIVAL_LEVEL = 0.7, 1.0  # cells; of the summed opacities


@numba.njit(cache=True)
def _add_density(means: Any, inverses: Any, opacities: Any, radii: Any, origin: Any, cell: float, density: Any) -> None:
    """Add opacity exp(-q/2) of each Gaussian to the points of the grid within 3 deviations."""
    lows, highs = np.empty(3, np.int64), np.empty(3, np.int64)
    for n in range(len(means)):
        for axis in range(3):
            middle, reach = (means[n, axis] - origin[axis]) / cell, 3 * radii[n, axis] / cell
            lows[axis] = max(math.ceil(middle - reach), 0)
            highs[axis] = min(math.floor(middle + reach), density.shape[axis] - 1)
        m = inverses[n]
        for i in range(lows[0], highs[0] + 1):
            x = origin[0] + i * cell - means[n, 0]
            for j in range(lows[1], highs[1] + 1):
                y = origin[1] + j * cell - means[n, 1]
                for k in range(lows[2], highs[2] + 1):
                    z = origin[2] + k * cell - means[n, 2]
                    q = x * (m[0, 0] * x + 2 * (m[0, 1] * y + m[0, 2] * z))
                    q += y * (m[1, 1] * y + 2 * m[1, 2] * z) + z * m[2, 2] * z
                    if q < 9:
                        density[i, j, k] += opacities[n] * math.exp(-0.5 * q)


def density_mesh(gaussians: Gaussians, resolution: int = 128) -> Mesh:
    """The rival: the density on the same grid, marching cubes, the outer shells, colours of the nearest four.

    Blur and level are those with the best figures on these shapes: less, and the skin has pinholes through which its
    outer and its inner side are one.
    """
    from scipy.spatial import cKDTree
    from skimage.measure import marching_cubes

    cloud, grid = find_object(visible(gaussians), resolution)
    blurred = cloud.covariances + np.eye(3) * (RIVAL_BLUR * grid.cell) ** 2
    radii = np.sqrt(np.diagonal(blurred, axis1=1, axis2=2))
    density = np.zeros(grid.shape, np.float32)
    inverses = np.linalg.inv(blurred)
    _add_density(cloud.means, inverses, cloud.opacities, radii, grid.origin, grid.cell, density)
    vertices, faces, _, _ = marching_cubes(density, RIVAL_LEVEL, gradient_direction="descent")
    vertices, faces = outer_shells(vertices.astype(np.float64), faces[:, ::-1].astype(np.int64))
    places = grid.origin + grid.cell * vertices
    distances, index = cKDTree(cloud.means).query(places, 4)
    weights = 1 / np.maximum(distances, 1e-9)
    colors = np.einsum("nk,nkc->nc", weights, cloud.colors[index]) / weights.sum(1, keepdims=True)
    return Mesh(places, faces, vertex_colors=colors)


def shell_of(mesh: Mesh) -> tuple[Floats, NDArray[np.int64]]:
    """Vertices merged by position, as readers of files merge them, and the faces that index them."""
    vertices, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
    return vertices.astype(np.float64), index.ravel()[mesh.faces]


def shells(vertices: Floats, faces: NDArray[np.int64]) -> list[tuple[int, float]]:
    """Genus and volume of each connected part of a closed mesh, the smallest first."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([faces[:, :2], faces[:, 1:]])
    count, part = connected_components(coo_matrix((np.ones(len(ends)), ends.T), (len(vertices),) * 2))
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    volumes = np.bincount(part[faces[:, 0]], np.einsum("fc,fc->f", a, np.cross(b, c)) / 6, count)
    v, f = np.bincount(part, minlength=count), np.bincount(part[faces[:, 0]], minlength=count)
    return sorted(zip((2 - (v - f / 2)) / 2, volumes, strict=True), key=lambda shell: shell[1])  # V - E + F = 2 - 2g


def on_surface(mesh: Mesh, count: int, seed: int) -> tuple[Floats, Floats]:
    """Random points [count, 3] on a mesh, and its colours there: of the texture (bilinear) or of the vertices."""
    rng = np.random.default_rng(seed)
    corners = mesh.vertices[mesh.faces].astype(np.float64)  # [F, 3, 3]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    face = rng.choice(len(area), count, p=area / area.sum())
    r1, r2 = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - r1, r1 * (1 - r2), r1 * r2], 1)  # [count, 3]
    points = np.einsum("nk,nkc->nc", weights, corners[face])
    if mesh.texture is None:
        assert mesh.vertex_colors is not None
        return points, np.einsum("nk,nkc->nc", weights, mesh.vertex_colors[mesh.faces[face]])
    assert mesh.uvs is not None
    return points, lookup(mesh.texture, np.einsum("nk,nkc->nc", weights, mesh.uvs[mesh.faces[face]]))


def lookup(texture: NDArray[np.uint8], uvs: Floats) -> Floats:
    """Bilinear colours [n, 3] in [0, 1] of a texture at uvs [n, 2], (0, 0) at its lower left corner."""
    height, width = texture.shape[:2]
    x, y = np.clip(uvs[:, 0] * width - 0.5, 0, width - 1), np.clip((1 - uvs[:, 1]) * height - 0.5, 0, height - 1)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    top, low = (texture[row, x0] * (1 - fx) + texture[row, x1] * fx for row in (y0, y1))
    return (top * (1 - fy) + low * fy) / 255


def judge(mesh: Mesh, shape: Shape, to_shape: Callable[[Floats], Floats], truth: Floats) -> dict[str, float]:
    """The figures of one mesh."""
    vertices, faces = shell_of(mesh)
    parts = shells(vertices, faces)
    closed = is_manifold(faces) and all(volume > 0 for _, volume in parts)
    right = sorted(round(float(genus), 2) for genus, _ in parts) == sorted(shape.genera)
    points, colors = on_surface(mesh, POINTS, seed=0)
    places = to_shape(points)
    error = float(np.square(colors - colour(places)).mean())
    return {
        "closed": float(closed),
        "shells": float(len(parts) == len(shape.genera)),
        "genus": float(right),
        "F": f_score(places, truth, THRESHOLD),
        "volume": abs(sum(volume for _, volume in parts) / shape.volume - 1) * 100,
        "dB": -10 * math.log10(error),
        "faces": len(faces),
    }


def rows(shape: Shape, noisy: bool, options: argparse.Namespace) -> Iterator[dict[str, dict[str, float]]]:
    """For each seed, the figures of both ways."""
    truth = shape.sample(POINTS, np.random.default_rng(12345))[0]
    for seed in range(options.seeds):
        splats, to_shape = gaussians(shape, options.count, noisy=noisy, seed=seed)
        found = {}
        for name, work in (("to_mesh", to_mesh), ("density", density_mesh)):
            start = time.process_time()
            mesh = work(splats, options.resolution)
            found[name] = {"seconds": time.process_time() - start}
            if name == "to_mesh" or options.rival:
                found[name] |= judge(mesh, shape, to_shape, truth)
        yield found


def line(name: str, kind: str, way: str, figures: list[dict[str, float]]) -> str:
    """One row of the table."""

    def both(key: str, worst: Callable[[list[float]], float], digits: str) -> str:
        values = [row[key] for row in figures]
        return f"{np.mean(values):{digits}f} ({worst(values):{digits}f})"

    cells = [f"{name:16} {kind:6} {way:8}", both("seconds", max, "5.2")]
    if "F" in figures[0]:
        cells += [f"{sum(int(row[key]) for row in figures):3}/{len(figures)}" for key in ("closed", "shells", "genus")]
        cells += [both("F", min, ".3"), both("volume", max, "5.2"), both("dB", min, ".1"), both("faces", max, "7.0")]
    return "  ".join(cells)


def missed(name: str, noisy: bool, figures: list[dict[str, float]]) -> list[str]:
    """The bars that a shape misses."""
    genus = sum(row["genus"] for row in figures) / len(figures)
    bars = {
        "closed": all(row["closed"] and row["shells"] for row in figures),
        "genus": genus >= (1.0 if name in ALWAYS else 0.9),
        "F-score": min(row["F"] for row in figures) >= (0.83 if noisy else 0.97),
        "volume": max(row["volume"] for row in figures) <= (8 if noisy else 3),
        "texture": min(row["dB"] for row in figures) >= (23 if noisy else 26),
    }
    return [bar for bar, met in bars.items() if not met]


def cases(count: int, seed: int = SEED) -> Iterator[tuple[str, Shape, Gaussians, Callable[[Floats], Floats], bool]]:
    """Name, shape, Gaussians, the turn back to the shape and whether they are clean: a sample of all combinations."""
    shapes = [*(ball(radius) for radius in (0.2, 0.3, 0.4, 0.45)), torus(0.3, 0.12), torus(0.28, 0.08),
              capsule(0.2, 0.2), capsule(0.25, 0.12), box(0.4, 0.3, 0.2), box(0.3, 0.3, 0.3)]  # fmt: skip
    settings = list(product([(0.1, 0.4), (0.15, 0.99), (0.9, 1.0)], (0.0, 0.6, 1.0), (0.0, 0.08, 0.15), (1.0, 0.6)))
    counts = (5_000, 12_000, 30_000, 65_536, 250_000)
    rng = np.random.default_rng(seed)
    for n in range(count):
        shape, (opacity, noise, junk, width) = shapes[n % len(shapes)], settings[rng.integers(len(settings))]
        many = int(rng.choice(counts, p=(0.2, 0.25, 0.25, 0.24, 0.06)))
        splats = skin(
            shape,
            many,
            opacity=opacity,
            noise=noise,
            junk=junk,
            width=width,
            seed=n if seed == SEED else 1000 * (seed + 1) + n,
        )
        name = f"{shape.name:18} {opacity!s:12} noise {noise:3} junk {junk:4} {many:7,} of width {width}"
        yield name, shape, splats, lambda points: points, noise == junk == 0
    for shape in SHAPES.values():
        splats, to_shape = gaussians(shape, noisy=True, seed=1)
        yield f"{shape.name:18} LGM-like {len(splats):,}", shape, splats, to_shape, False


def near(mesh: Mesh, shape: Shape, to_shape: Callable[[Floats], Floats], truth: Floats) -> float:
    """F-score at 0.005: the shape's distance is exact, the mesh's is that to the nearest of many points on it."""
    from scipy.spatial import cKDTree

    points = to_shape(on_surface(mesh, POINTS, seed=0)[0])
    precision = (np.abs(shape.distance(points)) < THRESHOLD).mean()
    recall = (cKDTree(points).query(truth, distance_upper_bound=THRESHOLD)[0] < THRESHOLD).mean()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def grid(count: int, resolution: int, seed: int) -> None:
    """Closed skins of translucent Gaussians and the tiny model's objects: a row each, then how many are right."""
    truths: dict[str, Floats] = {}
    rows, seconds = [], []
    for name, shape, splats, to_shape, clean in cases(count, seed):
        if shape.name not in truths:
            truths[shape.name] = shape.sample(20_000, np.random.default_rng(12345))[0]
        start = time.process_time()
        mesh, word = spoken(lambda splats=splats: to_mesh(splats, resolution, "vertex"))
        seconds.append(time.process_time() - start)
        row = {"closed": 0.0, "genus": 0.0, "volume": math.inf, "F": 0.0}
        if mesh is not None:
            parts = shells(*shell_of(mesh))
            row["closed"] = float(is_manifold(mesh.faces) and all(volume > 0 for _, volume in parts))
            row["genus"] = float(sorted(round(float(genus), 2) for genus, _ in parts) == sorted(shape.genera))
            row["volume"] = (sum(volume for _, volume in parts) / shape.volume - 1) * 100
            row["F"] = near(mesh, shape, to_shape, truths[shape.name])
        right = bool(row["closed"] and row["genus"] and abs(row["volume"]) <= 5)
        rows.append({**row, "right": right, "clean": clean, "word": bool(word)})
        print(f"{name}: {seconds[-1]:5.2f} s  closed {row['closed']:.0f}  genus {row['genus']:.0f}  F {row['F']:.3f}  "
              f"volume {row['volume']:+.2f} %  {'' if right else 'WRONG '}{word}", flush=True)  # fmt: skip
    total = len(rows)
    print(f"closed {sum(row['closed'] for row in rows):.0f}, right genus {sum(row['genus'] for row in rows):.0f}, "
          f"volume within 5 % {sum(abs(row['volume']) <= 5 for row in rows)}, all {sum(row['right'] for row in rows)} "
          f"of {total}; refused or warned of {sum(row['word'] for row in rows)}; "
          f"wrong without a word {sum(not row['right'] and not row['word'] for row in rows)}; "
          f"least F where clean {min((row['F'] for row in rows if row['clean']), default=math.nan):.3f}; "
          f"CPU s a mesh {np.mean(seconds):.2f}")  # fmt: skip
    tiny_objects(resolution)


def tiny_objects(resolution: int) -> None:
    """The samples through the tiny model, refined and not: is each closed, and does its outline fit?"""
    pipe = i3d.load_pipeline()
    cameras = i3d.orbit_cameras(elevation=15, azimuth=tuple(range(0, 360, 45)), size=128)
    for name in ("mug", "duck", "car", "robot", "house", "toadstool"):
        for refined in (False, True):
            image = i3d.load_image(i3d.sample(name))
            splats = pipe(image, generator=i3d.generator(0), refine=refined).gaussians
            start = time.process_time()
            mesh, word = spoken(lambda splats=splats: to_mesh(splats, resolution, "vertex"))
            seconds, text = time.process_time() - start, "refused"
            if mesh is not None:
                alphas = [i3d.render(obj, cameras, return_alpha=True)[1] for obj in (mesh, splats)]
                genera = [round(float(genus)) for genus, _ in shells(*shell_of(mesh))]
                text = f"closed {is_manifold(mesh.faces):.0f}  genus {genera}  outline IoU, least of eight sides, "
                text += f"{float(i3d.metrics.silhouette_iou(*alphas).min()):.3f}"
            print(f"tiny {name:10}{'refined' if refined else '':8}: {seconds:5.2f} s  {text}  {word}", flush=True)


def spoken(work: Callable[[], Mesh]) -> tuple[Mesh | None, str]:
    """The mesh, None if it is refused; and the warning or the error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            mesh = work()
        except InputError as error:
            return None, f"refused: {error}"
    return mesh, "; ".join(f"warned: {warning.message}" for warning in caught)


def main() -> None:
    parser = argparse.ArgumentParser(description="to_mesh beside marching cubes on a density grid")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--count", type=int, default=65_536)
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--no-rival", dest="rival", action="store_false", help="time it, but do not judge its meshes")
    parser.add_argument("--grid", action="store_true", help="closed skins of translucent Gaussians instead")
    parser.add_argument("--cases", type=int, default=50, help="of the grid, beside LGM-like and tiny objects")
    parser.add_argument("--seed", type=int, default=SEED, help="of the grid's sample and its skins")
    options = parser.parse_args()
    torch.set_num_threads(1)
    small, _ = gaussians(SHAPES["sphere"], 2000)
    to_mesh(small, 32)  # compiles
    if options.grid:
        grid(options.cases, options.resolution, options.seed)
        return
    density_mesh(small, 32)
    print(f"{options.count:,} Gaussians, resolution {options.resolution}, {options.seeds} seeds; mean (worst)")
    print(f"{'':32} CPU s          closed shells genus    F-score at 0.005  volume off %   texture dB    faces")
    seconds: dict[str, list[float]] = {"to_mesh": [], "density": []}
    faults = []
    for name in options.shapes.split(","):
        for noisy in (False, True):
            found = list(rows(SHAPES[name], noisy, options))
            for way in seconds:
                figures = [row[way] for row in found]
                seconds[way] += [row["seconds"] for row in figures]
                print(line(name, "noisy" if noisy else "clean", way, figures), flush=True)
            faults += [f"{name}: {bar}" for bar in missed(name, noisy, [row["to_mesh"] for row in found])]
    ours, theirs = sum(seconds["to_mesh"]), sum(seconds["density"])
    ratio = ours / theirs
    print(f"CPU s a mesh: to_mesh {np.mean(seconds['to_mesh']):.2f}, density grid {np.mean(seconds['density']):.2f}; "
          f"ratio {ratio:.1f} (bar 15: {'met' if ratio <= 15 else 'MISSED'})")  # fmt: skip
    print("bars missed: " + ("; ".join(faults) if faults else "none"))


if __name__ == "__main__":
    main()
