"""What a viewer shows: an object and cameras, validated, and packed for the viewer's script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .._numbers import is_whole
from ..cameras import LGM_FOVY, LGM_RADIUS, Cameras, orbit_cameras
from ..errors import InputError
from ..gaussians import Gaussians
from ..images.caller import warn
from ..io import splat
from ..mesh import Mesh, unit
from . import frusta
from .sheets import as_images, png_bytes, to_uint8

MANY = 200_000  # Gaussians; a page with more is large and slow
MANY_FACES = 300_000
MOST_RAYS = 16  # along each side of a camera's image
FAINTEST = 1 / 255  # the renderers draw no alpha below this, so fainter Gaussians are not sent
VISIBLE = 0.05  # opacity; fainter Gaussians are haze, which needs no place in a view
CLOSEST = 0.12  # world units; the renderers draw no Gaussian nearer than 0.1


@dataclass(frozen=True)
class Scene:
    """What one viewer shows together. At least one part is there.

    Attributes:
        gaussians: N Gaussians.
        mesh: a mesh, on which light falls.
        panes: the images of cameras, as one mesh; no light falls on them.
        lines: frusta, rays and axes.
    """

    gaussians: Gaussians | None = None
    mesh: Mesh | None = None
    panes: Mesh | None = None
    lines: frusta.Lines | None = None

    def surfaces(self, light: bool = True) -> list[tuple[Mesh, bool]]:
        """The mesh and the panes, each with whether light falls on it."""
        return [(mesh, lit) for mesh, lit in ((self.mesh, light), (self.panes, False)) if mesh is not None]


@dataclass(frozen=True)
class View:
    """A camera that looks at ``target`` from a distance of ``radius``; angles in degrees, as in ``cameras.py``."""

    elevation: float = 0.0
    azimuth: float = 0.0
    radius: float = LGM_RADIUS
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    fovy: float = LGM_FOVY

    def cameras(self, size: int) -> Cameras:
        """One camera with square images of ``size`` pixels."""
        around = orbit_cameras(self.elevation, (self.azimuth,), self.radius, self.fovy, size)
        c2w = around.c2w.clone()
        c2w[:, :3, 3] += c2w.new_tensor(self.target)
        return Cameras.from_c2w(c2w, self.fovy, size, size)


def make_scene(
    obj: Any, who: str, *, cameras: Cameras | None = None, pictures: Any = None, rays: int = 0, axes: bool = False
) -> Scene:
    """Validate an object and the cameras beside it; arguments as for :func:`.show.show`, ``who`` names the caller.

    Raises:
        InputError: another type, nothing in it, NaN in it, or images that do not fit the cameras.
    """
    if isinstance(obj, Cameras):
        if cameras is not None:
            raise InputError(f"cameras must be left out when {who} is given Cameras")
        obj, cameras = None, obj
    elif not isinstance(obj, Mesh):
        check_gaussians(obj, who)
    else:
        check_mesh(obj, who)
    if not is_whole(rays) or not 0 <= rays <= MOST_RAYS:
        raise InputError(f"rays must be a whole number from 0 to {MOST_RAYS}; got {rays!r}")
    if cameras is None and (pictures is not None or rays):
        raise InputError("pictures and rays belong to cameras: give cameras=... too")
    return Scene(
        gaussians=obj if isinstance(obj, Gaussians) else None,
        mesh=obj if isinstance(obj, Mesh) else None,
        panes=None if cameras is None or pictures is None else _panes(cameras, pictures),
        lines=_lines(cameras, rays, axes),
    )


def check_gaussians(obj: Any, who: str) -> None:
    """Raise InputError for anything but finite Gaussians; warn of a slow page if there are very many."""
    if not isinstance(obj, Gaussians):
        raise InputError(f"{who} must be given Gaussians, a Mesh or Cameras; got {type(obj).__name__}")
    if len(obj) == 0:
        raise InputError(f"{who} must be given at least one Gaussian; got none: did prune or crop remove all of them?")
    obj.validate()
    if len(obj) > MANY:
        _warn_many(f"{len(obj):,} Gaussians", len(obj) * 32, "prune(min_opacity=...) or crop(...) makes it smaller")


def check_mesh(mesh: Mesh, who: str) -> None:
    """Raise InputError for a mesh that cannot be drawn; warn of a slow page if there are very many faces."""
    if len(mesh.faces) == 0:
        raise InputError(f"{who} must be given a mesh with at least one face; got {mesh!r}")
    if not np.isfinite(mesh.vertices).all():  # arrays may have changed since the mesh was made
        raise InputError(f"{who} must be given finite vertices; got NaN or infinity")
    if len(mesh.faces) > MANY_FACES:
        size = 12 * len(mesh.faces) + 26 * len(mesh.vertices)
        _warn_many(f"{len(mesh.faces):,} faces", size, "a mesh of fewer faces is smaller")


def check_cameras(cameras: Any) -> None:
    """Raise InputError for anything but at least one camera, all of them finite."""
    if not isinstance(cameras, Cameras):
        raise InputError(f"cameras must be Cameras, e.g. orbit_cameras(); got {type(cameras).__name__}")
    if len(cameras) == 0:
        raise InputError("cameras must hold at least one camera; got none")
    if not bool(cameras.c2w.isfinite().all()):
        raise InputError("cameras must be finite; got NaN or infinity")


def _panes(cameras: Cameras, pictures: Any) -> Mesh:
    check_cameras(cameras)
    images = as_images(pictures)
    if len(images) != len(cameras):
        raise InputError(f"pictures must be one image for each camera, {len(cameras)} of them; got {len(images)}")
    return frusta.panes(cameras, images)


def _lines(cameras: Cameras | None, rays: int, axes: bool) -> frusta.Lines | None:
    world = frusta.axes(np.eye(4)[None], 0.5)
    if cameras is None:
        return world if axes else None
    check_cameras(cameras)
    lines = frusta.frusta(cameras)
    if rays:
        lines += frusta.rays(cameras, rays)
    if axes:
        frames = cameras.c2w.detach().cpu().double().numpy()
        lines += world + frusta.axes(frames, 0.8 * frusta.frustum_depth(cameras))
    return lines


def frame(
    scene: Scene, elevation: float = 0.0, azimuth: float = 0.0, radius: float | None = None, fovy: float = LGM_FOVY
) -> View:
    """Choose the first view of a scene; arguments as for :func:`.page.viewer_page`."""
    if radius is not None:
        return View(elevation, azimuth, radius, fovy=fovy)
    points = _points(scene)
    low, high = points.min(0), points.max(0)
    if np.linalg.norm(points, axis=1).max() >= 0.25 and _fit(points, View(elevation, azimuth, fovy=fovy)):
        return View(elevation, azimuth, fovy=fovy)
    middle = (low + high) / 2
    reach = max(float(np.linalg.norm(points - middle, axis=1).max()), 1e-6)
    fitting = 1.05 * reach / float(np.sin(np.radians(fovy) / 2))
    x, y, z = (float(value) for value in middle)
    return View(elevation, azimuth, max(fitting, reach + CLOSEST), (x, y, z), fovy)


def _fit(points: NDArray[np.floating], view: View) -> bool:
    """Whether points [n, 3] lie in a view, and in those from a quarter, a half and three quarters around."""
    edge = float(np.tan(np.radians(view.fovy) / 2))
    for turn in (0, 90, 180, 270):
        camera = orbit_cameras(view.elevation, view.azimuth + turn, view.radius)
        rotation, position = camera.c2w[0, :3, :3].double().numpy(), camera.positions[0].double().numpy()
        x, y, z = ((points - position) @ rotation).T  # OpenGL axes: the camera looks along -z
        if not (np.maximum(np.abs(x), np.abs(y)) <= -z * edge).all():
            return False
    return True


def _points(scene: Scene) -> NDArray[np.floating]:
    """[n, 3], world: the points that a view should hold: without faint Gaussians, or a few far from all others."""
    points = [mesh.vertices for mesh in (scene.mesh, scene.panes) if mesh is not None]
    if scene.lines is not None:
        points.append(scene.lines.ends.reshape(-1, 3))
    if scene.gaussians is not None:
        seen = scene.gaussians.opacities > VISIBLE
        shown = scene.gaussians[seen] if bool(seen.any()) else scene.gaussians
        means = shown.means.detach().cpu().numpy()
        out = np.linalg.norm(means - np.median(means, axis=0), axis=1)
        means = means[out <= np.quantile(out, 0.99, method="higher")]
        reach = float(shown.scales.detach().amax(1).median())
        points += [means - reach, means + reach]
    return np.concatenate(points).astype(np.float64)


def payload(scene: Scene) -> dict[str, Any]:
    """The scene as js/data.js reads it: nested dicts and lists, in which arrays are bytes."""
    content: dict[str, Any] = {}
    if scene.gaussians is not None:
        content["splats"] = _rows(scene.gaussians)
    surfaces = scene.surfaces()
    if surfaces:
        content["surfaces"] = [_surface(mesh, lit) for mesh, lit in surfaces]
    if scene.lines is not None:
        colors = np.pad(to_uint8(scene.lines.colors), ((0, 0), (0, 1)), constant_values=255)
        content["lines"] = {"ends": scene.lines.ends.astype("<f4").tobytes(), "colours": colors.tobytes()}
    return content


def _rows(gaussians: Gaussians) -> bytes:
    if gaussians.sh_degree:
        warn(
            f"the viewer shows one colour a Gaussian: the view-dependent part (SH degree 1 to {gaussians.sh_degree}) "
            f"of {len(gaussians)} Gaussians is left out there"
        )
    fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh[:, :1])
    plain = Gaussians(*(field.detach().float().cpu() for field in fields))
    visible = plain.opacities >= FAINTEST
    plain = plain[visible] if bool(visible.any()) else plain
    (content,) = splat.write(plain, "page.splat").values()  # one file; the axes stay as they are
    return bytes(content)


def _surface(mesh: Mesh, lit: bool) -> dict[str, Any]:
    content: dict[str, Any] = {
        "vertices": mesh.vertices.astype("<f4").tobytes(),
        "faces": mesh.faces.astype("<u4").tobytes(),
        "normals": np.rint(unit(mesh.vertex_normals().astype(np.float64)) * 32767).astype("<i2").tobytes(),
        "lit": lit,
    }
    if mesh.uvs is not None and mesh.texture is not None:
        texture = png_bytes(Image.fromarray(mesh.texture))
        content |= {"uvs": mesh.uvs.astype("<f4").tobytes(), "texture": texture}
    elif mesh.vertex_colors is not None:
        content["colours"] = to_uint8(mesh.vertex_colors).tobytes()
    return content


def as_colour(background: float | Sequence[float]) -> list[float]:
    """Convert one grey or three numbers to [r, g, b], each in [0, 1].

    Raises:
        InputError: anything else.
    """
    try:
        values = np.asarray(background, np.float64)
    except (TypeError, ValueError):  # a name, or a list that holds no numbers
        values = np.empty(0)
    if values.shape not in ((), (3,)) or not ((values >= 0) & (values <= 1)).all():  # NaN fails too
        raise InputError(f"background must be one number or (r, g, b), in [0, 1]; got {background!r}")
    return [float(value) for value in np.broadcast_to(values, 3)]


def _warn_many(what: str, size: int, advice: str) -> None:
    megabytes = size * 4 / 3 / 1e6  # base64
    warn(f"{what} make a page of {megabytes:.0f} MB, slow to open and to turn; {advice}")
