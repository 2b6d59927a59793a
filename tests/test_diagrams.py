"""The sketches of the lessons: as wide as asked for, and with what they should show where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import image3d_nb as i3d
from image3d_nb.course import diagrams

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def cube() -> i3d.Mesh:
    return diagrams.blocks(np.ones((1, 1, 1)), [0, 0, 0], 0.5)


def test_sketches_are_as_wide_as_asked_for() -> None:
    steps = [("one", "3 x 3"), ("two", "2 x 2")]
    made = [diagrams.flow(steps), diagrams.curves({"a": ([0, 1], [1, 0])}), diagrams.over_image(np.zeros((4, 6)))]
    made += [diagrams.pinhole(), diagrams.scatter({"a": SQUARE / 2, "b": SQUARE}, SQUARE)]
    made += [diagrams.wireframe(cube(), i3d.orbit_cameras(20, 30, size=50), width=300)]
    assert [image.width for image in made] == [860, 640, 560, 860, 860, 300]
    assert all(image.mode == "RGB" and np.asarray(image).std() > 5 for image in made)


@pytest.mark.parametrize("mean", [(10, 6), (30, 16)])
def test_an_ellipse_lies_around_its_mean(mean: tuple[int, int]) -> None:
    plain, drawn = (
        np.asarray(diagrams.over_image(np.ones((20, 40)), ellipses=e, width=400)).astype(int)
        for e in ([], [(mean, [[4.0, 0.0], [0.0, 1.0]])])
    )
    rows, columns = np.nonzero(np.abs(plain - drawn).max(-1) > 50)
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(2, rel=0.1)  # two sigmas: 8 x 4 pixels
    assert (columns.mean() < 200) == (mean[0] < 20)
    assert (rows.mean() < plain.shape[0] / 2) == (mean[1] < 10)


def test_a_table_is_darker_where_its_numbers_are_larger() -> None:
    made = np.asarray(diagrams.matrix([[0.9, 0.1], [0.1, 0.1]], ["a", "b"], ["c", "d"], width=400)).astype(int)
    dark = made.sum(-1) < 400
    rows, columns = np.nonzero(dark & (made[..., 2] > made[..., 0] + 60))  # blue
    assert made.shape[1] == 400
    assert (rows.mean() < made.shape[0] / 2, columns.mean() < 250) == (True, True)


def test_blocks_of_a_unet_are_as_high_as_their_images_and_coloured_by_attention() -> None:
    made = np.asarray(diagrams.staircase([("down", 32, 64, False), ("mid", 64, 16, True)])).astype(int)
    blue = (made[..., 2] > made[..., 0] + 80).any(1).sum()
    orange = (made[..., 0] > made[..., 2] + 80).any(1).sum()
    assert made.shape[1] == 860
    assert blue / orange == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("spread", [None, {"one": 0.5, "two": 0.5}])
def test_bars_are_as_long_as_their_values(spread: dict[str, float] | None) -> None:
    made = np.asarray(diagrams.bars({"one": 4.0, "two": 1.0}, spread=spread)).astype(int)
    blue = (made[..., 2] > made[..., 0] + 60).sum(1)
    half = made.shape[0] // 2
    assert blue[:half].max() > 3 * blue[half:].max() > 0


@pytest.mark.parametrize("marks", [{}, {"A": (0.5, 0.5)}])
def test_points_stand_in_panels_side_by_side(marks: dict[str, tuple[float, float]]) -> None:
    made = diagrams.plane({"left": np.array([[0.5, 0.5]] * 3), "right": np.array([[-0.5, -0.5]])}, marks)
    pixels = np.asarray(made).astype(int)
    orange = (pixels[..., 0] > pixels[..., 2] + 80).sum()
    assert made.width == 860
    assert (orange > 0) == bool(marks)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 4)])
def test_blocks_are_a_closed_box(shape: tuple[int, int, int]) -> None:
    filled = np.zeros((4, 5, 6), bool)
    filled[: shape[0], 1 : 1 + shape[1], : shape[2]] = True
    box = diagrams.blocks(filled, [1.0, 2.0, 3.0], 0.5).merged_vertices()
    report = i3d.mesh_report(box)
    assert report.watertight
    assert report.outward
    assert report.volume == pytest.approx(np.prod(shape) / 8)
    low = np.array([0.75, 2.25, 2.75])  # half a cell below the centre of the first one
    np.testing.assert_allclose(box.bounds, [low, low + 0.5 * np.array(shape)])


def test_dots_stand_where_the_points_are() -> None:
    points = np.array([[0.0, 0.1, 0.2], [0.3, 0.0, 0.0]])
    dots = diagrams.dots(points, [1.0, 0.5, 0.0], radius=0.02)
    np.testing.assert_allclose(dots.means, points, atol=1e-6)
    torch.testing.assert_close(dots.rgb, torch.tensor([[1.0, 0.5, 0.0]] * 2))
    assert dots.scales.unique().tolist() == pytest.approx([0.02])


def test_a_wireframe_marks_a_face() -> None:
    camera = i3d.orbit_cameras(20, 30, radius=1.2, size=50)
    plain, marked = (np.asarray(diagrams.wireframe(cube(), camera, m)).astype(int) for m in ([], [0]))
    assert 100 < (np.abs(plain - marked).max(-1) > 50).sum() < 0.3 * plain.shape[0] * plain.shape[1]


def test_signed_distances_are_blue_inside_and_masks_are_red() -> None:
    across = np.linspace(-1, 1, 100)
    disc = np.hypot(*np.meshgrid(across, across)) - 0.5
    red, _, blue = np.asarray(diagrams.signed(disc)).astype(int).transpose(2, 0, 1)
    assert (blue > red)[disc < 0].all()
    assert (blue < red)[disc > 0].all()
    over = np.asarray(diagrams.overlay(Image.new("RGB", (100, 100), "gray"), disc < 0)).astype(int)
    np.testing.assert_array_equal(over[..., 0] > over[..., 2] + 50, disc < 0)
