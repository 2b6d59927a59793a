"""The procedural objects: deterministic, whole, framed as `prepare_image` frames, and of every kind."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from image3d_nb.cameras import orbit_cameras
from image3d_nb.errors import InputError
from image3d_nb.training import families, objects, palette, shapes
from image3d_nb.training.families import still
from image3d_nb.training.objects import ASSEMBLY, FAMILIES, FILL, HELD_OUT, MAX_RADIUS, make_object, render_views

EVERY = (*FAMILIES, *HELD_OUT, ASSEMBLY)
SEEDS = (0, 1, 2)
NEW = ("watering_can", "penguin", "turtle", "rabbit", "bus", "windmill", "fruit", "arrangement")
SUMS = (
    1201.13, 662.37, 1026.47, 432.35, 629.08, 1054.24, 1019.11, 564.40, 812.51,
    1675.14, 1251.26, 1580.66, 1201.38, 903.31, 693.46, 661.76, 716.90, 1092.24,
    1347.99, 1067.34, 1807.74, 1189.98, 617.44, 1494.72, 607.00, 831.71, 1025.42,
    1372.31, 1567.11, 1301.87, 1167.63, 1017.82, 981.40, 765.76, 677.56, 1164.14,
)  # fmt: skip
"""Sum of the absolute coordinates of each family's first test object, teapot and bird at the end."""
COLORS = {name for group in palette._GROUPS.values() for name in group}


def silhouette_box(alpha):
    """Sides and middle of the pixels that are at least half covered, as shares of the picture."""
    rows, columns = np.nonzero(alpha > 127)
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
    return (high - low) / alpha.shape[0], (low + high) / 2 / alpha.shape[0]


def test_families_are_many_and_held_out_ones_are_apart():
    assert len(FAMILIES) == 34
    assert FAMILIES[:3] + FAMILIES[25:] == ("mug", "bottle", "vase", "pot", *NEW)
    assert HELD_OUT[:2] == ("teapot", "bird")
    assert len(HELD_OUT) == 10
    assert not {*HELD_OUT, ASSEMBLY} & set(FAMILIES)


def test_held_out_builders_and_those_of_the_training_do_not_call_each_other():
    folder = Path(families.__file__).parent
    imported = {file.stem: _siblings(file) for file in folder.glob("*.py")}
    assert imported["still"] == {"animals", "outdoors", "vehicles", "vessels"}
    assert imported["held_out"] == imported["assembly"] == set()
    assert not any("held_out" in names for names in imported.values())


def _siblings(file):
    """Modules of the same folder that a module imports."""
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    return {node.module or alias.name for node in nodes if node.level == 1 for alias in node.names}


def test_known_families_are_the_same_objects_as_in_the_third_edition():
    """The figures of all editions are of these; a change of a builder or of the order of families would spoil them."""
    sums = [float(np.abs(make_object(1_000_000_000 + i, name).vertices).sum()) for i, name in enumerate(FAMILIES)]
    sums += [float(np.abs(make_object(2_000_000_000 + i, name).vertices).sum()) for i, name in enumerate(HELD_OUT[:2])]
    np.testing.assert_allclose(sums, SUMS, rtol=1e-4)


def test_assemblies_are_of_many_kinds():
    things = [make_object(seed, ASSEMBLY) for seed in range(60)]
    sizes = np.array([np.ptp(thing.vertices, axis=0) for thing in things])  # [60, 3]
    flat = sizes.min(axis=1) / sizes.max(axis=1)
    assert (flat < 0.4).sum() >= 5
    assert (flat > 0.7).sum() >= 5
    pieces = [_connected(thing.faces) for thing in things]
    assert min(pieces) <= 2
    assert max(pieces) >= 12


def _connected(faces):
    """How many pieces share no vertex with each other."""
    edges = (np.ones(2 * len(faces)), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()))
    graph = coo_matrix(edges, shape=(faces.max() + 1,) * 2)
    return len(set(connected_components(graph, directed=False)[1][np.unique(faces)]))


@pytest.mark.parametrize("family", EVERY)
def test_same_seed_gives_the_same_object(family):
    first, again = make_object(5, family), make_object(5, family)
    for name in ("vertices", "faces", "colors", "albedo"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.caption, first.family, first.seed) == (again.caption, family, 5)


@pytest.mark.parametrize("family", EVERY)
def test_two_seeds_differ(family):
    first, second = make_object(5, family), make_object(6, family)
    same_size = first.vertices.shape == second.vertices.shape
    assert not (same_size and np.allclose(first.vertices, second.vertices, atol=1e-3))


@pytest.mark.parametrize("family", EVERY)
def test_geometry_and_colours_are_sound(family):
    for seed in SEEDS:
        thing = make_object(seed, family)
        assert (thing.vertices.dtype, thing.faces.dtype) == (np.float32, np.int32)
        assert (thing.colors.dtype, thing.albedo.dtype) == (np.float32, np.float32)
        assert thing.vertices.shape == thing.colors.shape == thing.albedo.shape
        assert 900 <= len(thing.vertices) <= 6000
        assert np.isfinite(thing.vertices).all()
        assert thing.faces.min() >= 0
        assert thing.faces.max() < len(thing.vertices)
        for colors in (thing.colors, thing.albedo):
            assert colors.min() >= 0
            assert colors.max() <= 1
        corners = thing.vertices[thing.faces]
        areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
        assert areas.sum() > 0.1
        assert (areas > 1e-9).mean() > 0.99
        assert np.ptp(thing.vertices, axis=0).min() > 0.1


@pytest.mark.parametrize("family", EVERY)
def test_front_view_is_what_prepare_image_returns(family):
    front = orbit_cameras(azimuth=[0], size=256)
    for seed in SEEDS:
        thing = make_object(seed, family, vary_fill=False)
        sides, middle = silhouette_box(render_views(thing, front)[0, ..., 3])
        np.testing.assert_allclose(middle, 0.5, atol=0.015)
        if sides.max() < FILL - 0.02:  # a long thing is smaller, but only because another view would be cut off
            radius = np.linalg.norm(thing.vertices, axis=1).max()
            assert radius > MAX_RADIUS - 0.03 or _touches_the_edge(thing)
        else:
            assert sides.max() == pytest.approx(FILL, abs=0.02)


def _touches_the_edge(thing):
    """Whether some level view comes within 7 % of the picture's edge."""
    views = render_views(thing, orbit_cameras(azimuth=list(range(0, 360, 10)), size=60))[..., 3]
    return bool(views[:, :4].any() or views[:, -4:].any() or views[:, :, :4].any() or views[:, :, -4:].any())


@pytest.mark.parametrize("family", EVERY)
def test_level_views_stay_inside_the_picture(family):
    cameras = orbit_cameras(azimuth=list(range(0, 360, 15)), size=64)
    for seed in SEEDS:
        thing = make_object(seed, family)
        assert np.linalg.norm(thing.vertices, axis=1).max() < MAX_RADIUS + 0.02
        alpha = render_views(thing, cameras)[..., 3]
        border = np.concatenate([alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]], axis=1)
        assert border.max() == 0


def test_half_of_the_objects_are_tilted_a_little():
    tilts = [objects._tilt(np.random.default_rng(seed)) for seed in range(400)]
    lean = np.degrees([np.arccos(np.clip(tilt[1, 1], -1, 1)) for tilt in tilts])  # of the upright axis
    assert 0.4 < np.mean(lean > 1e-6) < 0.6
    assert 3 < lean[lean > 1e-6].mean() < 8
    assert lean.max() < 17  # 12 degrees about both axes
    for tilt in tilts[:5]:
        np.testing.assert_allclose(tilt @ tilt.T, np.eye(3), atol=1e-12)


def test_light_varies_and_neither_clips_nor_blackens_the_front():
    """A white ball shows the light itself."""
    ball = shapes.blob(1, 1, 1, cuts=10)
    ahead, rows = ball.vertices[:, 2] > 0.3, []
    for seed in range(200):
        light = objects._light(np.random.default_rng(seed), ball.vertices, ball.vertices, ball.openness)[:, 0]
        rows.append(
            [*(light[ahead, None] * ball.vertices[ahead]).sum(axis=0)[:2] / light[ahead].sum(), light[ahead].mean()]
        )
        assert np.mean(0.87 * light[ahead] > 1) < 0.05
        assert light[ahead].min() > 0.25
        assert light[ahead].mean() > 0.5
    across, up, _ = np.mean(rows, axis=0)
    assert across < -0.02  # on average from the left
    assert up > 0.02  # and from above
    assert (np.std(rows, axis=0) > 0.02).all()


def test_arrangements_never_show_what_is_held_out():
    assert not set(still._SMALL) & set(HELD_OUT)
    assert set(still._SMALL) <= set(FAMILIES)
    captions = [make_object(seed, "arrangement").caption for seed in range(60)]
    assert not any(re.search(r"\b(teapot|bird)\b", caption) for caption in captions)
    assert all(caption.startswith("an arrangement: ") and " on a" in caption for caption in captions)


def test_arrangements_stand_on_their_stand():
    parts, _ = still.arrangement(np.random.default_rng(2))
    assert min(part.vertices[:, 1].min() for part in parts) == pytest.approx(0, abs=0.02)
    whole = shapes.join(parts).vertices
    assert np.ptp(whole[:, 1]) > 0.5


def test_fill_varies_by_default():
    front = orbit_cameras(azimuth=[0], size=128)
    fills = [silhouette_box(render_views(make_object(s, "bottle"), front)[0, ..., 3])[0].max() for s in range(12)]
    assert 0.64 < min(fills) < 0.73
    assert 0.83 < max(fills) < 0.92


@pytest.mark.parametrize("family", EVERY)
def test_surfaces_face_outwards(family):
    """What is seen are front faces, but for the inside of a lampshade and its like."""
    cameras = orbit_cameras(elevation=[0, 0, 30], azimuth=[0, 180, 60], size=64)
    thing = make_object(3, family)
    vertices = thing.vertices[thing.faces].reshape(-1, 3)  # no vertex is shared: one colour a face
    faces = np.arange(len(vertices)).reshape(-1, 3)
    normals = np.repeat(np.cross(vertices[1::3] - vertices[::3], vertices[2::3] - vertices[::3]), 3, axis=0)
    for view, eye in enumerate(cameras.c2w[:, :3, 3].numpy()):
        turned_away = np.sum(normals * (eye - vertices), axis=1) < 0
        marked = type(thing)(vertices, faces, np.repeat(turned_away[:, None], 3, axis=1), vertices, family, "", 3)
        rgba = render_views(marked, cameras[view : view + 1], supersample=1)[0]
        assert rgba[..., 0].sum() < 0.08 * rgba[..., 3].sum()


@pytest.mark.parametrize("family", EVERY)
def test_light_comes_from_the_front_and_the_back_is_not_black(family):
    cameras = orbit_cameras(azimuth=[0, 180], size=64)
    front, back = [], []
    for seed in range(3):
        thing = make_object(seed, family)
        ratio = thing.colors.sum(axis=1) / thing.albedo.sum(axis=1)
        assert ratio.min() > 0.1
        lit = render_views(thing, cameras).astype(float)
        grey = type(thing)(thing.vertices, thing.faces, thing.albedo, thing.albedo, family, "", seed)
        plain = render_views(grey, cameras).astype(float)
        brightness = lit[..., :3].sum(axis=(1, 2, 3)) / plain[..., :3].sum(axis=(1, 2, 3))
        front.append(brightness[0])
        back.append(brightness[1])
    assert np.mean(front) > np.mean(back) + 0.08
    assert min(back) > 0.35


@pytest.mark.parametrize("family", EVERY)
def test_captions_name_the_family_and_a_colour(family):
    captions = {make_object(seed, family).caption for seed in range(5)}
    assert all(family.replace("_", " ") in caption for caption in captions)
    assert all(any(color in caption for color in (*COLORS, "brown")) for caption in captions)
    assert not any(re.search(r"\ba [aeiou]", caption) for caption in captions)
    assert len(captions) >= 3


def test_family_is_drawn_from_the_known_ones():
    drawn = {make_object(seed).family for seed in range(120)}
    assert drawn <= set(FAMILIES)
    assert len(drawn) > len(FAMILIES) * 0.85


def test_drawing_a_family_gives_the_object_of_that_family():
    thing = make_object(11)
    np.testing.assert_array_equal(thing.vertices, make_object(11, thing.family).vertices)


def test_views_are_premultiplied():
    views = render_views(make_object(4, "duck"), orbit_cameras(size=48))
    assert (views.shape, views.dtype) == ((4, 48, 48, 4), np.uint8)
    assert (views[..., :3] <= views[..., 3:]).all()


@pytest.mark.parametrize(("seed", "family"), [(-1, "mug"), (0, "dragon")])
def test_bad_input_is_refused(seed, family):
    with pytest.raises(InputError, match="must be"):
        make_object(seed, family)


def volume(part):
    a, b, c = (part.vertices[part.faces[:, k]] for k in range(3))
    return float((np.cross(a, b) * c).sum() / 6)


SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (shapes.box(1, 2, 3, (2, 3, 4)), 6),
        (shapes.box(1, 2, 3).mirror(), 6),
        (shapes.box(1, 2, 3).turn("x", 30).turn("y", 40).turn("z", 50).move(1, 2, 3), 6),
        (shapes.blob(1, 2, 3, cuts=24), 8 * np.pi),
        (shapes.cylinder(1, 2, segments=200), 2 * np.pi),
        (shapes.cylinder(1, 3, top=0.0, segments=200), np.pi),
        (shapes.extrude(SQUARE, 0.5), 0.5),
        (shapes.extrude(SQUARE[::-1], 0.5), 0.5),
        (shapes.rod((0, 0, 0), (0, 3, 0), 0.5, segments=100), 0.75 * np.pi),
        (shapes.tube(shapes.curve([(0, 0, 0), (2, 0, 0)], 20), 0.5, segments=100), 0.5 * np.pi),
        (shapes.lathe([(0, 0), (1, 0), (1, 0), (1, 1), (1, 1), (0, 1)], outline=shapes.circle(4)), 2),
    ],
)
def test_primitives_are_closed_and_face_outwards(part, expected):
    assert volume(part) == pytest.approx(expected, rel=0.01)


def test_normals_of_a_ball_point_away_from_its_middle():
    ball = shapes.blob(1, 1, 1, cuts=10)
    normals = shapes.vertex_normals(ball.vertices, ball.faces)
    assert (normals * ball.vertices).sum(axis=1).min() > 0.99


def test_a_crease_stays_sharp():
    can = shapes.cylinder(1, 1, segments=24)
    normals = shapes.vertex_normals(can.vertices, can.faces)
    rim = normals[np.isclose(can.vertices[:, 1], 1) & (np.hypot(can.vertices[:, 0], can.vertices[:, 2]) > 0.99)]
    upright = np.abs(rim[:, 1])
    assert set(np.round(upright, 3)) == {0.0, 1.0}


def test_joined_parts_keep_their_faces():
    one, two = shapes.box(1, 1, 1), shapes.blob(1, 1, 1).move(5)
    both = shapes.join([one, two])
    assert volume(both) == pytest.approx(volume(one) + volume(two))
