"""inspect: each problem is found and no other; sound files have none; the viewers' own readers agree."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement

import image3d_nb as i3d
from image3d_nb import Gaussians
from image3d_nb.cli import main
from image3d_nb.inspection import inspect
from image3d_nb.inspection._upright import judge
from image3d_nb.pipelines.lgm import LGMFullPipeline
from image3d_nb.training.objects import FAMILIES

from .standing import ball, standing
from .test_io_compressed_ply import elements, written
from .test_io_ply import stored as columns

READERS = Path(__file__).parent / "readers" / "node_modules"
GSPLAT, PLAYCANVAS = range(2)


def write(
    path: Path, table: Mapping[str, Any], *, kind: str = "f4", extra: tuple[PlyElement, ...] = (), **options: Any
) -> Path:
    rows = np.empty(len(table["x"]), [(name, kind) for name in table])
    for name, column in table.items():
        rows[name] = column
    PlyData([PlyElement.describe(rows, "vertex"), *extra], **options).write(str(path))
    return path


def found(path: Path) -> set[str]:
    return {finding.name for finding in inspect(path).findings}


# ---------------------------------------------------------------- sane files


def test_what_the_tiny_model_makes_is_sane(tiny_pipe: LGMFullPipeline, tmp_path: Path) -> None:
    mug = tiny_pipe(i3d.load_image(i3d.sample("mug")), generator=i3d.generator(0)).gaussians
    i3d.save(mug, tmp_path / "mug.ply")
    seen = i3d.inspect(tmp_path / "mug.ply")
    assert (seen.format, seen.holds, seen.count, seen.sh_degree) == ("3DGS PLY", "Gaussians", len(mug), 0)
    assert (seen.convention, seen.error, seen.healthy) == ("3dgs", None, True)
    assert {finding.name for finding in seen.findings} == {"near_transparent"}  # more than half of them are
    share = pytest.approx(float((mug.opacities < 0.005).float().mean()), abs=1e-4)
    assert {name: share for name, share in seen.shares.items() if share} == {"near_transparent": share}
    assert seen.bounds is not None
    low, high = (torch.tensor(corner) for corner in seen.bounds)
    stored = mug.means * torch.tensor([1.0, -1.0, -1.0])
    torch.testing.assert_close(torch.stack([low, high]), torch.stack([stored.amin(0), stored.amax(0)]))


@pytest.mark.parametrize("degree", [0, 3])
@pytest.mark.parametrize("suffix", [".ply", ".splat"])
def test_a_sane_cloud_has_no_findings(tmp_path: Path, suffix: str, degree: int) -> None:
    gaussians = ball(degree=degree if suffix == ".ply" else 0)
    i3d.save(gaussians, tmp_path / f"a{suffix}")
    seen = inspect(tmp_path / f"a{suffix}")
    assert seen.findings == ()
    assert not any(seen.shares.values())
    assert seen.sh_degree == gaussians.sh_degree
    assert "no problems" in repr(seen)
    assert [viewer.shows for viewer in seen.viewers] == ["yes", "turned"]
    assert ("drops f_rest" in seen.viewers[GSPLAT].says) is bool(gaussians.sh_degree)


def test_the_report_is_for_people_and_for_programs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ply", columns(ball()) | {"opacity": np.full(400, -9.0)})
    seen = inspect(path)
    lines = repr(seen).splitlines()
    assert lines[0] == f"file       a.ply, {path.stat().st_size:,} bytes"
    assert "400 Gaussians of SH degree 0" in lines[2]
    assert lines[5] == "shares     near transparent 100 %"
    assert str(tmp_path) not in repr(seen)
    record = json.loads(json.dumps(seen.to_dict()))
    assert (record["count"], record["findings"][0]["name"]) == (400, "near_transparent")


# ---------------------------------------------------------------- one problem at a time


def sizes_in_a_scene() -> dict[str, np.ndarray]:
    """100 units across; sizes from millimetres to a metre, stored as they are."""
    gaussians = ball(2000)
    random = np.random.default_rng(0)
    table = columns(gaussians) | {f"scale_{i}": np.exp(random.normal(-3, 1.2, 2000)) for i in range(3)}
    return table | {name: 100 * table[name] for name in "xyz"}


def enlarged(factor: float) -> Gaussians:
    return ball(2000).transform(factor * torch.eye(3))


def with_rows(name: str, values: Any, count: int = 12) -> dict[str, np.ndarray]:
    table = {key: np.array(column) for key, column in columns(ball()).items()}
    table[name][:count] = values
    return table


CASES: dict[str, tuple[Any, set[str]]] = {
    "sizes for logarithms": (
        lambda: columns(ball()) | {f"scale_{i}": ball().scales[:, i].numpy() for i in range(3)},
        {"linear_scales"},
    ),
    "sizes for logarithms in a scene": (sizes_in_a_scene, {"linear_scales"}),
    "a scene in millimetres": (lambda: columns(enlarged(1000.0)), set()),  # logarithms of 5 to 35, all positive
    "a scene in half metres": (lambda: columns(enlarged(50.0)), set()),  # of 0.25 to 1.75, of either sign
    "opacities for logits": (lambda: columns(ball()) | {"opacity": ball().opacities.numpy()}, {"probabilities"}),
    "NaN": (lambda: with_rows("y", np.nan), {"bad_rows"}),
    "infinite": (lambda: with_rows("f_dc_1", -np.inf), {"bad_rows"}),
    "a scale beyond float32": (lambda: with_rows("scale_2", 100.0), {"bad_rows"}),
    "long quaternions": (
        lambda: columns(dataclasses.replace(ball(), quats=torch.randn(400, 4))), {"quaternions"}
    ),
    "giants": (lambda: with_rows("scale_0", 2.0), {"oversized"}),
    "invisible giants": (lambda: with_rows("scale_0", 2.0) | with_rows("opacity", -9.0, 12), {"near_transparent"}),
    "floaters": (lambda: with_rows("x", 40.0), {"far"}),
    "glaring colours": (lambda: with_rows("f_dc_0", 30.0, 12), {"colours"}),
    "few glaring colours": (lambda: with_rows("f_dc_0", 30.0, 2), set()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_problem_is_found_and_no_other(case: str, tmp_path: Path) -> None:
    make, names = CASES[case]
    table = make()
    if case == "invisible giants":
        table["scale_0"][:12] = 2.0
    assert found(write(tmp_path / "a.ply", table)) == names


def test_figures_are_right(tmp_path: Path) -> None:
    table = with_rows("y", np.nan, 3)
    for name in ("rot_0", "rot_1", "rot_2", "rot_3"):
        table[name][10:15] = 0
    table["scale_0"][20:24] = 2.0
    table["rot_0"][30:130] *= 3
    seen = inspect(write(tmp_path / "a.ply", table))
    assert seen.count == 400
    assert seen.shares["bad"] == pytest.approx(8 / 400)
    assert seen.shares["oversized"] == pytest.approx(4 / 392)
    assert seen.shares["non_unit"] == pytest.approx(100 / 392, abs=0.02)
    bad = seen.finding("bad_rows")
    assert bad is not None
    assert re.search(r"8 of 400 .*\(3 with NaN .* 5 with an orientation", bad.what)
    assert [finding.level for finding in seen.findings] == ["blocks", "warning", "note"]
    assert seen.bounds is not None
    assert np.isfinite(seen.bounds).all()


def test_nothing_but_bad_rows(tmp_path: Path) -> None:
    seen = inspect(write(tmp_path / "a.ply", with_rows("x", np.nan, 400)))
    assert (seen.count, seen.bounds, seen.shares) == (400, None, {"bad": 1.0})
    assert [finding.name for finding in seen.findings] == ["bad_rows"]
    assert "no row is left" in seen.findings[0].remedy


@pytest.mark.parametrize("count", [1, 2, 9])
def test_few_and_flat_clouds_are_no_trouble(tmp_path: Path, count: int) -> None:
    gaussians = dataclasses.replace(ball(count), means=torch.zeros(count, 3))
    assert found(write(tmp_path / "a.ply", columns(gaussians))) == set()


def test_damaged_rows_of_a_splat(tmp_path: Path) -> None:
    i3d.save(ball(), tmp_path / "a.splat")
    rows = np.fromfile(tmp_path / "a.splat", np.uint8).reshape(-1, 32)
    rows[:7, :4] = np.frombuffer(np.float32(np.nan).tobytes(), np.uint8)
    rows[7:9, 28:] = 128  # (0, 0, 0, 0)
    rows.tofile(tmp_path / "a.splat")
    seen = inspect(tmp_path / "a.splat")
    assert [finding.name for finding in seen.findings] == ["bad_rows"]
    assert "9 of 400 rows cannot be drawn (7 with" in seen.findings[0].what


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.ply", b"", "empty"),
        ("a.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 9\n", "cut off"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "lacks"),
        ("a.splat", bytes(33), "32 bytes a Gaussian"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(99), "must be one of .ply, .splat"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    seen = inspect(tmp_path / name)
    assert (seen.holds, seen.count, seen.viewers, seen.healthy) == (None, None, (), False)
    assert seen.error is not None
    assert seen.error.startswith(f"{name}: ")
    assert why in seen.error
    assert [finding.name for finding in seen.findings] == ["unreadable"]
    assert why in repr(seen)


@pytest.mark.parametrize(
    ("name", "program"),
    [("a.usdz", "Blender"), ("a.KSPLAT", "splat-transform"), ("a.sog", "SuperSplat"), ("a.fbx", "Blender")],
)
def test_other_formats_are_named_with_what_opens_them(tmp_path: Path, name: str, program: str) -> None:
    (tmp_path / name).write_bytes(b"PK\3\4" + bytes(99))
    (finding,) = inspect(tmp_path / name).findings
    assert finding.name == "unreadable"
    assert program in finding.remedy


def test_a_sog_is_examined_as_a_ply_is(tmp_path: Path) -> None:
    i3d.save(ball(), tmp_path / "a.sog")
    seen = inspect(tmp_path / "a.sog")
    assert (seen.format, seen.convention, seen.holds, seen.findings) == ("PlayCanvas SOG", "3dgs", "Gaussians", ())
    assert [viewer.shows for viewer in seen.viewers] == ["no", "turned"]


def test_a_compressed_ply_is_examined_too(tmp_path: Path) -> None:
    seen = inspect(written(tmp_path / "a.ply", elements(300)))
    assert (seen.format, seen.count, seen.viewers[0].shows) == ("compressed PLY", 300, "no")


def test_opacities_of_a_compressed_ply_are_not_taken_for_logits(tmp_path: Path) -> None:
    parts = elements(300)
    words = parts[1].data["packed_color"]
    parts[1].data["packed_color"] = (words & ~np.uint32(255)) | (np.arange(300, dtype=np.uint32) % 50 + 130)
    seen = inspect(written(tmp_path / "a.ply", parts))
    assert seen.count == 300
    assert seen.finding("probabilities") is None


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect(tmp_path / "none.ply")
    with pytest.raises(IsADirectoryError):
        inspect(tmp_path)


# ---------------------------------------------------------------- which way is up


@pytest.mark.parametrize("family", ["car", "boat", "chair"])
@pytest.mark.parametrize("suffix", [".ply", ".splat"])
def test_a_file_that_stands_on_its_head_is_suspected(tmp_path: Path, family: str, suffix: str) -> None:
    for convention, names in (("3dgs", set()), ("opengl", {"upside_down"})):
        path = tmp_path / f"{convention}{suffix}"
        i3d.save(standing(family, seed=1, count=1000), path, convention)
        seen = inspect(path)
        assert {finding.name for finding in seen.findings} == names
        assert seen.convention == convention
        assert "a guess from light and shape" in seen.reasons[-1]
        assert seen.viewers[GSPLAT].shows == ("yes" if convention == "3dgs" else "turned")


def test_the_guess_is_often_right_and_seldom_wrong() -> None:
    objects = [standing(family, seed=3, count=1000) for family in FAMILIES]
    verdicts = [judge(thing).up for thing in objects]
    assert np.mean([verdict > 0 for verdict in verdicts]) > 0.55
    assert np.mean([verdict < 0 for verdict in verdicts]) < 0.1
    over = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    assert [judge(thing.transform(over)).up for thing in objects] == [-verdict for verdict in verdicts]


def test_no_verdict_where_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert judge(ball(2000)).up == 0
    assert judge(standing("car", count=50)).up == 0
    i3d.save(ball(2000), tmp_path / "a.ply", "opengl")
    seen = inspect(tmp_path / "a.ply")
    assert (seen.convention, seen.reasons[1]) == ("3dgs", "light and shape do not tell which way is up")


# ---------------------------------------------------------------- what viewers can read, tested with their readers


def with_header(content: bytes, old: bytes, new: bytes) -> bytes:
    head, end, body = content.partition(b"end_header\n")
    assert old in head
    return head.replace(old, new) + end + body


def crlf(content: bytes) -> bytes:
    head, end, body = content.partition(b"end_header\n")
    return (head + end).replace(b"\n", b"\r\n") + body


FACES = PlyElement.describe(np.array([([0, 1, 2],)], [("vertex_indices", "O")]), "face")
VARIANTS: dict[str, Any] = {
    "plain": lambda path: write(path, columns(ball(degree=1))),
    "extra": lambda path: write(path, columns(ball()) | {"nx": np.ones(400), "label": np.ones(400)}),
    "ascii": lambda path: write(path, columns(ball()), text=True),
    "big": lambda path: write(path, columns(ball()), byte_order=">"),
    "double": lambda path: write(path, columns(ball()), kind="f8"),
    "faces": lambda path: write(path, columns(ball()), extra=(FACES,)),
    "info": lambda path: write(path, columns(ball()), obj_info=["num_cols 3"]),
    "long": lambda path: write(path, columns(ball()), comments=["x" * 78] * 200),
    "longer": lambda path: write(path, columns(ball()), comments=["x" * 78] * 1000),
    "longest": lambda path: write(path, columns(ball()), comments=["x" * 78] * 2000),
    "crlf": lambda path: path.write_bytes(crlf(write(path, columns(ball())).read_bytes())),
    "float32": lambda path: path.write_bytes(
        with_header(write(path, columns(ball())).read_bytes(), b"property float ", b"property float32 ")
    ),
}


def node(script: str, *arguments: object) -> Any:
    command = ["node", "--input-type=module", "-e", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=READERS.parent, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


READ_ALL = """
import fs from "node:fs";
import path from "node:path";
const playcanvas = await import("@playcanvas/splat-transform");
globalThis.window = globalThis;  // not before: splat-transform would take node for a browser
const gsplat = await import("gsplat");
const right = (x, rows) => rows === 400 && Math.abs(x - Number(process.argv[2])) < 1e-5;
const result = {};
for (const file of fs.readdirSync(process.argv[1]).sort()) {
    const bytes = fs.readFileSync(path.join(process.argv[1], file));
    const name = path.parse(file).name;
    result[name] = [];
    try {
        const copy = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
        const data = gsplat.PLYLoader.LoadFromArrayBuffer(copy, new gsplat.Scene()).data;
        result[name].push(right(data.positions[3 * 399], data.vertexCount));
    } catch { result[name].push(false); }
    try {
        const system = new playcanvas.MemoryReadFileSystem();
        system.set("a.ply", bytes);
        const request = { filename: "a.ply", inputFormat: "ply", options: {}, params: [], fileSystem: system };
        const [table] = await playcanvas.readFile(request);
        result[name].push(right(table.getColumnByName("x").data[399], table.numRows));
    } catch { result[name].push(false); }
}
console.log(JSON.stringify(result));
"""


@pytest.mark.filterwarnings("ignore:Gaussians cannot hold")  # one of the files has faces, too
def test_the_table_agrees_with_the_viewers_own_readers(tmp_path: Path) -> None:
    for name, make in VARIANTS.items():
        make(tmp_path / f"{name}.ply")
    read = node(READ_ALL, tmp_path, float(ball().means[399, 0]))
    assert set(read) == set(VARIANTS)
    seen = {name: inspect(tmp_path / f"{name}.ply") for name in VARIANTS}
    assert {name: [viewer.shows != "no" for viewer in seen[name].viewers] for name in VARIANTS} == read
    assert not any(read["ascii"] + read["big"] + read["crlf"])
    assert all(read["plain"])
    for name, inspection in seen.items():
        assert (inspection.finding("layout") is None) is all(read[name]), name
        assert inspection.count == 400


# ---------------------------------------------------------------- on a shell


def test_inspect_on_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sane = write(tmp_path / "a.ply", columns(ball()))
    assert main(["inspect", str(sane)]) == 0
    assert capsys.readouterr().out == f"{inspect(sane)!r}\n"
    write(tmp_path / "b.ply", with_rows("y", np.nan))
    (tmp_path / "c.ply").write_bytes(sane.read_bytes()[:-3])
    assert main(["inspect", str(tmp_path / "*.ply"), str(tmp_path / "none.ply"), "--json"]) == 1
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert [each["name"] for each in found] == ["a.ply", "b.ply", "c.ply"]
    assert [[finding["name"] for finding in each["findings"]] for each in found] == [[], ["bad_rows"], ["unreadable"]]
    assert "none.ply" in told.err
    assert main(["inspect", str(tmp_path / "c.ply")]) == 1
    assert "cut off" in capsys.readouterr().out


def test_fix_on_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.ply", with_rows("y", np.nan))
    command = ["inspect", str(path), "--fix", "--for", "gradio"]
    assert main(command) == 0
    assert "left out 12 of 400 rows" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "a.gradio.ply")]) == 0
    assert main(command) == 1
    assert "--force" in capsys.readouterr().err
    more = ["-o", str(tmp_path / "b.splat"), "--min-opacity", "0.5", "--convention", "opengl", "--force"]
    assert main([*command, *more]) == 0
    told = capsys.readouterr().out
    assert "opacity below 0.5" in told
    assert "the file is y up" in told
    assert main(["inspect", str(tmp_path / "a.ply"), str(tmp_path / "none.ply"), "--fix", "--for", "three"]) == 1
    assert (tmp_path / "a.three.ply").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fix"], "go together"),
        (["--for", "gradio"], "go together"),
        (["--for", "unity", "--fix"], "unity"),
        (["--force"], "are for --fix"),
        (["-o", "b.ply"], "are for --fix"),
        (["--fix", "--for", "three", "--json"], "--json"),
        (["b.ply", "--fix", "--for", "three", "-o", "c.ply"], "2 files"),
    ],
)
def test_wrong_usage(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["inspect", "a.ply", *options])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
