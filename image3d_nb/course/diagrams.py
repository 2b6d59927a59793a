"""Sketches for the lessons, drawn with matplotlib: each function returns a PIL image for ``show``."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from .._optional import require

DPI = 100
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito 2008: distinct to colour-blind eyes


def flow(steps: Sequence[tuple[str, str]], width: int = 860) -> Image.Image:
    """Boxes from left to right with arrows between them.

    Args:
        steps: for each box its name, and what it holds, for example a shape; lines break at "\\n".
        width: pixels.
    """
    figure, axes = _figure(width, 130)
    axes.set(xlim=(0, len(steps)), ylim=(0, 1))
    axes.axis("off")
    box = {"boxstyle": "round,pad=0.5", "facecolor": "#eef4f9", "edgecolor": _COLOURS[0]}
    for place, (name, holds) in enumerate(steps):
        axes.text(place + 0.5, 0.68, name, ha="center", va="center", fontsize=10, bbox=box)
        axes.text(place + 0.5, 0.36, holds, ha="center", va="top", fontsize=9, color="#444444")
        if place:
            start, end = (place - 0.09, 0.68), (place + 0.09, 0.68)
            axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#444444"})
    return _image(figure)


def over_image(
    image: Any, *, ellipses: Sequence[tuple[Any, Any]] = (), arrows: Sequence[tuple[Any, Any]] = (), title: str = "",
    width: int = 560,
) -> Image.Image:  # fmt: skip
    """An image with its pixels enlarged, and ellipses or arrows over it.

    Args:
        image: [H, W] or [H, W, 3], in [0, 1].
        ellipses: pairs of a mean [2] (column, row; the centre of the first pixel is 0.5) and a covariance [2, 2], px^2;
            each is drawn at one and at two standard deviations.
        arrows: pairs of a start [2] and a vector [2], pixels.
        title: written above.
        width: pixels.
    """
    pixels = np.asarray(image, np.float64).clip(0, 1)
    high, wide = pixels.shape[:2]
    figure, axes = _figure(width, round(width * high / wide) + 50)
    axes.imshow(pixels, extent=(0, wide, high, 0), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    turns = np.linspace(0, 2 * np.pi, 100)
    for mean, covariance in ellipses:
        lengths, directions = np.linalg.eigh(np.asarray(covariance))
        for sigmas, style in ((1, "-"), (2, "--")):
            circle = sigmas * np.sqrt(lengths)[:, None] * np.stack([np.cos(turns), np.sin(turns)])
            x, y = np.asarray(mean)[:, None] + directions @ circle
            axes.plot(x, y, style, color=_COLOURS[1], linewidth=2)
    for start, vector in arrows:
        (x, y), (right, down) = start, vector
        arrow = {"arrowstyle": "-|>", "color": _COLOURS[1], "lw": 2.5, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x + right, y + down), (x, y), arrowprops=arrow)
    axes.set(xlim=(0, wide), ylim=(high, 0), title=title)
    return _image(figure)


def matrix(values: Any, rows: Sequence[str], columns: Sequence[str], title: str = "", width: int = 480) -> Image.Image:
    """A table of numbers as squares, the darker the larger, with the numbers written on them.

    Args:
        values: [R, C], shown as per cent.
        rows: label of each row.
        columns: label of each column.
        title: written above.
        width: pixels.
    """
    numbers = np.asarray(values, np.float64)
    figure, axes = _figure(width, round(0.8 * width * len(rows) / len(columns)) + 40)
    axes.imshow(numbers, cmap="Blues", vmin=0, vmax=1.6 * numbers.max())
    for row, column in np.ndindex(*numbers.shape):
        axes.text(column, row, f"{numbers[row, column]:.0%}", ha="center", va="center", fontsize=12)
    axes.set(title=title, xticks=range(len(columns)), yticks=range(len(rows)))
    axes.set_xticklabels(columns, fontsize=11)
    axes.set_yticklabels(rows, fontsize=11)
    return _image(figure)


def staircase(blocks: Sequence[tuple[str, int, int, bool]], width: int = 860) -> Image.Image:
    """The blocks of a U-Net from left to right: higher is a larger image, wider is more channels.

    Args:
        blocks: for each its name, its channels, the height of its images in pixels, and whether its views exchange
            numbers (drawn in the second colour).
        width: pixels.
    """
    figure, axes = _figure(width, 280)
    axes.axis("off")
    most = max(high for _, _, high, _ in blocks)
    left = 0.0
    for name, channels, high, joint in blocks:
        wide, tall = 0.35 + channels / 160, high / most
        axes.add_patch(_rectangle((left, -tall / 2), wide, tall, _COLOURS[int(joint)]))
        axes.text(left + wide / 2, 0.62, name, ha="center", va="bottom", fontsize=10)
        axes.text(left + wide / 2, -0.58, f"{channels} x\n{high} x {high}", ha="center", va="top", fontsize=9)
        left += wide + 0.45
    axes.set(xlim=(-0.2, left), ylim=(-1.0, 0.85))
    return _image(figure)


def bars(
    values: Mapping[str, float], *, spread: Mapping[str, float] | None = None, x: str = "", width: int = 640
) -> Image.Image:
    """Horizontal bars, with intervals if there are any.

    Args:
        values: label -> length of the bar.
        spread: label -> half the length of its interval; None draws none.
        x: label of the horizontal axis.
        width: pixels.
    """
    figure, axes = _figure(width, 70 + 44 * len(values))
    names = list(values)
    errors = None if spread is None else [spread[name] for name in names]
    style = {"capsize": 5, "elinewidth": 2}
    axes.barh(names, [values[name] for name in names], xerr=errors, color=_COLOURS[0], alpha=0.75, error_kw=style)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=11)
    axes.set(xlabel=x)
    axes.grid(axis="x", alpha=0.3)
    return _image(figure)


def plane(panels: Mapping[str, Any], marks: Mapping[str, Any], width: int = 860) -> Image.Image:
    """Points in the plane, one panel beside the other, each with the same marked places.

    Args:
        panels: title -> points [N, 2].
        marks: label -> place [2], drawn as a cross with its label.
        width: pixels.
    """
    figure, _ = _figure(width, round(width / len(panels)) + 40)
    figure.clear()
    places = np.asarray([*marks.values()], np.float64).reshape(-1, 2)
    corners = [*(np.asarray(points) for points in panels.values()), places]
    reach = 1.15 * float(np.abs(np.concatenate(corners)).max())
    for place, (title, points) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), place + 1)
        axes.scatter(*np.asarray(points).T, s=7, color=_COLOURS[0], alpha=0.6)
        for label, (across, up) in marks.items():
            axes.plot(across, up, "x", color=_COLOURS[1], markersize=11, markeredgewidth=3)
            axes.text(across, up + 0.12 * reach, label, ha="center", fontsize=11, weight="bold")
        axes.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.grid(alpha=0.3)
    return _image(figure)


def _rectangle(corner: tuple[float, float], wide: float, tall: float, colour: str) -> Any:
    patches = require("matplotlib.patches", extra="notebook", who="image3d_nb.course.diagrams")
    return patches.Rectangle(corner, wide, tall, facecolor=colour, edgecolor="#333333", alpha=0.8)


def curves(
    lines: Mapping[str, tuple[Any, Any]], *, x: str = "", y: str = "", title: str = "", width: int = 640
) -> Image.Image:
    """Curves in one plot, told apart by colour and by the style of the line.

    Args:
        lines: label -> (x values, y values).
        x: label of the horizontal axis.
        y: label of the vertical axis.
        title: written above.
        width: pixels.
    """
    figure, axes = _figure(width, round(0.5 * width))
    for number, (label, (across, up)) in enumerate(lines.items()):
        style = ("-", "--", "-.", ":")[number % 4]
        axes.plot(np.asarray(across), np.asarray(up), style, color=_COLOURS[number % 4], linewidth=2, label=label)
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    return _image(figure)


def _figure(width: int, height: int) -> tuple[Any, Any]:
    figures = require("matplotlib.figure", extra="notebook", who="image3d_nb.course.diagrams")
    figure = figures.Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout="constrained")
    return figure, figure.subplots()


def _image(figure: Any) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")
