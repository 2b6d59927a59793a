"""The sketches of the lessons: as wide as asked for, and with what they should show where it belongs."""

from __future__ import annotations

import numpy as np
import pytest

from image3d_nb.course import diagrams


def test_sketches_are_as_wide_as_asked_for() -> None:
    steps = [("one", "3 x 3"), ("two", "2 x 2")]
    made = [diagrams.flow(steps), diagrams.curves({"a": ([0, 1], [1, 0])}), diagrams.over_image(np.zeros((4, 6)))]
    assert [image.width for image in made] == [860, 640, 560]
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
