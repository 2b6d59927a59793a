"""The mesh container, and what people do with it. Closed stays closed, colours in place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from image3d_nb import decimate, metrics, orbit_cameras, render
from image3d_nb.errors import InputError
from image3d_nb.mesh import Mesh
from image3d_nb.meshing.atlas import GridAtlas
from image3d_nb.meshing.closest import ClosestPoints, closest_weights
from tests.solids import CUBE, ball, cube, doughnut, volume

CAMERAS = orbit_cameras(elevation=[10, 60, -60], azimuth=[20, 140, 260], size=160)
SHEAR = np.array([[1.0, 0.4, 0.0], [0.0, 1.3, -0.2], [0.1, 0.0, 0.7]])
MIRROR = np.diag([-1.0, 1.0, 1.0])


def psnr(a: Mesh, b: Mesh) -> float:
    pictures = [render(mesh, CAMERAS) for mesh in (a, b)]
    assert isinstance(pictures[0], torch.Tensor)
    assert isinstance(pictures[1], torch.Tensor)
    return float(metrics.pooled_psnr(pictures[0].permute(0, 3, 1, 2), pictures[1].permute(0, 3, 1, 2)))


def checkered() -> np.ndarray:
    """A texture of coloured squares, [128, 256, 3]."""
    return np.kron(np.random.default_rng(0).integers(0, 255, (8, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)


def painted_ball(rows: int = 48) -> Mesh:
    return ball(rows, texture=checkered())


def test_normals_of_a_cube_point_outwards() -> None:
    middles = CUBE.vertices[CUBE.faces].mean(1)
    assert (np.sum(CUBE.face_normals() * middles, 1) > 0).all()
    assert (np.sum(CUBE.vertex_normals() * CUBE.vertices, 1) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(CUBE.vertex_normals(), axis=1), 1)
    np.testing.assert_array_equal(CUBE.bounds, [[-0.5] * 3, [0.5] * 3])
    assert repr(CUBE) == "Mesh(vertices=8, faces=12, colors=none)"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"faces": CUBE.faces + 1}, "index 8 vertices"),
        ({"faces": CUBE.faces.astype(float)}, "integers"),
        ({"vertices": CUBE.vertices[:, :2]}, "vertices"),
        ({"vertices": CUBE.vertices * np.nan}, "finite"),
        ({"vertex_colors": np.zeros((3, 3))}, "row a vertex"),
        ({"texture": np.zeros((4, 4), np.uint8)}, "texture"),
        ({"texture": np.ones((4, 4, 3))}, "float64"),
        ({"texture": [[[255, 0, 0]]]}, "list"),
        ({"vertex_colors": np.full((8, 3), 100)}, "int64"),
        ({"vertex_colors": np.full((8, 3), 1.01)}, "1.01"),
        ({"vertex_colors": np.full((8, 3), -0.01)}, "-0.01"),
    ],
)
def test_bad_mesh(fields: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Mesh(**{"vertices": CUBE.vertices, "faces": CUBE.faces, **fields})


def test_colours_that_are_out_of_range_by_rounding_are_a_mesh() -> None:
    colors = np.tile(np.float32([-1e-4, 0.5, 1 + 1e-4]), (8, 1))
    assert Mesh(CUBE.vertices, CUBE.faces, vertex_colors=colors).vertex_colors is colors


@pytest.mark.parametrize("linear", [SHEAR, MIRROR, SHEAR @ MIRROR, -2 * np.eye(3)])
def test_transform_keeps_the_outside_out(linear: np.ndarray) -> None:
    before = ball(12, normals=True)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, (1, 2, 3)
    after = before.transform(matrix)
    assert volume(after) == pytest.approx(volume(before) * abs(np.linalg.det(linear)))  # positive: still outwards
    np.testing.assert_allclose(after.vertices, before.vertices @ linear.T + (1, 2, 3))
    # An ellipsoid's normal is its gradient: the ball's radius, by the inverse transpose.
    gradient = before.vertices @ np.linalg.inv(linear)
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    np.testing.assert_allclose(after.normals, gradient, atol=1e-12)
    back = after.transform(np.linalg.inv(matrix))
    np.testing.assert_allclose(back.vertices, before.vertices, atol=1e-12)
    np.testing.assert_array_equal(back.faces, before.faces)


def test_transform_takes_tensors_and_keeps_float32() -> None:
    mesh = Mesh(CUBE.vertices.astype(np.float32), CUBE.faces)
    moved = mesh.transform(torch.diag(torch.tensor([2.0, 2.0, 2.0])))
    assert moved.vertices.dtype == np.float32
    np.testing.assert_array_equal(moved.vertices, 2 * mesh.vertices)
    whole = Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
    np.testing.assert_allclose(whole.transform(np.eye(3) / 2).vertices[1], [0.5, 0, 0])  # integers are not kept


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.eye(2), r"\[4, 4\] or \[3, 3\]"),
        (np.full((3, 3), np.nan), "finite"),
        (np.diag([1.0, 0.0, 1.0]), "volume"),
        (np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1.0]]), "last row"),
    ],
)
def test_transform_refuses(matrix: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        CUBE.transform(matrix)


def test_size_and_place() -> None:
    mesh = cube((1, 2, 4)).transform(np.eye(4) + np.eye(4, k=3) * 5)
    centred = mesh.centered()
    np.testing.assert_allclose(centred.bounds, [[-0.5, -1, -2], [0.5, 1, 2]])
    np.testing.assert_allclose(np.ptp(centred.scaled_to_mm(80).bounds, axis=0), [20, 40, 80])
    np.testing.assert_allclose(np.ptp(centred.scaled_to_mm(80, unit_mm=1000).bounds, axis=0), [0.02, 0.04, 0.08])
    for longest, unit in ((0, 1), (-1, 1), (np.nan, 1), (1, 0)):
        with pytest.raises(InputError, match="above 0"):
            mesh.scaled_to_mm(longest, unit_mm=unit)
    with pytest.raises(InputError, match="with a size"):
        Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])).scaled_to_mm(10)


def test_vertices_typed_as_integers_keep_halves() -> None:
    mesh = Mesh(
        np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]), np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    )
    np.testing.assert_array_equal(mesh.centered().bounds, [[-0.5] * 3, [0.5] * 3])
    assert np.ptp(mesh.scaled_to_mm(0.5).bounds, axis=0).tolist() == [0.5] * 3


def test_axes_up() -> None:
    up, front = np.array([[0, 1, 0]]), np.array([[0, 0, 1]])
    mesh = Mesh(np.concatenate([up, front, [[1, 0, 0]]]).astype(float), np.array([[0, 1, 2]]))
    printed = mesh.to_z_up()
    np.testing.assert_array_equal(printed.vertices, [[0, 0, 1], [0, -1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(printed.to_y_up().vertices, mesh.vertices)
    assert volume(cube((1, 2, 3)).to_z_up()) == pytest.approx(6)


def test_flipped() -> None:
    mesh = ball(12, normals=True)
    assert volume(mesh.inverted()) == pytest.approx(-volume(mesh))
    assert mesh.inverted().normals is not None
    np.testing.assert_array_equal(mesh.inverted().normals, -mesh.vertex_normals())


def test_welded_finds_the_shared_vertices_and_loses_nothing() -> None:
    soup = Mesh(CUBE.vertices[CUBE.faces].reshape(-1, 3), np.arange(36).reshape(-1, 3))
    soup.vertices[soup.vertices == 0] *= -1  # some zeros become -0.0, which is the same place
    welded = soup.merged_vertices()
    assert len(welded.vertices) == 8
    np.testing.assert_array_equal(welded.vertices[welded.faces], soup.vertices[soup.faces])
    colors = np.zeros((36, 3))
    colors[:3] = 1  # the first face is painted: its corners stay its own
    assert len(Mesh(soup.vertices, soup.faces, vertex_colors=colors).merged_vertices().vertices) == 11
    painted = painted_ball(12)
    merged = painted.merged_vertices()
    np.testing.assert_array_equal(merged.vertices[merged.faces], painted.vertices[painted.faces])
    assert psnr(painted, merged) == 100


def test_merge_keeps_what_each_part_looks_like() -> None:
    green = np.full((8, 3), (0.1, 0.8, 0.2))
    left, right = CUBE.transform(np.eye(4)), CUBE.transform(np.eye(4) + np.eye(4, k=3) * 3)
    one = Mesh.merge([Mesh(left.vertices, left.faces, vertex_colors=green), right])
    assert volume(one) == pytest.approx(2 * volume(CUBE))
    np.testing.assert_array_equal(one.vertex_colors, np.concatenate([green, np.full((8, 3), 0.7)]))
    assert repr(Mesh.merge([left, right])) == "Mesh(vertices=16, faces=24, colors=none)"
    both = Mesh.merge([ball(6, normals=True)] * 2)
    assert both.normals is not None
    assert Mesh.merge([ball(6, normals=True), CUBE]).normals is None


def test_merge_warns_of_uvs_that_not_all_parts_have() -> None:
    mapped = Mesh(CUBE.vertices, CUBE.faces, uvs=CUBE.vertices[:, :2] + 0.5)
    assert Mesh.merge([mapped, mapped]).uvs is not None
    with pytest.warns(UserWarning, match="uvs of 1 of 2"):
        assert Mesh.merge([mapped, CUBE]).uvs is None


def test_merge_stacks_textures() -> None:
    place = np.eye(4)
    place[:3, :3] *= 0.5
    first, second = (place.copy() for _ in range(2))
    first[0, 3], second[0, 3] = -0.25, 0.25
    other = checkered()[::-1, :200].copy()
    parts = [ball(24, texture=checkered()).transform(first), ball(24, texture=other).transform(second)]
    merged = Mesh.merge(parts)
    assert merged.texture is not None
    assert merged.texture.shape == (260, 258, 3)
    # Seen from where none hides the other: each pixel shows one part or the other, with the colours that it has alone.
    front = orbit_cameras(size=160)[:1]
    views = [np.asarray(render(part, front, background=0.0)) for part in parts]
    np.testing.assert_allclose(np.asarray(render(merged, front, background=0.0)), sum(views), atol=2e-3)
    same = Mesh.merge([parts[0], parts[0].transform(second)])
    assert same.texture is parts[0].texture


def test_merge_refuses() -> None:
    with pytest.raises(InputError, match="empty"):
        Mesh.merge([])
    with pytest.raises(InputError, match="1 of 2"):
        Mesh.merge([CUBE, painted_ball(6)])
    wide = ball(6, texture=checkered()[:7])
    assert wide.uvs is not None
    wide.uvs[0] = 1.5
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        Mesh.merge([painted_ball(6), wide])


@pytest.mark.parametrize("target", [800, 400])
@pytest.mark.parametrize("shape", ["ball", "doughnut", "two"])
def test_decimate_stays_closed_and_keeps_parts_and_handles(shape: str, target: int) -> None:
    ring = doughnut().transform(np.eye(4) + np.eye(4, k=3) * 2)
    mesh = {"ball": ball(24), "doughnut": doughnut(), "two": Mesh.merge([ball(24), ring])}[shape]
    fewer = decimate(mesh, target)
    judge = trimesh.Trimesh(fewer.vertices, fewer.faces, process=False)
    assert judge.is_watertight
    assert judge.is_winding_consistent
    assert judge.euler_number == {"ball": 2, "doughnut": 0, "two": 2}[shape]
    assert judge.body_count == (2 if shape == "two" else 1)
    assert 0.7 * target <= len(fewer.faces) <= target
    assert volume(fewer) == pytest.approx(volume(mesh), rel={800: 0.05, 400: 0.1}[target])
    there = {tuple(row) for row in mesh.vertices.tolist()}
    assert all(tuple(row) in there for row in fewer.vertices.tolist())


def test_decimate_keeps_vertex_colours_and_normals() -> None:
    mesh = ball(32, normals=True)
    mesh = Mesh(mesh.vertices, mesh.faces, vertex_colors=mesh.vertices + 0.5, normals=mesh.normals)
    fewer = decimate(mesh, 600)
    assert fewer.vertex_colors is not None
    assert fewer.normals is not None
    np.testing.assert_allclose(fewer.vertex_colors, fewer.vertices + 0.5, atol=1e-9)
    np.testing.assert_allclose(fewer.normals, fewer.vertices / 0.5, atol=1e-6)
    assert psnr(fewer, mesh) > 28
    assert decimate(ball(32), 600).normals is None
    assert decimate(mesh, len(mesh.faces)) is mesh


@pytest.mark.parametrize("what", ["vertex_colors", "normals"])
def test_decimate_keeps_hard_edges(what: str) -> None:
    corners = trimesh.Trimesh(CUBE.vertices, CUBE.faces).subdivide().subdivide().triangles  # [192, 3, 3]
    sides = Mesh(corners.reshape(-1, 3), np.arange(corners.size // 3).reshape(-1, 3))
    front = sides.face_normals().repeat(3, axis=0)
    value = {"vertex_colors": front / 2 + 0.5, "normals": front}[what]
    fewer = decimate(dataclasses.replace(sides, **{what: value}), 100)
    assert len(fewer.faces) <= 100
    assert trimesh.Trimesh(fewer.vertices, fewer.faces).is_watertight  # once equal positions are one
    front = fewer.face_normals().repeat(3, axis=0)
    got = getattr(fewer, what)[fewer.faces.ravel()]
    np.testing.assert_allclose(got, {"vertex_colors": front / 2 + 0.5, "normals": front}[what], atol=1e-6)


def test_decimate_draws_a_texture_anew() -> None:
    mesh = painted_ball()
    fewer = decimate(mesh, 1_000)
    assert len(fewer.faces) <= 1_000
    assert fewer.texture is not None
    assert fewer.uvs is not None
    assert max(fewer.texture.shape) == 256
    assert fewer.uvs.min() >= 0
    assert fewer.uvs.max() <= 1
    assert trimesh.Trimesh(fewer.vertices, fewer.faces).is_watertight  # once equal positions are one
    assert psnr(fewer, mesh) > 22  # of hard-edged squares; colours in the wrong places give about 10
    assert fewer.normals is not None
    outwards = fewer.vertices / np.linalg.norm(fewer.vertices, axis=1, keepdims=True)
    assert np.sum(fewer.normals * outwards, axis=1).min() > 0.99  # smooth, though no face shares a vertex
    smooth = ball(48, texture=np.linspace(0, 255, 64).astype(np.uint8)[:, None, None].repeat(64, 1).repeat(3, 2))
    assert psnr(decimate(smooth, 1_000), smooth) > 30


def test_decimate_refuses() -> None:
    open_cube = Mesh(CUBE.vertices, CUBE.faces[1:])
    with pytest.raises(InputError, match="closed, manifold"):
        decimate(open_cube, 6)
    with pytest.raises(InputError, match="4 "):
        decimate(CUBE, 3)
    with pytest.raises(InputError, match="keep all parts and handles") as caught:
        decimate(Mesh.merge([doughnut(), ball(4, radius=0.02)]), 20)
    fewest = int(str(caught.value).split("be ")[1].split()[0])
    assert 20 < fewest < 1_000
    assert len(decimate(Mesh.merge([doughnut(), ball(4, radius=0.02)]), fewest).faces) <= fewest


def painted_atlas(atlas: GridAtlas, color: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    texture = atlas.blank()
    for rows, columns, face, weights in atlas.texels():
        texture[rows, columns] = np.rint(color(face, weights) * 255)
    return texture


@pytest.mark.parametrize(("faces", "size"), [(1, 64), (2, 64), (7, 64), (1_000, 128)])
def test_no_colour_bleeds_in_the_atlas(faces: int, size: int) -> None:
    """Each face in a colour of its own: wherever it is read, no other one is met."""
    atlas = GridAtlas.of(faces, size)
    shades = (np.arange(faces) * 97 % 256 / 255)[:, None].repeat(3, 1)
    mesh = Mesh(
        np.random.default_rng(0).random((3 * faces, 3)),
        np.arange(3 * faces).reshape(-1, 3),
        uvs=atlas.uvs,
        texture=painted_atlas(atlas, lambda face, _: shades[face]),
    )
    face = np.repeat(np.arange(faces), 50)
    weights = np.random.default_rng(1).dirichlet((0.4, 0.4, 0.4), len(face))  # many of them near edges and corners
    np.testing.assert_allclose(mesh.colors_at(face, weights), shades[face], atol=1e-9)


def test_a_gradient_survives_the_atlas() -> None:
    atlas = GridAtlas.of(8, 64)
    weights = np.random.default_rng(0).dirichlet((1, 1, 1), 200)
    face = np.arange(200) % 8
    texture = painted_atlas(atlas, lambda _, w: w)
    mesh = Mesh(np.zeros((24, 3)), np.arange(24).reshape(-1, 3), uvs=atlas.uvs, texture=texture)
    np.testing.assert_allclose(mesh.colors_at(face, weights), weights, atol=0.06)  # the gutter bends it at an edge
    assert np.abs(mesh.colors_at(face, weights) - weights).mean() < 0.01


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(-2, 2), min_size=12, max_size=12))
def test_the_closest_point_of_a_triangle(numbers: list[float]) -> None:
    """None of many points of the triangle is closer, also where it has no area."""
    corners, point = np.array(numbers[:9]).reshape(1, 3, 3), np.array(numbers[9:])[None]
    weights = closest_weights(corners, point)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    many = np.random.default_rng(0).dirichlet((0.5, 0.5, 0.5), 500) @ corners[0]
    found = np.linalg.norm(weights[0] @ corners[0] - point[0])
    assert found <= np.linalg.norm(many - point, axis=1).min() + 1e-6


def test_the_closest_place_is_on_the_side_that_looks_the_same_way() -> None:
    plate = cube((1, 1, 1e-4))
    up = np.array([[0.0, 0.0, 1.0]])
    surface = ClosestPoints(plate.vertices, plate.faces)
    point = np.array([[0.1, 0.2, -4e-5]])  # nearer to the lower side
    for normals, side in ((None, -1), (up, 1), (-up, -1)):
        face, _ = surface.find(point, normals)
        assert plate.face_normals()[face[0], 2] == side


def test_old_names_work_and_warn() -> None:
    for old, new in (("flipped", CUBE.inverted()), ("welded", CUBE.merged_vertices())):
        with pytest.warns(DeprecationWarning, match=old):
            np.testing.assert_array_equal(getattr(CUBE, old)().faces, new.faces)
    with pytest.warns(DeprecationWarning, match="turned_up"):
        np.testing.assert_array_equal(CUBE.turned_up("z").vertices, CUBE.to_z_up().vertices)
    with pytest.raises(InputError, match="axis"):
        CUBE.turned_up("x")
    with pytest.warns(DeprecationWarning, match="decimate"):
        assert CUBE.decimate(12) is CUBE
