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


def surface_in_grid(volume: Any, vertices: Any, faces: Any, title: str = "", width: int = 560) -> Image.Image:
    """A small grid of numbers in space, and the triangles between them, with their edges.

    Args:
        volume: [X, Y, Z]; points below 0 are drawn filled, the others as rings. At most 5 points a side.
        vertices: [V, 3], in cells: the first point of the grid is at 0, its neighbour at 1.
        faces: [F, 3].
        title: written above.
        width: pixels; the height is the same.
    """
    numbers, corners = np.asarray(volume), np.asarray(vertices, np.float64)
    figure, axes = _figure(width, width, projection="3d")
    axes.set_axis_off()
    axes.set_box_aspect(numbers.shape, zoom=1.15)
    axes.view_init(elev=22, azim=35)
    places = np.argwhere(np.ones(numbers.shape, bool))
    for start in places:
        for end in start + np.eye(3, dtype=int):
            if (end < numbers.shape).all():
                axes.plot(*np.stack([start, end], 1), color="#bbbbbb", linewidth=0.8)
    inside = numbers[tuple(places.T)] < 0
    axes.scatter(*places[inside].T, s=70, color=_COLOURS[0], depthshade=False)
    axes.scatter(*places[~inside].T, s=30, facecolors="white", edgecolors="#777777", depthshade=False)
    if len(corners):
        axes.plot_trisurf(
            *corners.T, triangles=np.asarray(faces), color=_COLOURS[1], alpha=0.45, edgecolor=_COLOURS[1], linewidth=2,
        )  # fmt: skip
        axes.scatter(*corners.T, s=25, color=_COLOURS[1], marker="s", depthshade=False)
    axes.set_title(title, fontsize=11)
    return _image(figure)


def _figure(width: int, height: int, **options: Any) -> tuple[Any, Any]:
    figures = require("matplotlib.figure", extra="notebook", who="image3d_nb.course.diagrams")
    figure = figures.Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout="constrained")
    return figure, figure.subplots(subplot_kw=options)


def _image(figure: Any) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")
