"""One picture in, one 3D object out, in a notebook.

>>> import image3d_nb as i3d
>>> image = i3d.load_image(i3d.sample("mug"))
>>> pipe = i3d.load_pipeline()
>>> result = pipe(image, generator=i3d.generator(0))
>>> i3d.show(result.gaussians)

Importing the package loads none of the large libraries: each name below arrives when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {  # public name -> the module it lives in
    "load_image": "image",
    "prepare_image": "image",
    "sample": "image",
    "Cameras": "cameras",
    "orbit_cameras": "cameras",
    "plucker_rays": "cameras",
    "Gaussians": "gaussians",
    "Mesh": "mesh",
    "render": "rendering",
    "save": "io",
    "load": "io",
    "formats": "io",
    "to_mesh": "meshing",
    "clean": "meshing",
    "mesh_report": "meshing",
    "to_gaussians": "meshing",
    "LGM": "models.lgm",
    "MultiViewUNetModel": "models.mv_unet",
    "MVDreamPipeline": "pipelines.mvdream",
    "LGMFullPipeline": "pipelines.lgm",
    "load_pipeline": "pipelines",
    "generator": "pipelines",
    "show": "view",
    "save_html": "view",
    "render_turntable": "view",
    "inspect": "inspection",
    "convert": "conversion",
    "SplatViewer": "view.widgets",
    "MeshViewer": "view.widgets",
    "preview_mesh": "view",
    "preview_cameras": "view",
    "preview_splats": "view",
    "gallery": "view",
    "compare": "view",
    "turntable": "view",
    "watch": "view",
    "generate_one": "generate",
    "GenerateSettings": "generate",
    "studio": "studio",
}
_MODULES = ("metrics", "errors", "course")

__all__ = ["__version__", *_HOME, *_MODULES]  # noqa: PLE0604 -- the names are strings, of the table above


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its names are {', '.join(_HOME)}")


def __dir__() -> list[str]:
    return sorted(__all__)
