"""The mesh rasteriser against geometry that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from image3d_nb.cameras import orbit_cameras
from image3d_nb.errors import InputError
from image3d_nb.mesh import GREY, Mesh
from image3d_nb.rendering.mesh_zbuffer import rasterize_mesh, render_mesh
from image3d_nb.training import shapes

SIZE, FOCAL = 64, 64.0
K = np.array([[[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]]])
EYE = np.eye(4)[None]  # a camera at the origin that looks along +z, y down
WHITE = np.ones((3, 3))


def draw(vertices, faces=((0, 1, 2),), colors=None, supersample=2):
    vertices = np.asarray(vertices, np.float64)
    colors = np.ones_like(vertices) if colors is None else np.asarray(colors, np.float64)
    rgba, depth = rasterize_mesh(vertices, np.asarray(faces), colors, EYE, K, SIZE, SIZE, supersample)
    return rgba[0], depth[0]


def quad(depth, half=0.3, color=(1.0, 1.0, 1.0), shift=0.0):
    corners = [(shift - half, -half, depth), (shift + half, -half, depth), (shift + half, half, depth)]
    vertices = np.array([*corners, (shift - half, half, depth)])
    return vertices, np.array([[0, 1, 2], [0, 2, 3]]), np.tile(color, (4, 1))


def pixel_to_world(x, y, depth):
    return ((x - SIZE / 2) / FOCAL * depth, (y - SIZE / 2) / FOCAL * depth, depth)


@pytest.mark.parametrize("supersample", [1, 2, 4])
def test_coverage_is_the_projected_area(supersample):
    corners = [(5.3, 7.1), (58.2, 20.4), (18.9, 57.7)]
    rgba, _ = draw(
        [pixel_to_world(x, y, z) for (x, y), z in zip(corners, (1, 2, 4), strict=True)], supersample=supersample
    )
    (ax, ay), (bx, by), (cx, cy) = corners
    area = abs((bx - ax) * (cy - ay) - (by - ay) * (cx - ax)) / 2
    assert (rgba[..., 3] / 255).sum() == pytest.approx(area, rel=0.01)


def test_axis_aligned_square_covers_its_pixels_exactly():
    vertices, faces, colors = quad(2.0, half=0.5)  # 64 * 0.5 / 2 = 16 pixels to each side
    rgba, _ = draw(vertices, faces, colors)
    expected = np.zeros((SIZE, SIZE), np.uint8)
    expected[16:48, 16:48] = 255
    np.testing.assert_array_equal(rgba[..., 3], expected)


def test_depth_of_a_plane_facing_the_camera():
    _, depth = draw(*quad(2.5))
    assert set(np.unique(depth)) == {np.float32(0), np.float32(2.5)}


def test_depth_of_a_slanted_plane():
    # the plane z = 2 + x, met by the ray of pixel column x at z = 2 / (1 - dx)
    vertices = [(-0.8, -3, 1.2), (0.8, -3, 2.8), (0.8, 3, 2.8), (-0.8, 3, 1.2)]
    _, depth = draw(vertices, [[0, 1, 2], [0, 2, 3]], supersample=1)
    columns = np.arange(20, 46)
    slope = (columns + 0.5 - SIZE / 2) / FOCAL
    np.testing.assert_allclose(depth[32, columns], 2 / (1 - slope), rtol=1e-5)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_nearer_surface_wins_whatever_the_order(order):
    quads = [quad(2.0, color=(1.0, 0.0, 0.0)), quad(3.0, half=0.6, color=(0.0, 0.0, 1.0), shift=0.3)]
    first, second = (quads[i] for i in order)
    faces = np.concatenate([first[1], second[1] + 4])
    rgba, depth = draw(np.concatenate([first[0], second[0]]), faces, np.concatenate([first[2], second[2]]))
    assert rgba[32, 32].tolist() == [255, 0, 0, 255]
    assert rgba[32, 50].tolist() == [0, 0, 255, 255]
    assert depth[32, 32] == pytest.approx(2.0)
    assert depth[32, 50] == pytest.approx(3.0)


def test_crossing_surfaces_are_cut_where_they_meet():
    # z = 2 + x and z = 2 - x cross at x = 0: left of it the first is nearer, right of it the second
    first = np.array([(-0.5, -0.5, 1.5), (0.5, -0.5, 2.5), (0.5, 0.5, 2.5), (-0.5, 0.5, 1.5)])
    second = first * (1, 1, -1) + (0, 0, 4)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    colors = np.repeat([(1.0, 0, 0), (0, 1.0, 0)], 4, axis=0)
    rgba, _ = draw(np.concatenate([first, second]), np.concatenate([faces, faces + 4]), colors)
    assert rgba[32, 28].tolist() == [255, 0, 0, 255]
    assert rgba[32, 36].tolist() == [0, 255, 0, 255]


def test_colours_are_interpolated_in_perspective():
    # red runs from 0 to 1 along the plane z = 2 + x, from x = -0.8 to 0.8
    vertices = [(-0.8, -3, 1.2), (0.8, -3, 2.8), (0.8, 3, 2.8), (-0.8, 3, 1.2)]
    colors = [(0, 0, 0), (1, 0, 0), (1, 0, 0), (0, 0, 0)]
    rgba, _ = draw(vertices, [[0, 1, 2], [0, 2, 3]], colors, supersample=1)
    columns = np.arange(15, 46)
    slope = (columns + 0.5 - SIZE / 2) / FOCAL
    x = 2 * slope / (1 - slope)
    expected = (x + 0.8) / 1.6 * 255
    assert np.abs(rgba[32, columns, 0] - expected).max() <= 0.51
    flat = (columns - columns[0]) / (columns[-1] - columns[0]) * 255  # what interpolating on the screen would give
    assert np.abs(expected - flat).max() > 10


def test_alpha_is_premultiplied_at_edges():
    colors = np.tile((1.0, 0.5, 0.25), (3, 1))
    rgba, _ = draw(
        [pixel_to_world(8.3, 9.7, 2), pixel_to_world(55.1, 25.2, 2), pixel_to_world(30.6, 58.9, 2)], colors=colors
    )
    alpha = rgba[..., 3:].astype(float)
    assert set(np.unique(alpha)) == {0, 64, 128, 191, 255}  # quarters
    assert np.abs(rgba[..., :3] - alpha * (1, 0.5, 0.25)).max() <= 1
    assert (rgba[..., :3] <= rgba[..., 3:]).all()


def test_both_sides_are_drawn():
    vertices, faces, colors = quad(2.0)
    front, back = draw(vertices, faces, colors), draw(vertices, faces[:, ::-1], colors)
    np.testing.assert_array_equal(front[0], back[0])
    np.testing.assert_array_equal(front[1], back[1])


def test_shared_edges_have_no_gaps():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.linspace(-1.5, 1.5, 12), np.linspace(-1.5, 1.5, 12)), axis=-1)
    grid[1:-1, 1:-1] += rng.uniform(-0.05, 0.05, (10, 10, 2))
    points = np.concatenate([grid, 2 + rng.uniform(-0.1, 0.1, (12, 12, 1))], axis=-1)
    sheet = shapes.sheet(points)
    rgba, _ = draw(sheet.vertices, sheet.faces)
    assert rgba[..., 3].min() == 255


def test_a_floor_that_passes_under_the_camera_is_cut_at_the_camera():
    # the plane y = 1 (below) from behind the camera to far in front; the horizon is the middle row
    vertices = [(-50, 1, -20), (50, 1, -20), (50, 1, 400), (-50, 1, 400)]
    rgba, depth = draw(vertices, [[0, 1, 2], [0, 2, 3]], supersample=1)
    assert not rgba[:32].any()
    assert (rgba[33:, 32, 3] == 255).all()
    rows = np.arange(34, SIZE)
    np.testing.assert_allclose(depth[rows, 32], FOCAL / (rows + 0.5 - SIZE / 2), rtol=1e-4)


def test_nothing_behind_the_camera_is_drawn():
    rgba, depth = draw([(-1, -1, -2), (1, -1, -2), (0, 1, -2)])
    assert not rgba.any()
    assert not depth.any()


def test_degenerate_triangles_leave_no_trace():
    rgba, _ = draw([(0, 0, 2), (0.2, 0.2, 2), (0.1, 0.1, 2)])
    assert not rgba.any()


def test_no_faces_give_empty_pictures():
    rgba, depth = rasterize_mesh(np.zeros((0, 3)), np.zeros((0, 3), int), np.zeros((0, 3)), EYE, K, 8, 6)
    assert (rgba.shape, depth.shape) == ((1, 6, 8, 4), (1, 6, 8))
    assert not rgba.any()


def test_opposite_views_of_a_symmetric_object_are_mirror_images():
    body = shapes.lathe([(0, -0.4), (0.3, -0.4), (0.3, -0.4), (0.15, 0.1), (0.25, 0.45), (0, 0.5)], segments=32)
    cameras = orbit_cameras(azimuth=[0, 180, 90, 270], size=SIZE)
    viewmats, Ks = cameras.viewmats.numpy(), cameras.Ks.numpy()
    rgba, _ = rasterize_mesh(body.vertices, body.faces, body.colors, viewmats, Ks, SIZE, SIZE)
    alpha = rgba[..., 3].astype(int)
    for front, back in ((0, 1), (2, 3)):
        # float32 cameras may move an edge across a sample point: a few quarter-covered pixels may differ
        assert (np.abs(alpha[front] - alpha[back][:, ::-1]) > 0).mean() < 0.005


def test_a_camera_on_the_right_sees_what_is_on_the_right():
    ball = shapes.blob(0.1, 0.1, 0.1).move(0.3, 0.2, 0)
    cameras = orbit_cameras(size=SIZE)
    viewmats, Ks = cameras.viewmats.numpy(), cameras.Ks.numpy()
    rgba, depth = rasterize_mesh(ball.vertices, ball.faces, ball.colors, viewmats, Ks, SIZE, SIZE)
    rows, columns = np.nonzero(rgba[0, ..., 3])
    assert rows.max() < SIZE / 2 < columns.min()  # above the middle and to the right in the front view
    assert depth[1].max() < 1.5 < depth[3][depth[3] > 0].min()  # nearer from +x, farther from -x


def test_views_do_not_depend_on_each_other():
    body = shapes.box(0.5, 0.6, 0.3)
    cameras = orbit_cameras(elevation=20, azimuth=[10, 100, 200], size=32)
    viewmats, Ks = cameras.viewmats.numpy(), cameras.Ks.numpy()
    together = rasterize_mesh(body.vertices, body.faces, body.colors, viewmats, Ks, 32, 32)[0]
    for view in range(3):
        one = slice(view, view + 1)
        alone = rasterize_mesh(body.vertices, body.faces, body.colors, viewmats[one], Ks[one], 32, 32)[0]
        np.testing.assert_array_equal(alone[0], together[view])


def test_render_mesh_takes_texture_then_vertex_colours_then_grey():
    vertices, faces, _ = quad(0.0, half=2.0)
    camera = orbit_cameras(azimuth=[0], size=SIZE)
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 0], texture[1, 1] = (255, 0, 0), (0, 255, 0)  # upper left red, lower right green
    uvs = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)  # (0, 0) is the lower left
    blue = np.tile((0.0, 0.0, 1.0), (4, 1))
    rgb, alpha, depth = render_mesh(Mesh(vertices, faces, blue, uvs, texture), camera)
    assert rgb.shape == (1, SIZE, SIZE, 3)
    assert alpha.min() == 1
    np.testing.assert_allclose(depth, 1.5, rtol=1e-5)
    # The square is 4 wide and the picture shows 1.37 of it, inside the ramp between the two texels' centres.
    assert rgb[0, 5, 5, 0] > rgb[0, 5, 5, 1] + 0.1
    assert rgb[0, -5, -5, 1] > rgb[0, -5, -5, 0] + 0.1
    np.testing.assert_allclose(render_mesh(Mesh(vertices, faces, blue), camera)[0][0, 3, 3], (0, 0, 1), atol=1e-6)
    np.testing.assert_allclose(render_mesh(Mesh(vertices, faces), camera)[0], GREY, atol=1e-6)


def test_texture_is_bilinear_between_texel_centres():
    vertices, faces, _ = quad(0.0, half=0.5)
    texture = np.zeros((1, 2, 3), np.uint8)
    texture[0, 1] = 255
    uvs = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)
    camera = orbit_cameras(azimuth=[0], size=SIZE)
    rgb, alpha, _ = render_mesh(Mesh(vertices, faces, uvs=uvs, texture=texture), camera, supersample=1)
    focal = float(camera.Ks[0, 0, 0])
    u = ((np.arange(SIZE) + 0.5 - SIZE / 2) / focal * 1.5) + 0.5
    inside = alpha[0, 32] > 0
    expected = np.clip(2 * u - 0.5, 0, 1)
    np.testing.assert_allclose(rgb[0, 32, inside, 0], expected[inside], atol=1e-4)


def test_background_shows_where_the_mesh_does_not():
    vertices, faces, _ = quad(0.0, half=0.2)
    cameras = orbit_cameras(azimuth=[0], size=16)
    rgb, alpha, _ = render_mesh(Mesh(vertices, faces), cameras, background=(1.0, 0.5, 0.0))
    np.testing.assert_allclose(rgb[alpha == 0], np.broadcast_to((1.0, 0.5, 0.0), rgb[alpha == 0].shape))
    np.testing.assert_allclose(rgb[alpha == 1], GREY, atol=1e-6)


def test_shade_is_brightest_at_the_upper_left_and_never_black():
    ball = shapes.blob(0.5, 0.5, 0.5, cuts=12)
    mesh = Mesh(ball.vertices, ball.faces, np.ones_like(ball.vertices))
    rgb, alpha, _ = render_mesh(mesh, orbit_cameras(elevation=15, size=SIZE), shade=True)
    for view in range(4):
        assert rgb[view, 24, 24, 0] > rgb[view, 40, 40, 0] + 0.2
        assert rgb[view][alpha[view] == 1].min() > 0.15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": np.zeros((3, 2))}, "vertices"),
        ({"vertices": np.full((3, 3), np.nan)}, "finite"),
        ({"faces": np.array([[0, 1, 3]])}, "3 vertices"),
        ({"faces": np.array([[0, 1, -1]])}, "3 vertices"),
        ({"faces": np.array([[0.0, 1.0, 2.0]])}, "integers"),
        ({"colors": np.ones((2, 3))}, "colors"),
        ({"colors": WHITE * 255}, "colors"),
        ({"viewmats": np.eye(4)}, "viewmats"),
        ({"Ks": np.eye(3)}, "Ks"),
        ({"Ks": np.array([[[64.0, 1, 32], [0, 64, 32], [0, 0, 1]]])}, "skew"),
        ({"Ks": -K}, "focal"),
        ({"width": 0}, "supersample"),
        ({"supersample": 0}, "supersample"),
    ],
)
def test_bad_input_is_refused(change, message):
    good = {
        "vertices": np.eye(3), "faces": np.array([[0, 1, 2]]), "colors": WHITE, "viewmats": EYE, "Ks": K,
        "width": 8, "height": 8,
    }  # fmt: skip
    with pytest.raises(InputError, match=message):
        rasterize_mesh(**{**good, **change})


@pytest.mark.parametrize("background", [2.0, -0.1, (0.5, 0.5), float("nan")])
def test_bad_background_is_refused(background):
    with pytest.raises(InputError, match="background"):
        render_mesh(Mesh(np.eye(3), np.array([[0, 1, 2]])), orbit_cameras(size=8), background=background)
