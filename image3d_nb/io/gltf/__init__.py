"""glTF 2.0: .glb and .gltf, meshes and Gaussians (KHR_gaussian_splatting)."""

from __future__ import annotations

from .formats import GLB, GLB_GAUSSIANS, GLTF, GLTF_GAUSSIANS

__all__ = ["GLB", "GLB_GAUSSIANS", "GLTF", "GLTF_GAUSSIANS"]
