"""Sketches for the lessons, for ``show``: most return a PIL image, drawn with matplotlib; a few a cloud or a mesh."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from .._optional import require
from ..cameras import Cameras
from ..gaussians import SH_C0, Gaussians
from ..mesh import Mesh

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


def scatter(panels: Mapping[str, Any], outline: Any, width: int = 860) -> Image.Image:
    """Points in the plane, one panel beside the other, each with the same closed outline.

    Args:
        panels: title -> points [N, 2].
        outline: [n, 2], the corners of the outline.
        width: pixels.
    """
    closed = np.concatenate([outline, outline[:1]])
    high, wide = np.ptp(closed, axis=0)[::-1]
    figure, axes = _figure(width, round(width / len(panels) * high / wide) + 30)
    for place, (title, points) in enumerate(panels.items()):
        right = 1.15 * wide * place
        axes.plot(closed[:, 0] + right, closed[:, 1], color="#444444")
        axes.scatter(np.asarray(points)[:, 0] + right, np.asarray(points)[:, 1], s=6, color=_COLOURS[place % 4])
        axes.text(closed[:, 0].mean() + right, closed[:, 1].max() + 0.08 * high, title, ha="center", fontsize=12)
    axes.set_aspect("equal")
    axes.axis("off")
    return _image(figure)


def signed(values: Any, spacing: float = 0.1) -> Image.Image:
    """A slice through signed distances: blue inside (below 0), orange outside, a darker line every ``spacing``.

    Args:
        values: [H, W].
        spacing: between the lines, in the unit of the values.
    """
    values = np.asarray(values, np.float64)
    bands = np.abs((values / spacing + 0.5) % 1 - 0.5) * spacing  # distance from the nearest line
    edge = np.maximum(np.abs(np.gradient(values)).max(), 1e-9)
    tone = np.where(values[..., None] < 0, (0.34, 0.71, 0.91), (0.96, 0.8, 0.55))
    tone = tone * np.where(bands < 0.6 * edge, 0.6, 1.0)[..., None]
    return Image.fromarray((255 * tone).astype(np.uint8))


def dots(points: Any, colors: Any = (0.0, 0.45, 0.7), radius: float = 0.006) -> Gaussians:
    """Points as small round Gaussians, to be turned in a viewer or rendered.

    Args:
        points: [N, 3], world units.
        colors: [N, 3], or one colour [3], in [0, 1].
        radius: standard deviation of each, world units.
    """
    means = torch.as_tensor(np.asarray(points), dtype=torch.float32)
    shades = torch.as_tensor(np.asarray(colors), dtype=torch.float32).expand(len(means), 3)
    upright = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(means), 1)
    sizes = torch.full((len(means), 3), radius)
    return Gaussians(means, upright, sizes, torch.full((len(means),), 0.99), ((shades - 0.5) / SH_C0)[:, None])


def blocks(filled: Any, origin: Any, cell: float, color: Sequence[float] = (0.93, 0.8, 0.15)) -> Mesh:
    """The filled cells of a voxel grid as cubes, each side in its own shade.

    Args:
        filled: [X, Y, Z] bool.
        origin: [3], centre of the first cell, world units.
        cell: side of a cube, world units.
        color: of the brightest side, in [0, 1].
    """
    padded = np.pad(np.asarray(filled, bool), 1)
    corners, shades = [], []
    for axis in range(3):
        for side, shade in ((1, (0.8, 1.0, 0.92)[axis]), (-1, (0.62, 0.5, 0.7)[axis])):
            places = np.argwhere(padded & ~np.roll(padded, -side, axis)) - 1.0
            first, second = np.roll(np.eye(3), -1 - axis, axis=0)[:2] / 2  # axis, first, second are right-handed
            centre = places + 0.5 * side * np.eye(3)[axis]
            turn = ((-1, -1), (1, -1), (1, 1), (-1, 1))[::side]
            corners.append(np.stack([centre + a * first + b * second for a, b in turn], 1))
            shades.append(np.full(len(places), shade))
    vertices = np.concatenate(corners).reshape(-1, 3) * cell + origin
    quads = np.arange(len(vertices)).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return Mesh(vertices, faces, vertex_colors=np.repeat(np.concatenate(shades), 4)[:, None] * np.asarray(color))


def wireframe(mesh: Mesh, camera: Cameras, marked: Sequence[int] = (), width: int = 560) -> Image.Image:
    """The triangles of a mesh with their edges, seen by one camera.

    Args:
        mesh: with vertex colours, or none (grey).
        camera: one camera.
        marked: indices of faces that are drawn in orange, on top of the others.
        width: pixels.
    """
    figure, axes = _figure(width, round(width * camera.height / camera.width))
    seen = mesh.vertices @ camera.viewmats[0, :3, :3].numpy().T + camera.viewmats[0, :3, 3].numpy()
    pixels = (seen @ camera.Ks[0].numpy().T)[:, :2] / seen[:, 2:]
    triangles = pixels[mesh.faces]  # [F, 3, 2]
    across, down = (triangles[:, 1:] - triangles[:, :1]).transpose(1, 0, 2)
    order = np.argsort(-seen[mesh.faces, 2].mean(1))
    order = order[(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0])[order] < 0]  # those that face the camera
    colors = np.full((len(seen), 3), 0.8) if mesh.vertex_colors is None else mesh.vertex_colors
    collection = require("matplotlib.collections", extra="notebook", who="image3d_nb.course.diagrams").PolyCollection
    fill = colors[mesh.faces[order]].mean(1)
    axes.add_collection(collection(triangles[order], facecolors=fill, edgecolors="#333333", linewidths=0.4))
    chosen = list(marked)
    axes.add_collection(collection(triangles[chosen], facecolors=_COLOURS[1], edgecolors="black", linewidths=2))
    axes.set(xlim=(0, camera.width), ylim=(camera.height, 0), aspect="equal")
    axes.axis("off")
    return _image(figure)


def overlay(image: Any, mask: Any) -> Image.Image:
    """An image in grey with a mask over it in red.

    Args:
        image: a PIL image.
        mask: [H, W] bool.
    """
    grey = np.asarray(image.convert("L"), np.float64)[..., None]
    red = np.asarray(mask, bool)[..., None]
    return Image.fromarray((0.5 * grey + np.where(red, (127, 20, 20), (110, 110, 110))).clip(0, 255).astype(np.uint8))


def pinhole(width: int = 860) -> Image.Image:
    """A pinhole camera from the side: a point, its ray, the image plane, and the two similar triangles.

    Args:
        width: pixels.
    """
    figure, axes = _figure(width, round(0.42 * width))
    axes.axis("off")
    axes.set(xlim=(-0.45, 5.2), ylim=(-0.75, 2.35), aspect="equal")
    axes.fill([0, 4.2, 4.2], [0, 0, 1.8], color=_COLOURS[0], alpha=0.15)
    axes.fill([0, 1.6, 1.6], [0, 0, 1.8 * 1.6 / 4.2], color=_COLOURS[1], alpha=0.4)
    axes.plot([0, 5], [0, 0], color="#444444", linewidth=1)
    axes.plot([0, 4.2], [0, 1.8], color=_COLOURS[0], linewidth=2)
    axes.plot([1.6, 1.6], [-0.55, 1.5], color=_COLOURS[1], linewidth=3)
    axes.plot([4.2, 4.2], [0, 1.8], "--", color="#444444", linewidth=1.5)
    axes.plot([0, 4.2], [0, 1.8], "o", color="black", markersize=7)
    for x, y, text, side in (
        (-0.1, 0.2, "camera", "center"), (1.6, 1.6, "image plane", "center"), (4.28, 1.8, "point", "left"),
        (4.28, 0.85, "y: how far\nfrom the axis", "left"), (5.0, -0.18, "axis", "center"),
        (1.68, 0.25, "f y / z", "left"), (2.9, -0.62, "z: depth, along the axis", "center"),
        (0.8, -0.4, "f: focal length", "center"),
    ):  # fmt: skip
        axes.text(x, y, text, ha=side, va="center", fontsize=11)
    for end, height in ((1.6, -0.25), (4.2, -0.5)):
        axes.annotate("", (end, height), (0, height), arrowprops={"arrowstyle": "<->", "color": "#444444"})
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
