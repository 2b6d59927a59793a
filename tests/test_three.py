"""pythreejs previews without a browser: what is handed to it (test_panels_browser.py looks at the pictures)."""

from __future__ import annotations

import dataclasses
import math
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import image3d_nb as i3d
from image3d_nb._optional import require
from image3d_nb.cameras import orbit_cameras
from image3d_nb.errors import InputError
from image3d_nb.mesh import Mesh
from image3d_nb.view import preview_cameras, preview_mesh, preview_splats
from image3d_nb.view.three import pixel_lines
from tests.viewer_scenes import VIEW, bundle_of, look, png_of, some, square


def parts(renderer: Any, kind: str) -> list[Any]:
    return [child for child in renderer.scene.children if type(child).__name__ == kind]


# ---- what three.js gets


@pytest.mark.parametrize(("elevation", "azimuth"), [(0, 0), (20, 0), (0, 90), (-35, 200), (60, 300)])
def test_camera_stands_and_looks_as_ours(elevation: float, azimuth: float) -> None:
    camera = preview_splats(some(), elevation=elevation, azimuth=azimuth, radius=2, fovy=40).camera
    ours = orbit_cameras(elevation, (azimuth,), radius=2).c2w[0].double().numpy()
    x, y, z, w = camera.quaternion
    turned = dataclasses.replace(some(1), quats=torch.tensor([[w, x, y, z]])).rotations()[0].numpy()
    assert np.allclose(turned, ours[:3, :3], atol=1e-6)
    assert np.allclose(camera.position, ours[:3, 3], atol=1e-6)
    assert (camera.fov, camera.aspect) == (40, 1)


def test_defaults_are_the_view_of_lgms_first_camera_on_white() -> None:
    renderer = preview_mesh(square())
    assert renderer.camera.position == pytest.approx((0, 0, 1.5))
    assert renderer.camera.fov == pytest.approx(49.1)
    assert (renderer.scene.background, renderer.clearColor) == ("#ffffff", "#ffffff")
    assert [type(control).__name__ for control in renderer.controls] == ["OrbitControls"]
    assert (renderer.width, renderer.height) == (512, 512)


def test_splats_are_one_dot_each_where_they_are_not_faint() -> None:
    gaussians = some()
    (points,) = parts(preview_splats(gaussians, fovy=90, radius=2), "Points")
    kept = gaussians[gaussians.opacities >= 0.1]
    assert 30 < len(kept) < 60
    arrays = {name: attribute.array for name, attribute in points.geometry.attributes.items()}
    assert np.array_equal(arrays["position"], kept.means.numpy())
    assert np.array_equal(arrays["color"], kept.rgb.clamp(0, 1).numpy())
    assert points.material.vertexColors == "VertexColors"
    assert points.material.size == pytest.approx(0.02)  # three draws size * tan(fovy / 2) world units


def test_mesh_arrays_arrive() -> None:
    mesh = square()
    (shown,) = parts(preview_mesh(mesh, wireframe=True), "Mesh")
    arrays = {name: attribute.array for name, attribute in shown.geometry.attributes.items()}
    assert arrays["index"].dtype == np.uint32
    assert arrays["index"].tolist() == mesh.faces.ravel().tolist()
    assert np.array_equal(arrays["position"], mesh.vertices.astype(np.float32))
    assert np.array_equal(arrays["color"], np.asarray(mesh.vertex_colors, np.float32))
    assert np.allclose(arrays["normal"], mesh.vertex_normals())
    assert shown.material.wireframe


def test_the_still_of_a_wireframe_shows_edges_alone() -> None:
    edges = png_of(preview_mesh(square(), wireframe=True, size=96)).mean(-1)
    filled = png_of(preview_mesh(square(), size=96)).mean(-1)
    white = filled.max()
    assert (edges < white / 2).any()
    assert (edges == white).sum() > (filled == white).sum()  # one looks through the faces


def test_colab_is_told_of_custom_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    output = types.SimpleNamespace(enable_custom_widget_manager=lambda: told.append("yes"))
    monkeypatch.setitem(sys.modules, "google.colab", types.SimpleNamespace(output=output))
    preview_mesh(square(), size=32)
    assert told == ["yes"]
    with pytest.raises(ImportError, match=r"\[colab\]"):
        require("no_such_package", extra="notebook", who="a preview")


def test_texture_lies_with_its_lowest_row_first() -> None:
    mesh = square(textured=True)
    (shown,) = parts(preview_mesh(mesh), "Mesh")
    data = shown.material.map.data
    assert mesh.texture is not None
    assert (data.shape, data.dtype) == ((5, 7, 4), np.uint8)
    assert np.array_equal(data[::-1, :, :3], mesh.texture)
    assert (data[..., 3] == 255).all()
    assert np.array_equal(shown.geometry.attributes["uv"].array, np.asarray(mesh.uvs, np.float32))


def test_a_mesh_without_colours_is_grey() -> None:
    mesh = Mesh(square().vertices, square().faces)
    (shown,) = parts(preview_mesh(mesh), "Mesh")
    assert shown.material.color == "#b2b2b2"
    assert np.array_equal(png_of(preview_mesh(mesh, size=64)), look(mesh, 64))


# ---- cameras


def project(points: NDArray[Any], camera: Any) -> NDArray[Any]:
    """[..., 2], pixels."""
    view, K = camera.viewmats[0].double().numpy(), camera.Ks[0].double().numpy()
    local = (points @ view[:3, :3].T + view[:3, 3]) @ K.T
    return local[..., :2] / local[..., 2:]


def test_rays_go_through_the_centres_of_pixels() -> None:
    cameras = orbit_cameras(elevation=-10, azimuth=(10, 130), size=64)
    lines = pixel_lines(cameras, [(0, 63), (40, 5)])
    assert lines.ends.shape == (4, 2, 3)
    assert np.allclose(np.linalg.norm(lines.ends[:, 1] - lines.ends[:, 0], axis=1), 3)  # to the far side
    for number in range(2):
        for ray, pixel in zip(lines.ends[2 * number : 2 * number + 2], [(0.5, 63.5), (40.5, 5.5)], strict=True):
            assert np.allclose(ray[0], cameras.positions[number].numpy(), atol=1e-6)
            assert np.allclose(project(ray.mean(0), cameras[number]), pixel, atol=1e-3)
    assert len(np.unique(lines.colors, axis=0)) == 2


def test_preview_of_cameras_holds_lines_pictures_and_the_object() -> None:
    plain = preview_cameras(orbit_cameras(), axes=False)
    assert len(parts(plain, "LineSegments2")) == 4  # a colour a camera
    assert not parts(plain, "Mesh")
    count = sum(len(part.geometry.positions) for part in parts(plain, "LineSegments2"))
    full = preview_cameras(orbit_cameras(), some(), rays=[(3, 4)], pictures=[np.ones((8, 8, 3))] * 4)
    lines = parts(full, "LineSegments2")
    assert len(lines) == 4 + 3  # x, y, z
    assert sum(len(part.geometry.positions) for part in lines) == count + 3 * 5 + 4
    (panes,) = parts(full, "Mesh")
    assert type(panes.material).__name__ == "MeshBasicMaterial"  # no light falls on the images
    assert len(parts(full, "Points")) == 1
    assert len(parts(preview_cameras(orbit_cameras(), square(), rays=2), "Mesh")) == 1


def test_large_and_small_objects_are_seen_in_full() -> None:
    for scale, move in [(300.0, 0.0), (0.2, 0.0), (1.0, 5.0)]:
        mesh = Mesh(square().vertices * scale + move, square().faces)
        renderer = preview_mesh(mesh, size=64)
        distance = math.dist(renderer.camera.position, (0, 0, 0))  # what OrbitControls turn about
        assert renderer.camera.near < 0.1 * distance < 5 * distance < renderer.camera.far
        assert 0.1 < (png_of(renderer) < 250).any(-1).mean() < 0.6
        moved = [group.position for group in parts(renderer, "Group")]
        assert moved == ([pytest.approx(-mesh.bounds.mean(0))] if move else [])


def test_all_cameras_are_in_the_first_view() -> None:
    for azimuth in (0, 35, 90):
        picture = png_of(preview_cameras(orbit_cameras(elevation=10), axes=False, size=200, azimuth=azimuth))
        rim = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (rim > 240).all()
        assert len(np.unique((picture.reshape(-1, 3) // 64), axis=0)) > 4  # four colours and white


# ---- what a saved notebook keeps, and what is refused


def test_saved_notebook_keeps_an_image_and_one_steady_line() -> None:
    options: Any = {"size": 96, "elevation": 20, "azimuth": 70, "background": 0.5}
    splats = preview_splats(some(), **options)
    shown = parts(splats, "Points")[0].geometry.attributes["color"].array
    for made, text in [
        (splats, "Gaussians(n=60, "),
        (preview_mesh(square(), **options), "Mesh(vertices=4"),
        (preview_mesh(square(), light=False, **options), "Mesh(vertices=4"),
    ]:
        bundle = bundle_of(made)
        assert set(bundle) == {"text/plain", "image/png", VIEW}
        assert bundle[VIEW]["model_id"] == made.model_id
        assert bundle["text/plain"].startswith(f"preview of {text}")
    for light in (True, False):
        expected = look(square(), 96, 20, 70, background=0.5, light=light)
        assert np.array_equal(png_of(preview_mesh(square(), light=light, **options)), expected)
    dots = png_of(preview_splats(some(), size=384)).reshape(-1, 3) / 255
    seen = [np.abs(dots - colour).max(1).min() < 0.02 for colour in shown]
    assert np.mean(seen) > 0.5  # the dots are opaque: their colours are in the image


def test_light_changes_a_mesh_and_its_material() -> None:
    lit, plain = (preview_mesh(square(), size=64, light=light) for light in (True, False))
    assert (png_of(lit) != png_of(plain)).any()
    kinds = [type(parts(renderer, "Mesh")[0].material).__name__ for renderer in (lit, plain)]
    assert kinds == ["MeshLambertMaterial", "MeshBasicMaterial"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: preview_mesh(some()), "a Mesh"),  # type: ignore[arg-type]
        (lambda: preview_mesh(square(), size=3), "size"),
        (lambda: preview_mesh(square(), background=2), "background"),
        (lambda: preview_mesh(square(), radius=0), "radius"),
        (lambda: preview_splats(square()), "Gaussians"),  # type: ignore[arg-type]
        (lambda: preview_splats(some(0)), "at least one"),
        (lambda: preview_splats(dataclasses.replace(some(), opacities=torch.full((60,), 0.05))), "opacity 0.1"),
        (lambda: preview_splats(some(), elevation=91), "elevation"),
        (lambda: preview_cameras(square()), "Cameras"),  # type: ignore[arg-type]
        (lambda: preview_cameras(orbit_cameras(azimuth=())), "at least one camera"),
        (lambda: preview_cameras(orbit_cameras(), "mug"), "got str"),  # type: ignore[arg-type]
        (lambda: preview_cameras(orbit_cameras(), rays=[(256, 0)]), "256 x 256"),
        (lambda: preview_cameras(orbit_cameras(), rays=[(0.5, 0)]), "pixels"),  # type: ignore[list-item]
        (lambda: preview_cameras(orbit_cameras(), rays=[(1, 2, 3)]), "pixels"),  # type: ignore[list-item]
    ],
)
def test_bad_input_is_a_sentence(call: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("pythreejs", lambda: i3d.preview_mesh(square())),
        ("ipywidgets", lambda: i3d.gallery(Image.new("RGB", (8, 8)))),
        ("anywidget", lambda: i3d.turntable(square(), frames=1, size=16)),
    ],
)
def test_a_missing_package_is_named_with_its_remedy(package: str, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from image3d_nb.view import _live

    _live.flipbook_class.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'needs {package}: pip install "image3d-nb\[notebook\]"'):
        call()
