"""Meshes from Gaussians and Gaussians from meshes, and what is right or wrong with either.

``report.py`` judges a mesh, ``sampling.py`` strews Gaussians over one, ``cleaning.py`` takes out Gaussians that belong
to no object.
"""

from __future__ import annotations

from .report import MeshReport, Shell, mesh_report

__all__ = ["MeshReport", "Shell", "mesh_report"]
