"""pythreejs previews without a browser: what is handed to it (test_panels_browser.py looks at the pictures)."""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import image3d_nb as i3d
from image3d_nb.cameras import orbit_cameras
from image3d_nb.errors import InputError
from image3d_nb.gaussians import Gaussians
from image3d_nb.mesh import Mesh
from image3d_nb.view import _three_splats as splats_of
from image3d_nb.view import preview_cameras, preview_mesh, preview_splats
from image3d_nb.view.scene import View, make_scene
from image3d_nb.view.stills import still
from image3d_nb.view.three import pixel_lines

VIEW = "application/vnd.jupyter.widget-view+json"
Array = NDArray[Any]


def some(n: int = 60, k: int = 1) -> Gaussians:
    """Random Gaussians, more of them to the right: no two views are alike."""
    generator = torch.Generator().manual_seed(0)
    return Gaussians(
        means=torch.rand(n, 3, generator=generator) * torch.tensor([0.5, 0.3, 0.3]),
        quats=torch.randn(n, 4, generator=generator),
        scales=torch.rand(n, 3, generator=generator) * 0.05 + 0.01,
        opacities=torch.rand(n, generator=generator),
        sh=torch.randn(n, k, 3, generator=generator),
    )


def square(textured: bool = False) -> Mesh:
    """Two triangles, each corner of another colour."""
    corners = np.array([[-0.4, -0.4, 0], [0.4, -0.4, 0], [0.4, 0.4, 0], [-0.4, 0.4, 0.1]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    if not textured:
        return Mesh(corners, faces, vertex_colors=np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0.5]]))
    texture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    return Mesh(corners, faces, uvs=corners[:, :2] + 0.5, texture=texture)


def look(
    obj: Gaussians | Mesh, size: int, elevation: float = 0, azimuth: float = 0, background: float = 1.0,
    light: bool = True, radius: float = 1.5,
) -> Array:  # fmt: skip
    """[size, size, 3] uint8 from our own renderer."""
    return np.asarray(still(make_scene(obj, "a test"), size, background, View(elevation, azimuth, radius), light))


def parts(renderer: Any, kind: str) -> list[Any]:
    return [child for child in renderer.scene.children if type(child).__name__ == kind]


def bundle_of(widget: Any) -> dict[str, Any]:
    """What a cell that ends with the widget hands to the notebook."""
    shown = widget._repr_mimebundle_()
    return shown[0] if isinstance(shown, tuple) else shown  # anywidget adds metadata


def png_of(widget: Any) -> Array:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(bundle_of(widget)["image/png"]))))


# ---- the orders of the splats


def forward(elevation: float, azimuth: float) -> Array:
    """[3], where a camera looks."""
    return -orbit_cameras(elevation, (azimuth,)).c2w[0, :3, 2].double().numpy()


def read_order(table: Array, count: int, view: Array) -> list[int]:
    """What the vertex shader does, in numpy: the Gaussians in the order in which they are drawn."""
    flat = table.reshape(-1, 4)
    along = splats_of.sort_axes() @ view
    axis = int(np.abs(along).argmax())
    entries = range(count) if along[axis] > 0 else reversed(range(count))
    return [int(flat[3 * count + 4 * rank + axis // 4, axis % 4]) for rank in entries]


def test_axes_are_spread_and_hold_the_four_views_of_lgm() -> None:
    axes = splats_of.sort_axes()
    assert axes.shape == (16, 3)
    assert np.allclose(np.linalg.norm(axes, axis=1), 1)
    for azimuth in (0, 90, 180, 270):
        assert np.abs(axes @ forward(0, azimuth)).max() == pytest.approx(1, abs=1e-6)
    directions = np.random.default_rng(0).normal(size=(20_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert np.degrees(np.arccos(np.abs(directions @ axes.T).max(1).clip(-1, 1))).max() < 26


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("axis", range(16))
def test_from_an_axis_or_its_back_the_farthest_is_drawn_first(axis: int, sign: int) -> None:
    gaussians = some(101)
    direction = sign * splats_of.sort_axes()[axis].astype(np.float64)
    order = read_order(splats_of.splat_table(gaussians), len(gaussians), direction)
    depths = gaussians.means.double().numpy()[order] @ direction
    assert sorted(order) == list(range(101))
    assert (np.diff(depths) <= 1e-7).all()


def test_in_between_the_order_is_nearly_right() -> None:
    gaussians = some(300)
    table = splats_of.splat_table(gaussians)
    means = gaussians.means.double().numpy()
    for elevation, azimuth in itertools.product((-60, -20, 10, 35), range(10, 360, 50)):
        view = forward(elevation, azimuth)
        depths = means[read_order(table, 300, view)] @ view
        ranks = np.corrcoef(-depths, np.arange(300))[0, 1]
        assert ranks > 0.8, (elevation, azimuth)


@pytest.mark.parametrize("n", [1, 2, 77, 4096])
def test_table_holds_every_field_and_is_no_larger_than_it_must(n: int) -> None:
    gaussians = some(n)
    table = splats_of.splat_table(gaussians)
    height, width, four = table.shape
    assert (table.dtype, four) == (np.float32, 4)
    assert math.log2(width) % 1 == 0  # the shader's row and column are exact then
    assert 7 * n <= height * width < 7 * n + width
    rows = table.reshape(-1, 4)[: 3 * n].reshape(n, 3, 4)
    assert np.array_equal(rows[:, 0, :3], gaussians.means.numpy())
    assert np.array_equal(rows[:, 0, 3], gaussians.opacities.numpy())
    covariances = gaussians.covariances().numpy()
    upper = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    assert np.array_equal(rows[:, 1:].reshape(n, 8)[:, :6], np.stack([covariances[:, i, j] for i, j in upper], 1))
    green, blue = np.divmod(rows[:, 2, 3].astype(np.float64), 4096)
    colours = np.stack([rows[:, 2, 2], green / 4095, blue / 4095], 1)
    assert np.abs(colours - gaussians.rgb.clamp(0, 1).numpy()).max() <= 0.5 / 4095 + 1e-6


def test_payload_is_124_bytes_a_gaussian() -> None:
    renderer = preview_splats(some(4096))
    (mesh,) = parts(renderer, "Mesh")
    sent = mesh.material.uniforms["splats"]["value"].data.nbytes + mesh.geometry.attributes["position"].array.nbytes
    assert sent <= 124 * 4096 + 16 * 256  # the last row of the table may be part empty
    assert mesh.geometry.attributes["position"].array.tolist() == list(range(3 * 4096))


def test_more_than_a_texture_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splats_of, "MAX_SIDE", 16)
    assert splats_of.splat_table(some(36)).shape == (16, 16, 4)
    with pytest.raises(InputError, match="can hold 36 Gaussians; got 37"):
        preview_splats(some(37))


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


def test_no_material_has_more_than_one_uniform() -> None:
    """pythreejs puts every texture under the last name."""
    for renderer in (preview_splats(some()), preview_mesh(square()), preview_mesh(square(textured=True))):
        (mesh,) = parts(renderer, "Mesh")
        assert len(mesh.material.uniforms) <= 1
        assert "#version" not in mesh.material.vertexShader + mesh.material.fragmentShader  # GLSL ES 1.00
        assert "$" not in mesh.material.vertexShader


def test_splats_are_blended_premultiplied_over_what_is_behind() -> None:
    (mesh,) = parts(preview_splats(some(), size=300), "Mesh")
    material = mesh.material
    blending = (material.blending, material.blendSrc, material.blendDst, material.blendEquation)
    assert blending == ("CustomBlending", "OneFactor", "OneMinusSrcAlphaFactor", "AddEquation")
    assert (material.transparent, material.depthTest, material.depthWrite) == (True, True, False)
    assert "SIZE = 300.0;" in material.vertexShader
    texture = material.uniforms["splats"]["value"]
    assert (texture.type, texture.format, texture.magFilter) == ("FloatType", "RGBAFormat", "NearestFilter")
    assert not mesh.frustumCulled  # three would look for a box around the vertices' numbers


def test_mesh_arrays_arrive() -> None:
    mesh = square()
    (shown,) = parts(preview_mesh(mesh, wireframe=True), "Mesh")
    arrays = {name: attribute.array for name, attribute in shown.geometry.attributes.items()}
    assert arrays["index"].dtype == np.uint32
    assert arrays["index"].tolist() == mesh.faces.ravel().tolist()
    assert np.array_equal(arrays["position"], mesh.vertices.astype(np.float32))
    assert np.array_equal(arrays["tint"], np.asarray(mesh.vertex_colors, np.float32))
    assert np.allclose(arrays["normal"], mesh.vertex_normals())
    assert shown.material.wireframe


def test_texture_lies_with_its_lowest_row_first() -> None:
    mesh = square(textured=True)
    (shown,) = parts(preview_mesh(mesh), "Mesh")
    data = shown.material.uniforms["picture"]["value"].data
    assert mesh.texture is not None
    assert (data.shape, data.dtype) == ((5, 7, 4), np.uint8)
    assert np.array_equal(data[::-1, :, :3], mesh.texture)
    assert (data[..., 3] == 255).all()
    assert np.array_equal(shown.geometry.attributes["uv"].array, np.asarray(mesh.uvs, np.float32))


def test_a_mesh_without_colours_is_grey() -> None:
    mesh = Mesh(square().vertices, square().faces)
    (shown,) = parts(preview_mesh(mesh), "Mesh")
    assert np.allclose(shown.geometry.attributes["tint"].array, 0.7)
    assert np.array_equal(png_of(preview_mesh(mesh, size=64)), look(mesh, 64))


# ---- cameras


def project(points: Array, camera: Any) -> Array:
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
    materials = [mesh.material for mesh in parts(full, "Mesh")]
    assert [list(material.uniforms) for material in materials] == [["picture"], ["splats"]]
    assert "clamp" not in materials[0].vertexShader  # no light falls on the pictures
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


def test_saved_notebook_keeps_a_picture_and_one_steady_line() -> None:
    options: Any = {"size": 96, "background": 0.5, "elevation": 20, "azimuth": 70}
    for made, picture, text in [
        (preview_splats(some(), **options), look(some(), 96, 20, 70, 0.5), "Gaussians(n=60, "),
        (preview_mesh(square(), **options), look(square(), 96, 20, 70, 0.5), "Mesh(vertices=4"),
        (preview_mesh(square(), light=False, **options), look(square(), 96, 20, 70, 0.5, False), "Mesh(vertices=4"),
    ]:
        bundle = bundle_of(made)
        assert set(bundle) == {"text/plain", "image/png", VIEW}
        assert bundle[VIEW]["model_id"] == made.model_id
        assert bundle["text/plain"].startswith(f"preview of {text}")
        assert np.array_equal(png_of(made), picture)


def test_light_changes_a_mesh() -> None:
    lit, plain = (png_of(preview_mesh(square(), size=64, light=light)) for light in (True, False))
    assert (lit != plain).any()


def test_previews_go_into_boxes() -> None:
    import ipywidgets

    made = [preview_mesh(square()), preview_splats(some()), preview_cameras(orbit_cameras())]
    assert ipywidgets.VBox(made).children == tuple(made)


def test_gradients_and_double_precision_do_no_harm() -> None:
    grown = some()
    fields = (grown.means.double().requires_grad_(), grown.quats, grown.scales, grown.opacities, grown.sh)
    table = splats_of.splat_table(Gaussians(*fields))
    assert np.allclose(table, splats_of.splat_table(grown), atol=1e-6)
    assert png_of(preview_splats(Gaussians(*fields).to(dtype=torch.float32), size=32)).shape == (32, 32, 3)


def broken() -> Gaussians:
    bad = some()
    bad.means[3, 1] = math.nan
    return bad


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: preview_mesh(some()), "must be given a Mesh; got Gaussians"),  # type: ignore[arg-type]
        (lambda: preview_mesh(Mesh(np.zeros((3, 3)), np.zeros((0, 3), int))), "at least one face; got Mesh"),
        (lambda: preview_mesh(square(), size=3), "size must be a whole number of pixels"),
        (lambda: preview_mesh(square(), background=2), "background must be"),
        (lambda: preview_mesh(square(), radius=0), "radius must be > 0"),
        (lambda: preview_splats(square()), "must be given Gaussians; got Mesh"),  # type: ignore[arg-type]
        (lambda: preview_splats(some(0)), "at least one Gaussian; got none"),
        (lambda: preview_splats(broken()), "means must be finite"),
        (lambda: preview_splats(some(), elevation=91), r"elevation in \[-90, 90\]"),
        (lambda: preview_cameras(square()), "cameras must be Cameras"),  # type: ignore[arg-type]
        (lambda: preview_cameras(orbit_cameras(azimuth=())), "at least one camera"),
        (lambda: preview_cameras(orbit_cameras(), "mug"), "Gaussians or a Mesh; got str"),  # type: ignore[arg-type]
        (lambda: preview_cameras(orbit_cameras(), rays=[(256, 0)]), "in a picture of 256 x 256"),
        (lambda: preview_cameras(orbit_cameras(), rays=[(0.5, 0)]), "rays must be pixels"),  # type: ignore[list-item]
        (lambda: preview_cameras(orbit_cameras(), rays=[(1, 2, 3)]), "rays must be pixels"),  # type: ignore[list-item]
    ],
)
def test_bad_input_is_a_sentence(call: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()


def test_view_dependent_colour_and_great_numbers_warn() -> None:
    with pytest.warns(UserWarning, match=r"one colour a Gaussian: .*SH degree 1 to 1\) of 60 Gaussians is left out"):
        preview_splats(some(k=4))
    with pytest.warns(UserWarning, match=r"100,001 Gaussians make a preview of 12 MB"):
        preview_splats(some(100_001))


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
