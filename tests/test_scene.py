"""What a viewer is given: scenes, frusta, their pictures, and the widgets' traits (test_browser*.py look at them)."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import traitlets
from numpy.typing import NDArray
from PIL import Image

import image3d_nb as i3d
from image3d_nb.cameras import orbit_cameras
from image3d_nb.errors import InputError
from image3d_nb.gaussians import Gaussians
from image3d_nb.mesh import Mesh
from image3d_nb.rendering import render
from image3d_nb.rendering.mesh_zbuffer import render_mesh
from image3d_nb.view import frusta, mimebundle, save_html, show
from image3d_nb.view.packing import page_json
from image3d_nb.view.scene import View, frame, make_scene, payload
from image3d_nb.view.stills import draw, still
from tests.solids import ball
from tests.viewer_scenes import VIEW, bundle_of, look, png_of, ring, still_of, torus, unpacked, with_nan

if TYPE_CHECKING:
    from image3d_nb.pipelines.lgm import LGMFullPipeline

RED = [1.0, 0.0, 0.0]


def wall(z: float, colour: list[float], half: float = 0.4) -> Mesh:
    """A square that faces the front camera."""
    corners = np.array([(-half, -half, z), (half, -half, z), (half, half, z), (-half, half, z)])
    return Mesh(corners, np.array([(0, 1, 2), (0, 2, 3)]), vertex_colors=np.tile(colour, (4, 1)))


def changed(mesh: Mesh, **fields: Any) -> Mesh:
    return dataclasses.replace(mesh, **fields)


# ---- what is refused


def mesh_with_nan() -> Mesh:
    mesh = torus("grey")
    mesh.vertices[3, 1] = math.nan
    return mesh


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no Gaussians": (ring(20)[:0], {}, "got none"),
    "NaN": (with_nan(), {}, "means"),
    "no faces": (Mesh(np.eye(3), np.empty((0, 3), int)), {}, "at least one face"),
    "NaN in a mesh": (mesh_with_nan(), {}, "finite vertices"),
    "no cameras": (orbit_cameras()[:0], {}, "at least one camera"),
    "cameras twice": (orbit_cameras(), {"cameras": orbit_cameras()}, "left out"),
    "not cameras": (torus("grey"), {"cameras": 3}, "got int"),
    "not cameras, pictures": (torus("grey"), {"cameras": 3, "pictures": [1]}, "got int"),
    "pictures alone": (torus("grey"), {"pictures": np.zeros((1, 4, 4, 3))}, "belong to cameras"),
    "too few": (orbit_cameras(), {"pictures": np.zeros((3, 4, 4, 3))}, "got 3"),
    "no picture": (orbit_cameras(), {"pictures": ["mug.png"] * 4}, "got str"),
    "rays": (orbit_cameras(), {"rays": 17}, "got 17"),
    "half a ray": (orbit_cameras(), {"rays": 0.5}, "rays"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_sentence_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    obj, options, words = BAD[name]
    viewer: Any = i3d.SplatViewer if isinstance(obj, Gaussians) else i3d.MeshViewer
    for call in (lambda: save_html(obj, tmp_path / "a.html", **options), lambda: show(obj, **options),
                 lambda: viewer(obj, **options)):  # fmt: skip
        with pytest.raises(InputError, match=words):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [None, "mug.glb", np.zeros(3), [1]])
@pytest.mark.parametrize("call", [lambda bad: save_html(bad, "a.html"), i3d.SplatViewer, i3d.MeshViewer])
def test_another_type_is_a_sentence(call: Any, bad: object) -> None:
    with pytest.raises(InputError, match=f"got {type(bad).__name__}"):
        call(bad)


def test_many_faces_warn() -> None:
    mesh = torus("grey")
    with pytest.warns(UserWarning, match="301,824"):
        make_scene(changed(mesh, faces=np.tile(mesh.faces, (131, 1))), "show")


# ---- what goes to the browser


@pytest.mark.parametrize("normals", [np.full((4, 3), 2), np.full((4, 3), 1e4, np.float32)])
def test_payload_of_normals_that_are_not_unit_vectors(normals: NDArray) -> None:
    mesh = changed(wall(0, RED), normals=normals)
    (surface,) = payload(make_scene(mesh, "show"))["surfaces"]
    stored = np.frombuffer(surface["normals"], "<i2")
    np.testing.assert_allclose(stored / 32767, 3**-0.5, atol=1e-4)


def test_payload_of_a_mesh_is_the_mesh() -> None:
    for kind in ("coloured", "textured"):
        mesh = torus(kind)
        (surface,) = payload(make_scene(mesh, "show"))["surfaces"]
        assert np.array_equal(np.frombuffer(surface["vertices"], "<f4").reshape(-1, 3), mesh.vertices.astype("<f4"))
        assert np.array_equal(np.frombuffer(surface["faces"], "<u4").reshape(-1, 3), mesh.faces)
        normals = np.frombuffer(surface["normals"], "<i2").reshape(-1, 3) / 32767
        assert np.abs(normals - mesh.vertex_normals()).max() < 2e-5
        assert surface["lit"]
        if kind == "coloured":
            colours = np.frombuffer(surface["colours"], np.uint8).reshape(-1, 3)
            assert np.abs(colours / 255 - mesh.vertex_colors).max() <= 0.51 / 255
        else:
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(surface["texture"]))), mesh.texture)
            assert np.array_equal(np.frombuffer(surface["uvs"], "<f4").reshape(-1, 2), mesh.uvs.astype("<f4"))


@pytest.mark.parametrize("kind", ["coloured", "textured"])
def test_a_page_holds_the_mesh_nearly(kind: str) -> None:
    mesh = torus(kind)
    text = page_json(payload(make_scene(mesh, "show", cameras=orbit_cameras(), axes=True)))
    assert "<" not in text
    back = json.loads(text)
    assert len(base64.b64decode(back["lines"]["ends"])) % 24 == 0
    (surface,) = back["surfaces"]
    assert np.array_equal(unpacked(surface["faces"]), mesh.faces)
    assert np.abs(unpacked(surface["vertices"]) - mesh.vertices).max() < 2e-5
    assert np.abs(unpacked(surface["normals"]) / 127 - mesh.vertex_normals()).max() < 0.01
    if kind == "coloured":
        assert np.abs(unpacked(surface["colours"]) / 255 - mesh.vertex_colors).max() <= 0.51 / 255
    else:
        assert np.abs(unpacked(surface["uvs"]) - mesh.uvs).max() < 1e-5
        texture = np.asarray(Image.open(io.BytesIO(base64.b64decode(surface["texture"]))))
        assert np.abs(texture.astype(float) - mesh.texture).mean() < 3


@pytest.mark.parametrize("obj", [torus("coloured"), torus("textured"), orbit_cameras()], ids=repr)
def test_everything_becomes_html_png_and_text(obj: Any, tmp_path: Path) -> None:
    bundle = mimebundle(obj, size=64, title='"><script>alert(1)</script>')
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert bundle["text/plain"] == repr(obj)
    assert "<script>alert" not in bundle["text/html"]
    path = save_html(obj, tmp_path / "a.html")
    assert f"<title>{type(obj).__name__}</title>" in path.read_text("utf-8")


# ---- frusta


def test_frusta_end_where_the_corner_pixels_look() -> None:
    cameras = orbit_cameras(elevation=(10, -30, 60, 0), size=(120, 80))
    ends = frusta.frusta(cameras).ends.reshape(4, 11, 2, 3)
    corners = torch.tensor(ends[:, :4, 1], dtype=torch.float64)  # [V, 4, 3]
    seen = torch.einsum("vij,vkj->vki", cameras.viewmats[:, :3, :3].double(), corners)
    seen += cameras.viewmats[:, None, :3, 3].double()
    pixels = torch.einsum("vij,vkj->vki", cameras.Ks.double(), seen / seen[..., 2:])[..., :2]
    expected = torch.tensor([(0, 0), (120, 0), (120, 80), (0, 80)], dtype=torch.float64)
    torch.testing.assert_close(pixels, expected.expand(4, 4, 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[..., 2], torch.full((4, 4), 0.25 * 1.5, dtype=torch.float64), atol=1e-5, rtol=0)
    assert np.allclose(ends[:, :4, 0], cameras.positions[:, None].numpy())
    roofs = ends[:, 8, 1] - ends[:, 4].mean(1)  # from the middle of the upper edge
    assert (np.einsum("vi,vi->v", roofs, cameras.c2w[:, :3, 1].numpy()) > 0.05).all()  # up, for each camera


def test_rays_go_through_the_pixels() -> None:
    cameras = orbit_cameras(azimuth=(0, 50), size=3)
    ends = frusta.rays(cameras, 3).ends.reshape(2, 9, 2, 3)
    directions = ends[:, :, 1] - ends[:, :, 0]
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    _, expected = i3d.cameras.pixel_rays(cameras)
    found = directions.reshape(2, 3, 3, 3)[:, ::-1]  # rows from below here, from above there
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert np.allclose(ends[:, 4, 1], -ends[:, 4, 0], atol=1e-5)  # the middle one: to the other side of the origin


def test_axes_are_red_green_blue() -> None:
    lines = frusta.axes(np.eye(4)[None], 0.5)
    np.testing.assert_array_equal(lines.ends[:, 1], 0.5 * np.eye(3, dtype=np.float32))
    assert lines.colors.argmax(1).tolist() == [0, 1, 2]


def test_a_pane_shows_its_picture_to_its_camera() -> None:
    cameras = orbit_cameras(elevation=(20, 20), azimuth=(30, 120), size=64)
    pictures = render(torus("coloured"), cameras)
    mesh = frusta.panes(cameras, [Image.fromarray((255 * p.numpy()).astype(np.uint8)) for p in pictures])
    seen, alpha, _ = render_mesh(mesh, cameras, 1.0)
    assert alpha[:, 8:56, 8:56].min() == 1
    middle = np.s_[:, 4:60, 4:60]
    for i in range(2):
        error = np.abs(seen[i] - pictures[i].numpy())[4:60, 4:60].mean()
        assert error < 0.03
        assert error < 0.2 * np.abs(seen[i] - pictures[1 - i].numpy())[middle[1:]].mean()


def test_lines_are_as_wide_as_they_should_be() -> None:
    camera = orbit_cameras(azimuth=(0,), size=128)
    level = frusta.Lines(np.array([[(-0.3, 0.1, 0.2), (0.3, 0.1, -0.2)]], np.float32), np.array([RED], np.float32))
    mesh = frusta.ribbons(level, camera.viewmats[0].double().numpy(), float(camera.Ks[0, 0, 0]), width=3)
    _, alpha, _ = render_mesh(mesh, camera, supersample=8)
    widths = alpha[0].sum(0)[40:88]
    assert widths == pytest.approx(3, rel=0.05)


# ---- pictures


def test_a_picture_of_gaussians_or_of_a_mesh_is_what_the_renderer_draws() -> None:
    camera = orbit_cameras(elevation=15, azimuth=(30,), size=64)
    expected = render(ring(200), camera, background=torch.tensor([0.2, 0.4, 0.6]))
    drawn = draw(make_scene(ring(200), "test"), camera, (0.2, 0.4, 0.6))
    np.testing.assert_allclose(drawn, expected.numpy(), atol=1e-5)
    lit, _, _ = render_mesh(torus("coloured"), camera, 0.5, shade=True)
    np.testing.assert_allclose(draw(make_scene(torus("coloured"), "test"), camera, 0.5), lit, atol=1e-6)
    plain = render(torus("coloured"), camera, background=0.5)
    drawn = draw(make_scene(torus("coloured"), "test"), camera, 0.5, light=False)
    np.testing.assert_allclose(drawn, plain.numpy(), atol=1e-6)


@pytest.mark.parametrize("front", [True, False])
def test_what_is_nearer_hides_what_is_behind(front: bool) -> None:
    white = np.full((1, 8, 8, 3), 255, np.uint8)
    beside = orbit_cameras(azimuth=(0,), radius=0.8, size=8)  # its picture stands at z = 0.6
    scene = make_scene(wall(0.7 if front else 0.4, RED), "test", cameras=beside, pictures=white)
    seen = draw(scene, orbit_cameras(azimuth=(0,), size=64), 0.0, light=False)[0, 32, 28]
    assert seen.tolist() == (RED if front else [1, 1, 1])


def test_a_splat_before_a_wall_is_seen_through() -> None:
    ball = Gaussians.from_lgm(torch.tensor([[0, 0, 0, 0.5, 0.3, 0.3, 0.3, 1, 0, 0, 0, 0, 0, 1]]).float())
    both = make_scene(ball, "test")
    camera = orbit_cameras(azimuth=(0,), size=33)
    for z, expected in ((-0.5, [0.5, 0, 0.5]), (0.5, RED)):
        scene = dataclasses.replace(both, mesh=wall(z, RED))
        assert draw(scene, camera, 1.0, light=False)[0, 16, 16] == pytest.approx(expected, abs=0.02)


def covered_box(picture: NDArray) -> tuple[float, float]:
    """Height and width of what is not white, as parts of the picture."""
    rows, columns = (np.flatnonzero((picture < 0.97).any(axis)) for axis in ((1, 2), (0, 2)))
    return (rows[-1] - rows[0] + 1) / len(picture), (columns[-1] - columns[0] + 1) / len(picture)


@pytest.mark.parametrize("factor", [0.2, 1, 100])
@pytest.mark.parametrize("shift", [0, 7])
def test_the_first_view_holds_the_object_whatever_its_size_and_place(factor: float, shift: float) -> None:
    mesh = torus("coloured")
    moved = changed(mesh, vertices=factor * (mesh.vertices + shift))
    height, width = covered_box(still_of(moved, size=64, elevation=20))
    assert 0.6 < width < 1
    assert 0.2 < height < 1


def test_what_fits_is_seen_as_the_model_sees_it() -> None:
    for obj in (ring(50), torus("grey")):
        assert frame(make_scene(obj, "test")) == View(0, 0, 1.5, (0, 0, 0), 49.1)
    assert frame(make_scene(orbit_cameras(), "test")).radius > 3
    assert frame(make_scene(orbit_cameras(), "test"), radius=2.0) == View(radius=2.0)


def test_the_models_objects_are_seen_as_it_sees_them(tiny_pipe: LGMFullPipeline) -> None:
    gaussians = tiny_pipe(i3d.load_image(i3d.sample("mug"))).gaussians
    assert frame(make_scene(gaussians, "test")) == View()


@pytest.mark.parametrize("radius", [0.55, 0.7, 0.95, 3.0])
def test_the_first_view_cuts_nothing_off(radius: float) -> None:
    picture = still_of(ball(24, radius), size=64)
    border = np.concatenate([picture[[0, -1]].reshape(-1, 3), picture[:, [0, -1]].reshape(-1, 3)])
    assert (border == 1).all()
    assert (picture < 1).mean() > 0.3


def test_the_first_view_knows_how_large_gaussians_are() -> None:
    one = Gaussians(torch.zeros(1, 3), torch.eye(4)[:1], torch.full((1, 3), 0.2), torch.ones(1), torch.zeros(1, 1, 3))
    picture = still_of(one, size=64)
    assert picture[32, 32].max() < 0.6
    assert picture[[0, -1]].min() > 0.95


def test_a_few_gaussians_far_away_do_not_count() -> None:
    gaussians = ring(1000)
    gaussians.means[:3] *= 100
    assert frame(make_scene(gaussians, "test")).radius == 1.5


# ---- widgets


def test_widgets_hold_what_they_are_told() -> None:
    viewer = i3d.SplatViewer(ring(20), elevation=10, azimuth=20, background=0.5, splat_scale=0.5, size=64)
    assert (viewer.elevation, viewer.azimuth, viewer.radius, viewer.target) == (10, 20, 1.5, [0, 0, 0])
    assert (viewer.background, viewer.splat_scale) == ([0.5] * 3, 0.5)
    smaller = dataclasses.replace(ring(20), scales=0.5 * ring(20).scales)
    expected = still(make_scene(smaller, "test"), 64, 0.5, View(10, 20))
    assert np.array_equal(np.asarray(viewer.picture()), np.asarray(expected))
    viewer.update(ring(30))
    assert len(viewer._scene["splats"]) == 36 * 32
    with pytest.raises(InputError, match="got Mesh"):
        viewer.update(torus("grey"))
    mesh = i3d.MeshViewer(torus("coloured"), light=False, wireframe=True, size=64)
    assert (mesh.light, mesh.wireframe) == (False, True)
    edged = np.asarray(mesh.picture()).astype(int)
    mesh.wireframe = False
    plain = np.asarray(mesh.picture()).astype(int)
    assert np.array_equal(plain, look(torus("coloured"), 64, light=False))
    assert (edged - plain).mean() < -5  # dark edges over the surface
    assert repr(mesh) == f"MeshViewer({torus('coloured')!r})"
    assert i3d.MeshViewer(orbit_cameras()).radius > 3


def test_widgets_leave_a_picture_in_the_notebook() -> None:
    viewer = i3d.MeshViewer(torus("coloured"), azimuth=40, size=64)
    assert VIEW in bundle_of(viewer)
    assert np.array_equal(png_of(viewer), np.asarray(viewer.picture()))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("elevation", 91, "elevation"),
        ("azimuth", math.nan, "azimuth"),
        ("radius", 0, "radius"),
        ("radius", "far", "far"),
        ("splat_scale", -1, "splat_scale"),
        ("background", (1, 1), "background"),
        ("background", None, "background"),
        ("background", "red", "background"),
    ],
)
def test_traits_refuse_what_makes_no_sense(name: str, value: Any, words: str) -> None:
    viewer = i3d.SplatViewer(ring(20))
    before = getattr(viewer, name)
    with pytest.raises(InputError, match=words):
        setattr(viewer, name, value)
    assert getattr(viewer, name) == before
    with pytest.raises((InputError, traitlets.TraitError)):
        i3d.SplatViewer(ring(20), **{name: value})


def test_without_anywidget_a_sentence_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "image3d_nb.view.widgets", raising=False)
    with pytest.raises(ImportError, match="needs anywidget"):
        importlib.import_module("image3d_nb.view.widgets")
