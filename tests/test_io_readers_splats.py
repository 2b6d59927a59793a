"""Splat files and other people's programs: they read what we write, and we read what they write; values equal.

npm gsplat (gsplat.js), the spz library in WebAssembly and splat-transform run in one node process for all files;
gaussforge, ply2splat and gsply are Python packages. Nobody's file formats code is ours here but that under test.
"""

from __future__ import annotations

import gzip
import json
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import gaussforge
import gsply
import numpy as np
import ply2splat
import pytest
import torch

from image3d_nb import io as io3d
from image3d_nb.gaussians import Gaussians
from image3d_nb.io import ply

from .test_io_ply import example, stored

READERS = Path(__file__).parent / "readers"
TURN = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
COUNT = 40
NAMES = ["0.ply", "1.ply", "3.ply", "0.splat", "0.spz", "1.spz", "2.spz", "3.spz", "0.sog", "2.sog", "3.sog"]
"""The SH degree, and the format."""


@dataclass(frozen=True)
class Read:
    """What the programs in node made of our files."""

    folder: Path

    def by(self, program: str, name: str) -> dict[str, np.ndarray]:
        columns = json.loads((self.folder / f"{name}.json").read_text())[program]
        return {key: np.asarray(value) for key, value in columns.items()}


def original(name: str) -> Gaussians:
    return example(COUNT, int(name[0]))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Read:
    folder = tmp_path_factory.mktemp("splats")
    for name in NAMES:
        io3d.save(original(name), folder / name)
    command = ["node", str(READERS / "splats.mjs"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return Read(folder)


def loaded(path: Path, convention: str = "3dgs") -> Gaussians:
    got = io3d.load(path, convention)
    assert isinstance(got, Gaussians)
    return got


def assert_equal_objects(got: Gaussians, want: Gaussians, atol: float = 1e-5, means: float = 1e-6) -> None:
    """Also where q became -q. ``atol`` is that of covariances relative to the largest, and of what has no unit."""
    torch.testing.assert_close(got.means, want.means, rtol=0, atol=means)
    largest = float(want.covariances().abs().max())
    torch.testing.assert_close(got.covariances(), want.covariances(), rtol=0, atol=atol * largest)
    torch.testing.assert_close(got.opacities, want.opacities, rtol=0, atol=atol)
    torch.testing.assert_close(got.sh, want.sh, rtol=0, atol=atol)


# ---- gsplat.js -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".ply")])
def test_gsplat_js_reads_our_ply(node: Read, name: str) -> None:
    got = node.by("gsplat", name)
    want = loaded(node.folder / name, "opengl")  # the numbers in the file
    np.testing.assert_array_equal(got["positions"].reshape(-1, 3).astype(np.float32), want.means)
    np.testing.assert_allclose(got["scales"].reshape(-1, 3), want.scales, rtol=1e-6)
    unit = torch.nn.functional.normalize(want.quats, dim=-1)
    np.testing.assert_allclose(got["rotations"].reshape(-1, 4), unit, atol=1.01 / 128)
    rgba = torch.cat([want.rgb, want.opacities[:, None]], 1)
    np.testing.assert_allclose(got["colors"].reshape(-1, 4), 255 * rgba, atol=0.501)


def test_gsplat_js_reads_our_splat(node: Read) -> None:
    got = node.by("gsplat", "0.splat")
    want = loaded(node.folder / "0.splat", "opengl")
    np.testing.assert_array_equal(got["positions"].reshape(-1, 3).astype(np.float32), want.means)
    np.testing.assert_array_equal(got["scales"].reshape(-1, 3).astype(np.float32), want.scales)
    np.testing.assert_array_equal(got["rotations"].reshape(-1, 4).astype(np.float32), want.quats)
    rgba = torch.cat([want.rgb, want.opacities[:, None]], 1)
    np.testing.assert_allclose(got["colors"].reshape(-1, 4), 255 * rgba, atol=1e-3)


# ---- the spz library -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".spz")])
def test_the_spz_library_reads_our_spz(node: Read, name: str) -> None:
    got = node.by("spz", name)
    want = loaded(node.folder / name)
    assert got["shDegree"] == int(name[0])
    np.testing.assert_array_equal(got["positions"].reshape(-1, 3).astype(np.float32), want.means)
    np.testing.assert_allclose(got["scales"].reshape(-1, 3), want.scales.log(), atol=2e-6)
    np.testing.assert_allclose(got["rotations"].reshape(-1, 4)[:, [3, 0, 1, 2]], want.quats, atol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-got["alphas"])), want.opacities, atol=1e-6)
    np.testing.assert_allclose(got["colors"].reshape(-1, 3), want.sh[:, 0], atol=1e-5)
    np.testing.assert_allclose(got["sh"].reshape(COUNT, -1, 3), want.sh[:, 1:], atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".spz")])
def test_the_spz_library_packs_it_again_into_the_same_bytes(node: Read, name: str) -> None:
    """From our file through splat-transform's y-down world and back: header, axes, order and steps are right."""
    ours, theirs = (
        np.frombuffer(gzip.decompress((node.folder / each).read_bytes()), np.uint8)
        for each in (name, f"{name}.transformed.spz")
    )
    assert len(ours) == len(theirs)
    differ = np.flatnonzero(ours != theirs)
    rotations = range(16 + 16 * COUNT, 16 + 20 * COUNT)
    assert all(i in rotations for i in differ)  # the largest of two nearly equal parts may be another one
    assert len(differ) <= 0.05 * 4 * COUNT


# ---- splat-transform -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_splat_transform_reads_ours(node: Read, name: str) -> None:
    got = node.by("transform", name)
    in_file = loaded(node.folder / name, "opengl")
    want = in_file.transform(TURN) if name.endswith(".spz") else in_file  # the library turned it to y down
    columns = stored(want)
    for axis in "xyz":
        np.testing.assert_array_equal(got[axis].astype(np.float32), columns[axis].astype(np.float32))
    for column in (f"scale_{i}" for i in range(3)):
        np.testing.assert_allclose(got[column], columns[column], atol=5e-6, err_msg=column)
    np.testing.assert_allclose(1 / (1 + np.exp(-got["opacity"])), want.opacities, atol=1e-6)
    rest = [f"f_rest_{i}" for i in range(3 * want.sh.shape[1] - 3)]
    for column in ("f_dc_0", "f_dc_1", "f_dc_2", *rest):
        np.testing.assert_allclose(got[column], columns[column], atol=1e-5, err_msg=column)
    quats = torch.from_numpy(np.stack([got[f"rot_{i}"] for i in range(4)], 1)).float()
    if name.endswith(".splat"):  # half a step aside: it takes a byte for b / 127.5 - 1, gsplat.js for (b - 128) / 128
        want = replace(want, quats=(want.quats * 128 + 128) / 127.5 - 1)
    torch.testing.assert_close(replace(want, quats=quats).covariances(), want.covariances(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_we_read_the_ply_of_splat_transform(node: Read, name: str) -> None:
    aside = 0.02 if name.endswith(".splat") else 1e-5  # half a step of the rotation, as above
    assert_equal_objects(loaded(node.folder / f"{name}.transformed.ply"), loaded(node.folder / name), atol=aside)


@pytest.mark.parametrize("name", NAMES)
def test_we_read_the_spz_of_splat_transform(node: Read, name: str) -> None:
    """From exact numbers within half a step of each field, whatever the way there."""
    got, want = loaded(node.folder / f"{name}.transformed.spz"), loaded(node.folder / name)
    assert_equal_objects(got, want, atol=0.08, means=0.5 / 4096 + 1e-6)


def nearest(got: Gaussians, want: Gaussians) -> Gaussians:
    """Those of ``got`` in the order of ``want``."""
    places = torch.cdist(want.means, got.means).argmin(1)
    assert len(places.unique()) == len(want)
    return got[places]


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".ply")])
def test_we_read_the_compressed_ply_of_splat_transform(node: Read, name: str) -> None:
    got, want = loaded(node.folder / f"{name}.transformed.compressed.ply"), loaded(node.folder / name)
    got = nearest(got, want)  # it sorts
    torch.testing.assert_close(got.means, want.means, rtol=0, atol=0.51 / 1023)  # 10 bits of a range below 1
    torch.testing.assert_close(got.scales.log(), want.scales.log(), rtol=0, atol=2.1 / 1023)
    torch.testing.assert_close(got.opacities, want.opacities, rtol=0, atol=0.51 / 255)
    torch.testing.assert_close(got.sh[:, 0], want.sh[:, 0], rtol=0, atol=0.91 / 255)
    torch.testing.assert_close(got.sh[:, 1:], want.sh[:, 1:], rtol=0, atol=4 / 255)
    assert_equal_objects(replace(got, sh=want.sh), want, atol=0.01, means=1e-3)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".ply")])
def test_we_read_the_sog_of_splat_transform(node: Read, name: str) -> None:
    got, want = loaded(node.folder / f"{name}.transformed.sog"), loaded(node.folder / name)
    got = nearest(got, want)
    torch.testing.assert_close(got.means, want.means, rtol=0, atol=2e-5)
    torch.testing.assert_close(got.opacities, want.opacities, rtol=0, atol=1 / 255 + 1e-6)  # it cuts decimals off
    torch.testing.assert_close(got.sh[:, 0], want.sh[:, 0], rtol=0, atol=0.05)
    assert got.sh_degree == want.sh_degree
    if want.sh_degree:  # 32 entries for 40 Gaussians: only few coefficients differ much
        assert (got.sh[:, 1:] - want.sh[:, 1:]).abs().median() < 0.02
    assert_equal_objects(replace(got, sh=want.sh, opacities=want.opacities), want, atol=0.05, means=2e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".ply")])
def test_we_read_the_spz_4_of_splat_transform(node: Read, name: str) -> None:
    got, want = loaded(node.folder / f"{name}.transformed.4.spz"), loaded(node.folder / f"{name}.transformed.spz")
    assert_equal_objects(got, want, atol=0, means=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".spz")])
def test_we_read_the_spz_4_of_the_spz_library(node: Read, name: str) -> None:
    got, want = loaded(node.folder / f"{name}.packed.4.spz"), loaded(node.folder / name)
    assert (node.folder / f"{name}.packed.4.spz").read_bytes()[:8] == b"NGSP\4\0\0\0"
    assert_equal_objects(got, want, atol=1e-6, means=0)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith(".splat")])
def test_we_read_the_glb_of_splat_transform(node: Read, name: str) -> None:
    got = loaded(node.folder / f"{name}.transformed.glb")
    half_turn = torch.diag(
        torch.tensor([-1.0, 1.0, -1.0])
    )  # it turns its world by 180 degrees about z, so ours about y
    assert_equal_objects(got.transform(half_turn), loaded(node.folder / name), atol=2e-4)


# ---- gaussforge, ply2splat, gsply ------------------------------------------------------------------------------------


def converted(path: Path, target: str) -> Path:
    """By gaussforge, which never turns axes: a .spz of its own from a .ply is y down."""
    made = gaussforge.GaussForge().convert(path.read_bytes(), path.suffix[1:], target)
    assert "error" not in made, made
    out = path.with_name(f"{path.stem}.made.{target}")
    out.write_bytes(made["data"])
    return out


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gaussforge_reads_ours_and_we_read_its(tmp_path: Path, degree: int) -> None:
    gaussians = example(COUNT, degree)
    for name, convention in (("a.ply", "3dgs"), ("b.spz", "3dgs"), ("c.spz", "ydown")):
        io3d.save(gaussians, tmp_path / name, convention)
    assert_equal_objects(loaded(converted(tmp_path / "a.ply", "ply")), gaussians)
    in_file = loaded(tmp_path / "b.spz")
    # a .ply by its numbers as they are, which are y up here; 0 and 255 of 255 have no logit and come back as near ones
    assert_equal_objects(loaded(converted(tmp_path / "b.spz", "ply"), "opengl"), in_file, atol=2e-4)
    ours, theirs = loaded(tmp_path / "c.spz", "ydown"), loaded(converted(tmp_path / "a.ply", "spz"), "ydown")
    assert_equal_objects(theirs, ours, atol=0.13, means=1 / 4096 + 1e-6)  # both within half a step
    assert (theirs.sh[:, 1:] - ours.sh[:, 1:]).abs().sum() <= 0.02 * ours.sh[:, 1:].numel()  # mostly the same one


def test_gaussforge_and_splat(tmp_path: Path) -> None:
    io3d.save(example(COUNT), tmp_path / "a.splat")
    io3d.save(example(COUNT), tmp_path / "b.ply")
    want = loaded(tmp_path / "a.splat")
    assert_equal_objects(loaded(converted(tmp_path / "a.splat", "ply")), want, atol=2e-4)
    theirs = loaded(converted(tmp_path / "b.ply", "splat"))  # in the order of the .ply; cuts decimals off
    nearest = torch.cdist(want.means, theirs.means).argmin(1)
    assert_equal_objects(theirs[nearest], want, atol=0.05)


def test_ply2splat_reads_ours(tmp_path: Path) -> None:
    io3d.save(example(COUNT), tmp_path / "a.ply")
    io3d.save(example(COUNT), tmp_path / "a.splat")
    rows = np.frombuffer((tmp_path / "a.splat").read_bytes(), io3d.splat.ROW)
    same = ply2splat.load_splat_file(str(tmp_path / "a.splat"))
    made = ply2splat.load_ply_file(str(tmp_path / "a.ply"), sort=True)  # cuts decimals off
    assert len(same) == len(made) == COUNT
    for i, row in enumerate(rows):
        for field, name in (("mean", "position"), ("scale", "scale"), ("rgba", "color"), ("rotation", "rotation")):
            assert tuple(row[field].tolist()) == getattr(same[i], name), (i, name)
            wanted = row[field].astype(np.float64)
            np.testing.assert_allclose(getattr(made[i], name), wanted, rtol=1e-6, atol=wanted.max() > 1, err_msg=name)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("layout", ["lgm", "inria"])
def test_gsply_reads_ours_and_we_read_its(tmp_path: Path, degree: int, layout: str) -> None:
    if layout == "lgm" and degree:
        layout = "auto"
    gaussians = example(COUNT, degree)
    (tmp_path / "a.ply").write_bytes(ply.write(gaussians, "a.ply", layout)["a.ply"])
    data, columns = gsply.plyread(str(tmp_path / "a.ply")), stored(gaussians)
    wanted = {
        "means": [columns[axis] for axis in "xyz"],
        "sh0": [columns[f"f_dc_{i}"] for i in range(3)],
        "opacities": columns["opacity"],
        "scales": [columns[f"scale_{i}"] for i in range(3)],
        "quats": [columns[f"rot_{i}"] for i in range(4)],
    }
    for name, want in wanted.items():
        np.testing.assert_allclose(getattr(data, name), np.asarray(want).T, rtol=2e-6, atol=2e-6, err_msg=name)
    np.testing.assert_array_equal(data.shN, gaussians.sh[:, 1:])
    gsply.plywrite(str(tmp_path / "b.ply"), data)
    assert_equal_objects(loaded(tmp_path / "b.ply", "opengl"), gaussians)
