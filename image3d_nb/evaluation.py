"""How good many objects are, beside the truth: renders against views, meshes against meshes."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ._files import atomic_write
from .cameras import Cameras, orbit_cameras
from .errors import InputError
from .gaussians import Gaussians
from .images import load_image
from .io import load
from .mesh import Mesh
from .meshing import to_mesh
from .metrics import Spread, chamfer, f_score, lpips, psnr, sample_surface, spread, ssim, view_consistency
from .record import RECORD, Record, read_record, versions
from .rendering import render
from .view.sheets import GAP

SPLATS, MESHES = (".ply", ".splat", ".spz", ".sog"), (".glb", ".gltf", ".obj", ".stl")
VIEWS = (".png", ".jpg", ".jpeg", ".webp")
UNITS = {"psnr": "dB", "ssim": "", "lpips": "", "chamfer": "world units", "f_score": "", "view_consistency": "dB"}
"""Measure -> its unit. Lower is better for lpips and chamfer, higher for the others."""
TRANSFORMS = "transforms.json"

Scores: TypeAlias = dict[str, float]
T = TypeVar("T")


@dataclass(frozen=True)
class Evaluation:
    """The measures of many objects; its text is a table in markdown.

    Attributes:
        rows: name of the object -> measure -> value.
        without_truth: objects that no truth has the name of; they are not counted.
        not_made: names in the truth without an object; they are not counted.
        versions: of Python and the packages, and how the measures were taken.
    """

    rows: dict[str, Scores]
    without_truth: list[str] = field(default_factory=list)
    not_made: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> dict[str, Spread]:
        """Measure -> mean over objects, standard deviation, 95 % interval of the mean, number of objects."""
        columns = {name: [row[name] for row in self.rows.values() if name in row] for name in UNITS}
        return {name: spread(values) for name, values in columns.items() if values}

    def __str__(self) -> str:
        lines = ["| measure | mean | spread | 95 % interval | objects |", "|---|---|---|---|---|"]
        for name, (mean, sd, low, high, count) in self.summary.items():
            unit = f", {UNITS[name]}" if UNITS[name] else ""
            lines.append(f"| {name}{unit} | {mean:.4g} | {sd:.3g} | {low:.4g} to {high:.4g} | {count} |")
        for names, what in ((self.without_truth, "without truth"), (self.not_made, "of the truth not made")):
            if names:
                lines.append(f"\n{len(names)} {what}: {', '.join(names[:10])}{' ...' if len(names) > 10 else ''}")
        return "\n".join([*lines, "", ", ".join(f"{name} {value}" for name, value in self.versions.items())])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything as .json, a row an object as .csv, or the table as .md.

        Raises:
            InputError: another suffix.
        """
        kind = Path(path).suffix.lower()
        if kind == ".json":
            summary = {name: each._asdict() for name, each in self.summary.items()}
            everything = {"summary": summary, **{name: getattr(self, name) for name in self.__dataclass_fields__}}
            # an interval of one object is NaN, which is not valid JSON
            text = json.dumps(_without_nan(everything), indent=2, ensure_ascii=False) + "\n"
        elif kind == ".csv":
            stream = io.StringIO()
            table = csv.DictWriter(stream, ["name", *self.summary], restval="", lineterminator="\n")
            table.writeheader()
            table.writerows({"name": name, **row} for name, row in self.rows.items())
            text = stream.getvalue()
        elif kind == ".md":
            text = f"{self}\n"
        else:
            raise InputError(f"a report's name must end in .json, .csv or .md; got {Path(path).name!r}")
        atomic_write({path: text.encode()})


class Files(NamedTuple):
    """The files of one object: splats, mesh, and the sheet of the four views that the model made, where they are."""

    splats: Path | None
    mesh: Path | None
    views: Path | None
    convention: str
    elevation: float = 0.0  # of the four views, degrees

    def load(self) -> Gaussians | Mesh:
        """The splats, or the mesh if there are none."""
        file = self.splats or self.mesh
        if file is None:
            raise InputError("a result must have a file of splats or a mesh; this one has none")
        return load(file, self.convention)


def evaluate(
    made: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    *,
    views: int = 8,
    size: int = 256,
    points: int = 10_000,
    threshold: float = 0.01,
    lpips_weights: str | os.PathLike[str] | None = None,
    on_step: Callable[[str, int, int], object] | None = None,
) -> Evaluation:
    """Measure objects against the truth of the same name. Nothing is aligned or scaled: both share one world.

    Against images: renders from their cameras. Against an object: renders of both, on white, from ``views`` cameras
    around them at elevation 15 degrees; against a mesh also surface points, of the made mesh or of ``to_mesh`` of the
    splats.
    ``view_consistency`` needs no truth but the four views that a result keeps, if its model made any.

    Args:
        made: a folder of results of ``image3d generate`` or ``batch`` (to any depth; their names are those of the
            folders, or of the images in the table of a batch), or of files of splats or meshes.
        truth: a folder. ``NAME.glb`` (or another format) is an object; ``NAME/`` a folder of images, whose cameras are
            in ``transforms.json`` as NeRF's (camera_angle_x, frames of file_path and transform_matrix, OpenGL axes), or
            without it, in the order of their names, stand around the object at elevation 0, from the front on.
        views: cameras around an object, 1 or more.
        size: of their images, pixels, 11 or more.
        points: on each surface, 1 or more.
        threshold: of the F-score, world units.
        lpips_weights: see :func:`image3d_nb.metrics.lpips`; None leaves LPIPS out.
        on_step: called as f("objects", done, total).

    Raises:
        InputError: a folder is missing or has several objects of one name, no names match, or an argument is out of
            its range.
        FormatError: a file is damaged.

    Example:
        >>> print(evaluate("out", "truth"))  # doctest: +SKIP
    """
    if views < 1 or size < 11 or points < 1 or not threshold > 0:
        got = f"{views}, {size}, {points} and {threshold}"
        raise InputError(f"views, size, points, threshold must be at least 1, 11, 1 and above 0; got {got}")
    made, truth = Path(made).expanduser(), Path(truth).expanduser()
    for what, folder in (("made", made), ("truth", truth)):
        if not folder.is_dir():
            raise InputError(f"{what} must be a folder; {folder} is not")
    objects, true = by_name(results_in(made), made), by_name(_true(truth), truth)
    names = sorted(set(objects) & set(true))
    if not names:
        some = ", ".join(sorted(objects)[:3]) or "none", ", ".join(sorted(true)[:3]) or "none"
        raise InputError(f"made and truth must share names; {made} has {some[0]} and {truth} has {some[1]}")
    rows = {}
    for done, name in enumerate(names, 1):
        rows[name] = _measure(objects[name], true[name], views, size, points, threshold, lpips_weights)
        if on_step is not None:
            on_step("objects", done, len(names))
    how = {"views": f"{views} of {size} pixels", "points": str(points), "F-score threshold": f"{threshold:g}"}
    return Evaluation(rows, sorted(set(objects) - set(true)), sorted(set(true) - set(objects)), versions() | how)


def by_name(pairs: Iterable[tuple[str, T]], where: object) -> dict[str, T]:
    """The pairs as a dictionary; InputError if a name is there twice, since only the last object would count."""
    found = list(pairs)
    counts = Counter(name for name, _ in found)
    twice = sorted(name for name in counts if counts[name] > 1)
    if twice:
        names = ", ".join(twice[:10]) + (" ..." if len(twice) > 10 else "")
        raise InputError(f"objects must have names of their own; {where} has several of {names}: rename or move them")
    return dict(found)


def results_in(folder: Path) -> Iterator[tuple[str, Files]]:
    """Name and files of each object in a folder: of results, to any depth, or else of files of splats or meshes."""
    names = {}
    if (folder / "results.csv").is_file():  # of a batch, whose folders have numbers for names
        with (folder / "results.csv").open(encoding="utf-8", newline="") as stream:
            names = {row["id"]: row["name"] for row in csv.DictReader(stream) if row["id"]}
    results = sorted(folder.rglob(RECORD))
    for each in results:
        inside = each.parent
        record = read_record(inside) or {}
        files = [inside / name for name in record.get("files", ())]
        convention = record.get("settings", {}).get("convention", "3dgs")
        splats, mesh = (next((f for f in files if f.suffix in kinds), None) for kinds in (SPLATS, MESHES))
        views = inside / "views.png" if _has_views(record) and (inside / "views.png").is_file() else None
        elevation = record.get("settings", {}).get("elevation", 0.0)
        yield names.get(inside.name, inside.name), Files(splats, mesh, views, convention, elevation)
    for file in sorted(folder.iterdir()) if not results else ():
        if file.suffix.lower() in SPLATS + MESHES:
            yield file.stem, Files(file, file, None, "3dgs")


def _has_views(record: Record) -> bool:
    """Whether views.png holds views that the model made, and not renders of its object."""
    # older records have no "views": models that make meshes, or have no denoising steps, make no views
    return "views" not in record and record.get("native") != "mesh" and record.get("steps") is not None


def _true(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() or path.suffix.lower() in SPLATS + MESHES:
            yield path.stem if path.is_file() else path.name, path


def _measure(
    made: Files, truth: Path, views: int, size: int, points: int, threshold: float,
    weights: str | os.PathLike[str] | None,
) -> Scores:  # fmt: skip
    obj = made.load()
    true: Gaussians | Mesh | None = None
    if truth.is_dir():
        images, cameras = _views_of(truth)
    else:
        true = load(truth)
        cameras = orbit_cameras(15.0, [360 * i / views for i in range(views)], size=size)
        images = _render(true, cameras)
    drawn = _render(obj, cameras)
    scores = {"psnr": float(psnr(drawn, images).mean()), "ssim": float(ssim(drawn, images).mean())}
    if weights is not None:
        scores["lpips"] = float(lpips(drawn, images, weights).mean())
    if isinstance(true, Mesh):
        mesh = load(made.mesh) if made.mesh is not None else obj
        mesh = to_mesh(mesh, progress=False) if isinstance(mesh, Gaussians) else mesh
        # other seeds: the same points of two equal meshes would give 0, which is not what two samples give
        a, b = sample_surface(mesh, points, seed=0), sample_surface(true, points, seed=1)
        scores |= {"chamfer": chamfer(a, b), "f_score": f_score(a, b, threshold)}
    if made.views is not None and isinstance(obj, Gaussians):
        sheet = _sheet(made.views)
        cameras = orbit_cameras(made.elevation, size=(sheet.shape[-1], sheet.shape[-2]))
        scores["view_consistency"] = view_consistency(obj, sheet, cameras)
    return scores


def _render(obj: Gaussians | Mesh, cameras: Cameras) -> Tensor:
    """[V, 3, H, W] in [0, 1], on white."""
    drawn = render(obj, cameras)
    assert isinstance(drawn, Tensor)  # neither alpha nor depth was asked for
    return drawn.permute(0, 3, 1, 2).float()


def _views_of(folder: Path) -> tuple[Tensor, Cameras]:
    """Images [V, 3, H, W] in [0, 1], on white, and their cameras."""
    if (folder / TRANSFORMS).is_file():
        try:
            stored = json.loads((folder / TRANSFORMS).read_text(encoding="utf-8"))
            files = [folder / frame["file_path"] for frame in stored["frames"]]
            files = [file if file.suffix else file.with_suffix(".png") for file in files]  # NeRF's have none
            c2w = torch.tensor([frame["transform_matrix"] for frame in stored["frames"]], dtype=torch.float32)
            across: float | None = float(stored["camera_angle_x"])  # radians
        except (ValueError, KeyError, TypeError) as error:
            needed = "camera_angle_x and frames of file_path and transform_matrix"
            raise InputError(f"{folder / TRANSFORMS} must have {needed}; got {error!r}") from error
    else:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in VIEWS)
        across, c2w = None, torch.empty(0)
    opened = [load_image(file) for file in files]
    sizes = {image.size for image in opened}
    if len(sizes) != 1:
        raise InputError(f"{folder} must have images of one size; got {sorted(sizes) or 'none'}")
    ((width, height),) = sizes
    images = torch.stack([_on_white(image) for image in opened])
    if across is None:
        turns = [360 * i / len(files) for i in range(len(files))]
        return images, orbit_cameras(0.0, turns, size=(width, height))
    fovy = math.degrees(2 * math.atan(math.tan(across / 2) * height / width))
    return images, Cameras.from_c2w(c2w, fovy, width, height)


def _on_white(image: Image.Image) -> Tensor:
    """[3, H, W] in [0, 1]."""
    rgba = torch.from_numpy(np.asarray(image.convert("RGBA")).copy()).permute(2, 0, 1).float() / 255  # [4, H, W]
    return rgba[:3] * rgba[3:] + 1 - rgba[3:]


def _sheet(file: Path) -> Tensor:
    """The four views [4, 3, H, W] of a result's views.png."""
    row = _on_white(load_image(file))  # [3, H, 4 W and three gaps]
    width = (row.shape[-1] - 3 * GAP) // 4
    return torch.stack([row[..., k * (width + GAP) :][..., :width] for k in range(4)])


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
