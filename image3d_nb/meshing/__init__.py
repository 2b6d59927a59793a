"""Meshes from Gaussians, Gaussians from meshes, and reports and repairs of both.

``report.py`` checks a mesh, ``decimate.py`` reduces its faces, ``sampling.py`` makes Gaussians of it; ``cleaning.py``
removes Gaussians that belong to no object. The other files are the stages of :func:`to_mesh`:

>>> cloud, grid = find_object(visible(gaussians), resolution=128)
>>> solid = solidify(cloud, measure_haze(cloud, grid))  # a haze becomes a wall; a skin stays as it is
>>> views = list(depth_views(solid, grid))  # how far away the surface is, from all around
>>> volume = fuse(views, grid)  # signed distances: below 0 inside
>>> volume = fill_cavities(drop_floaters(smooth(volume)))
>>> vertices, faces = outer_shells(*marching_cubes(volume, grid))
>>> vertices = pull_to_centres(vertices, faces, cloud, reach=2 * grid.cell)
>>> vertices, faces = simplify(taubin(vertices, faces), faces, target_faces=20_000)
>>> atlas = grid_atlas(len(faces))
>>> texture = bake(vertices, faces, atlas, cloud)
"""

from __future__ import annotations

from ..mesh import vertex_normals
from .cleaning import clean
from .cloud import Cloud, Grid, find_object, visible
from .decimate import decimate
from .depth import DepthView, depth_views, hidden_light, view_directions
from .haze import Haze, measure_haze, solidify
from .report import MeshReport, Shell, mesh_report
from .sampling import to_gaussians
from .simplify import simplify
from .splats_to_mesh import to_mesh
from .surface import (
    distinct,
    is_manifold,
    marching_cubes,
    outer_shells,
    pull_to_centres,
    taubin,
)
from .texture import bake, colors_at, even_colors, grid_atlas, longest_edge_last
from .volume import Fusion, drop_floaters, fill_cavities, fuse, smooth

__all__ = [
    "Cloud",
    "DepthView",
    "Fusion",
    "Grid",
    "Haze",
    "MeshReport",
    "Shell",
    "bake",
    "clean",
    "colors_at",
    "decimate",
    "depth_views",
    "distinct",
    "drop_floaters",
    "even_colors",
    "fill_cavities",
    "find_object",
    "fuse",
    "grid_atlas",
    "hidden_light",
    "is_manifold",
    "longest_edge_last",
    "marching_cubes",
    "measure_haze",
    "mesh_report",
    "outer_shells",
    "pull_to_centres",
    "simplify",
    "smooth",
    "solidify",
    "taubin",
    "to_gaussians",
    "to_mesh",
    "vertex_normals",
    "view_directions",
    "visible",
]
