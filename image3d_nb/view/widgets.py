"""The viewer as widgets, whose traits follow the mouse and move the view when Python sets them."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from typing import Any

import traitlets

from .._numbers import is_finite
from .._optional import require
from ..cameras import LGM_FOVY, LGM_RADIUS, Cameras
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import Mesh
from . import frusta
from ._panel import display_bundle, live_bundle
from .page import viewer_script, viewer_style
from .scene import Scene, View, as_colour, frame, make_scene, payload
from .sheets import png_bytes
from .stills import still

anywidget: Any = require("anywidget", extra="notebook", who="image3d_nb.SplatViewer")

STILL_SIZE = 640  # pixels, at most; it is stored in the notebook


class _Number(traitlets.TraitType):  # traitlets 5.7 (Colab) takes no subscript
    """A float in a range; anything else is an InputError."""

    def __init__(self, default: float, low: float, high: float, help: str) -> None:  # noqa: A002 -- traitlets' word
        super().__init__(default, help=help)
        self.low, self.high = low, high

    def validate(self, obj: Any, value: Any) -> float:  # noqa: ARG002 -- traitlets' signature
        """Return the value as a float, or raise InputError."""
        if not is_finite(value) or not self.low <= value <= self.high:
            raise InputError(f"{self.name} must be a number from {self.low:g} to {self.high:g}; got {value!r}")
        return float(value)


class _Colour(traitlets.TraitType):
    """One grey or (r, g, b), kept as [r, g, b]."""

    def validate(self, obj: Any, value: Any) -> list[float]:  # noqa: ARG002 -- traitlets' signature
        """Return the value as three floats, or raise InputError."""
        return as_colour(value)


class _Viewer(anywidget.AnyWidget):
    """What both viewers share: the camera, the background, and a scene packed for the script in the browser."""

    _esm = viewer_script("widget")
    _css = viewer_style(page=False)

    elevation = _Number(0.0, -90, 90, help="degrees, up is positive").tag(sync=True)
    azimuth = _Number(0.0, -1e6, 1e6, help="degrees, 0 is the front").tag(sync=True)
    radius = _Number(LGM_RADIUS, 1e-6, 1e9, help="distance from the target, world units").tag(sync=True)
    target = traitlets.List(traitlets.Float(), [0.0] * 3, 3, 3, help="the point looked at, world units").tag(sync=True)
    background = _Colour([1.0] * 3, help="one grey or (r, g, b), in [0, 1]").tag(sync=True)
    turning = traitlets.Bool(False, help="whether it turns on its own").tag(sync=True)
    size = traitlets.Int(512, min=16, max=4096, help="width and height, pixels").tag(sync=True)
    fovy = traitlets.Float(LGM_FOVY, read_only=True, help="degrees, across the picture").tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)
    _still = traitlets.Bytes(b"").tag(sync=True)

    _kinds: tuple[type, ...] = ()  # of the object that is shown

    def __init__(self, obj: Any, radius: float | None, beside: dict[str, Any], **traits: Any) -> None:
        self._beside = beside
        scene = self._make(obj)
        view = frame(scene, traits.pop("elevation"), traits.pop("azimuth"), radius)
        self._shown = scene
        super().__init__(
            elevation=view.elevation, azimuth=view.azimuth, radius=view.radius, target=list(view.target),
            _scene=payload(scene), **traits,
        )  # fmt: skip
        display_bundle(self)

    def __repr__(self) -> str:
        shown = self._shown.gaussians if self._shown.gaussians is not None else self._shown.mesh
        return f"{type(self).__name__}({'cameras' if shown is None else repr(shown)})"

    def picture(self) -> Any:
        """Draw what the viewer shows now with the CPU renderer, splats as they are: a PIL image."""
        x, y, z = self.target
        view = View(self.elevation, self.azimuth, self.radius, (x, y, z), self.fovy)
        return still(self._drawn(), min(self.size, STILL_SIZE), self.background, view, self._light())

    def _drawn(self) -> Scene:
        return self._shown

    def _light(self) -> bool:
        return True

    def update(self, obj: Any) -> None:
        """Show another object of the same type from the same camera; cameras and images beside it stay."""
        self._shown = self._make(obj)
        self._scene = payload(self._shown)

    def _make(self, obj: Any) -> Scene:
        who = type(self).__name__
        if not isinstance(obj, self._kinds):
            names = " or ".join(kind.__name__ for kind in self._kinds)
            raise InputError(f"{who} must be given {names}; got {type(obj).__name__}")
        return make_scene(obj, who, **self._beside)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live widget, and a PNG of it for places where no widget runs."""
        data, metadata = live_bundle(self, getattr(super(), "_repr_mimebundle_", None), **kwargs)
        self._still = png_bytes(self.picture())
        png = base64.b64encode(self._still).decode("ascii")
        return {**data, "image/png": png, "text/plain": repr(self)}, metadata


class SplatViewer(_Viewer):
    """Gaussians in a notebook, with traits that follow the mouse and move the view when Python sets them.

    Args:
        gaussians: N Gaussians, OpenGL world.
        size: width and height, pixels.
        background: one grey or (r, g, b), in [0, 1].
        elevation: of the first view, degrees, up is positive.
        azimuth: of the first view, degrees, 0 is the front.
        radius: distance from the origin, world units; None as in :func:`image3d_nb.show`.
        splat_scale: factor of the size of all splats, 0 to 2.
        points: whether splats are drawn as dots.
        turning: whether the view turns on its own.
        cameras: drawn as frusta beside the object.
        pictures: one image for each camera, shown on its image plane.
        rays: rays x rays rays from each camera are drawn; 0 to 16.
        axes: whether the axes of the world and of the cameras are drawn: x red, y green, z blue.

    Attributes:
        elevation: of the camera, degrees.
        azimuth: of the camera, degrees.
        radius: distance from ``target``, world units.
        target: the point looked at, world units.

    Raises:
        InputError: as :func:`image3d_nb.show`, or a trait is set out of its range.
        TraitError: ``size`` or ``target`` is.
        ImportError: anywidget is not installed.

    Example:
        >>> import torch
        >>> viewer = SplatViewer(Gaussians.from_lgm(torch.rand(1, 8, 14)), azimuth=30)
        >>> viewer.azimuth = 90  # the view turns; a drag in the browser sets viewer.azimuth
    """

    _kinds = (Gaussians,)
    splat_scale = _Number(1.0, 0, 2, help="factor of the size of all splats").tag(sync=True)
    points = traitlets.Bool(False, help="whether splats are drawn as dots").tag(sync=True)

    def __init__(
        self, gaussians: Gaussians, *, size: int = 512, background: float | Sequence[float] = 1.0,
        elevation: float = 0.0, azimuth: float = 0.0, radius: float | None = None,
        splat_scale: float = 1.0, points: bool = False, turning: bool = False,
        cameras: Cameras | None = None, pictures: Any = None, rays: int = 0, axes: bool = False,
    ) -> None:  # fmt: skip
        beside = {"cameras": cameras, "pictures": pictures, "rays": rays, "axes": axes}
        super().__init__(
            gaussians, radius, beside, elevation=elevation, azimuth=azimuth, size=size, background=background,
            splat_scale=splat_scale, points=points, turning=turning,
        )  # fmt: skip

    def _drawn(self) -> Scene:
        gaussians = self._shown.gaussians
        assert gaussians is not None
        scaled = dataclasses.replace(gaussians, scales=gaussians.scales * self.splat_scale)
        return dataclasses.replace(self._shown, gaussians=scaled)


class MeshViewer(_Viewer):
    """A mesh, or cameras, in a notebook, with traits that follow the mouse and move the view when Python sets them.

    Args:
        mesh: a Mesh; or Cameras, drawn as frusta.
        size: width and height, pixels.
        background: one grey or (r, g, b), in [0, 1].
        elevation: of the first view, degrees, up is positive.
        azimuth: of the first view, degrees, 0 is the front.
        radius: distance from the origin, world units; None as in :func:`image3d_nb.show`.
        light: whether light falls on the mesh; otherwise its colours are shown as stored.
        wireframe: whether the edges of the triangles are drawn.
        turning: whether the view turns on its own.
        cameras: drawn as frusta beside the object.
        pictures: one image for each camera, shown on its image plane.
        rays: rays x rays rays from each camera are drawn; 0 to 16.
        axes: whether the axes of the world and of the cameras are drawn: x red, y green, z blue.

    Attributes:
        elevation: of the camera, degrees.
        azimuth: of the camera, degrees.
        radius: distance from ``target``, world units.
        target: the point looked at, world units.

    Raises:
        InputError: as :func:`image3d_nb.show`, or a trait is set out of its range.
        TraitError: ``size`` or ``target`` is.
        ImportError: anywidget is not installed.
    """

    _kinds = (Mesh, Cameras)
    light = traitlets.Bool(True, help="whether light falls on the mesh").tag(sync=True)
    wireframe = traitlets.Bool(False, help="whether the edges of the triangles are drawn").tag(sync=True)

    def __init__(
        self, mesh: Mesh | Cameras, *, size: int = 512, background: float | Sequence[float] = 1.0,
        elevation: float = 0.0, azimuth: float = 0.0, radius: float | None = None,
        light: bool = True, wireframe: bool = False, turning: bool = False,
        cameras: Cameras | None = None, pictures: Any = None, rays: int = 0, axes: bool = False,
    ) -> None:  # fmt: skip
        beside = {"cameras": cameras, "pictures": pictures, "rays": rays, "axes": axes}
        super().__init__(
            mesh, radius, beside, elevation=elevation, azimuth=azimuth, size=size, background=background,
            light=light, wireframe=wireframe, turning=turning,
        )  # fmt: skip

    def _drawn(self) -> Scene:
        scene = self._shown
        if not self.wireframe or scene.mesh is None:
            return scene
        edges = frusta.edges(scene.mesh)
        return dataclasses.replace(scene, lines=edges if scene.lines is None else scene.lines + edges)

    def _light(self) -> bool:
        return self.light
