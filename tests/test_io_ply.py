"""The 3DGS .ply: both layouts, all encodings, damaged files. plyfile is the oracle in both directions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib.recfunctions import drop_fields
from plyfile import PlyData, PlyElement

from image3d_nb import io as io3d
from image3d_nb.errors import FormatError, InputError
from image3d_nb.gaussians import Gaussians
from image3d_nb.io import ply


def example(count: int = 50, degree: int = 0, seed: int = 0) -> Gaussians:
    """Anisotropic, turned every way, quaternions of any length; within the range of every format."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    return Gaussians(
        means=uniform(count, 3) - 0.5,
        quats=torch.randn(count, 4, generator=generator),
        scales=uniform(count, 3) * 0.05 + 1e-3,
        opacities=uniform(count) * 0.98 + 0.01,
        sh=uniform(count, (degree + 1) ** 2, 3) * 1.8 - 0.9,
    )


def assert_same(got: Gaussians, want: Gaussians, atol: float = 1e-6) -> None:
    for name in ("means", "quats", "scales", "opacities", "sh"):
        torch.testing.assert_close(getattr(got, name), getattr(want, name), rtol=2e-6, atol=atol, msg=name)


def stored(gaussians: Gaussians) -> dict[str, np.ndarray]:
    """The columns, by the formulas of the 3DGS paper's code, one by one."""
    columns = {name: gaussians.means[:, i].numpy() for i, name in enumerate("xyz")}
    columns |= {f"f_dc_{i}": gaussians.sh[:, 0, i].numpy() for i in range(3)}
    bands = gaussians.sh.shape[1] - 1
    columns |= {f"f_rest_{c * bands + k}": gaussians.sh[:, 1 + k, c].numpy() for c in range(3) for k in range(bands)}
    opacities = gaussians.opacities.double().numpy()
    columns["opacity"] = np.log(opacities / (1 - opacities))
    columns |= {f"scale_{i}": np.log(gaussians.scales[:, i].double().numpy()) for i in range(3)}
    return columns | {f"rot_{i}": gaussians.quats[:, i].numpy() for i in range(4)}


def plyfile_write(
    path: Path,
    gaussians: Gaussians,
    kinds: dict[str, str] | None = None,
    extra: dict[str, np.ndarray] | None = None,
    elements: tuple[PlyElement, ...] = (),
    **options: Any,
) -> None:
    columns = stored(gaussians) | (extra or {})
    dtype = [(name, (kinds or {}).get(name, "f4")) for name in columns]
    rows = np.empty(len(gaussians), dtype)
    for name, column in columns.items():
        rows[name] = column
    PlyData([PlyElement.describe(rows, "vertex"), *elements], **options).write(str(path))


def encoded(columns: Any, names: Any) -> bytes:
    """The simplest .ply there is."""
    table = np.stack([np.asarray(column, "<f4") for column in columns], axis=1)
    header = "".join(f"property float {name}\n" for name in names)
    start = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(table)}\n{header}end_header\n"
    return start.encode() + table.tobytes()


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_round_trip(tmp_path: Path, degree: int) -> None:
    gaussians = example(degree=degree)
    io3d.save(gaussians, tmp_path / "a.ply", "opengl")
    assert_same(io3d.load(tmp_path / "a.ply", "opengl"), gaussians)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_plyfile_reads_what_we_write(tmp_path: Path, degree: int) -> None:
    gaussians = example(degree=degree)
    io3d.save(gaussians, tmp_path / "a.ply", "opengl")
    data = PlyData.read(str(tmp_path / "a.ply"))
    assert (data.text, data.byte_order, [e.name for e in data.elements]) == (False, "<", ["vertex"])
    for name, column in stored(gaussians).items():
        np.testing.assert_allclose(data["vertex"][name], column, rtol=2e-6, atol=2e-6, err_msg=name)


def test_columns_are_the_published_ones(tmp_path: Path) -> None:
    io3d.save(example(), tmp_path / "lgm.ply")
    io3d.save(example(degree=3), tmp_path / "inria.ply")
    lgm, inria = (PlyData.read(str(tmp_path / name))["vertex"] for name in ("lgm.ply", "inria.ply"))
    names = "x y z f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    assert [p.name for p in lgm.properties] == names.split()
    rest = [f"f_rest_{i}" for i in range(45)]
    wanted = [*"xyz", "nx", "ny", "nz", *names.split()[3:6], *rest, *names.split()[6:]]
    assert [p.name for p in inria.properties] == wanted
    assert len(wanted) == 62
    assert not np.any(inria["nx"])


def test_layout_can_be_chosen() -> None:
    gaussians = example()
    data = bytes(ply.write(gaussians, "a.ply", layout="inria")["a.ply"])
    assert b"property float nx\n" in data[:400]
    assert_same(ply.read(memoryview(data), lambda _: b""), gaussians)
    for wrong, degree in (("lgm", 1), ("kiui", 0)):
        with pytest.raises(InputError, match="layout must be"):
            ply.write(example(degree=degree), "a.ply", layout=wrong)


def test_header_is_what_the_strictest_readers_need(tmp_path: Path) -> None:
    io3d.save(example(7, degree=3), tmp_path / "a.ply")
    content = (tmp_path / "a.ply").read_bytes()
    header, _, body = content.partition(b"end_header\n")
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex 7\nproperty float x\n")
    assert b"\r" not in header
    assert len(header) < 10_000
    assert {line.split()[1] for line in header.splitlines() if line.startswith(b"property")} == {b"float"}
    assert len(body) == 7 * 62 * 4


def test_opacity_and_scale_at_their_ends_stay_finite(tmp_path: Path) -> None:
    gaussians = example(6)
    gaussians.opacities[:3] = torch.tensor([0.0, 1.0, 1 - 2**-24])
    gaussians.scales[3] = torch.tensor([0.0, 1e-30, 1e10])
    io3d.save(gaussians, tmp_path / "a.ply", "opengl")
    vertex = PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    assert all(np.isfinite(vertex[name]).all() for name in ply.LGM_COLUMNS)
    back = io3d.load(tmp_path / "a.ply", "opengl")
    assert len(back) == 6  # nothing is pruned
    torch.testing.assert_close(back.opacities, gaussians.opacities, rtol=0, atol=6e-8)
    assert back.opacities[1] == 1
    torch.testing.assert_close(back.scales, gaussians.scales, rtol=1e-5, atol=2e-38)


def test_infinite_logits_and_log_scales_mean_the_ends(tmp_path: Path) -> None:
    table = np.zeros((3, 14), np.float32)
    table[:, -4] = 1
    table[:, 6] = [np.inf, -np.inf, 0]
    table[0, 7:10] = -np.inf
    (tmp_path / "a.ply").write_bytes(encoded(table.T, ply.LGM_COLUMNS))
    back = io3d.load(tmp_path / "a.ply")
    assert back.opacities.tolist() == [1, 0, 0.5]
    assert back.scales[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "options", [{"text": True}, {"byte_order": ">"}, {"comments": ["made by a test"], "obj_info": ["num_cols 3"]}]
)
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_other_encodings(tmp_path: Path, options: dict[str, Any], degree: int) -> None:
    gaussians = example(degree=degree)
    plyfile_write(tmp_path / "a.ply", gaussians, **options)
    assert_same(io3d.load(tmp_path / "a.ply", "opengl"), gaussians)


def big_endian(value: Any) -> bytes:
    array = np.asarray(value)
    content = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return content if array.ndim == 0 else bytes([len(array)]) + content


@pytest.mark.parametrize("degree", [0, 2])
@pytest.mark.parametrize("options", [{}, {"byte_order": ">"}, {"text": True}])
def test_everything_at_once(tmp_path: Path, options: dict[str, Any], degree: int) -> None:
    """Doubles, an element before the vertices, a list among their columns, and one after them."""
    gaussians = example(degree=degree)
    columns = stored(gaussians)
    dtype = [("before", "u1"), *((name, "f8") for name in columns), ("neighbours", "O"), ("after", "i4")]
    rows = np.empty(50, dtype)
    for name, column in columns.items():
        rows[name] = column
    rows["before"], rows["after"] = 7, -7
    rows["neighbours"] = [np.arange(1 + i % 3, dtype=np.int32) for i in range(50)]
    chunk, face = np.zeros(3, [("low", "f4"), ("high", "f8")]), np.array([([0, 1, 2],)], [("vertex_indices", "O")])
    elements = [PlyElement.describe(chunk, "chunk"), PlyElement.describe(rows, "vertex")]
    PlyData([*elements, PlyElement.describe(face, "face")], **options).write(str(tmp_path / "a.ply"))
    if options == {"byte_order": ">"}:  # plyfile 1.1 writes numbers beside lists little-endian
        header = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")[0] + b"end_header\n"
        vertices = [big_endian(value) for row in rows for value in row]
        triangle = big_endian(np.arange(3, dtype=np.int32))
        (tmp_path / "a.ply").write_bytes(header + bytes(3 * 12) + b"".join(vertices) + triangle)
    with pytest.warns(UserWarning, match="left out: chunk, face"):
        assert_same(io3d.load(tmp_path / "a.ply", "opengl"), gaussians)
    without = PlyElement.describe(drop_fields(rows, "neighbours"), "vertex")
    PlyData([elements[0], without, PlyElement.describe(face, "face")], **options).write(str(tmp_path / "b.ply"))
    with pytest.warns(UserWarning, match="left out: chunk, face"):
        assert_same(io3d.load(tmp_path / "b.ply", "opengl"), gaussians)


@pytest.mark.parametrize("text", [False, True])
def test_doubles_too_large_for_float32_are_bad_rows(tmp_path: Path, text: bool) -> None:
    gaussians = example(5)
    plyfile_write(tmp_path / "a.ply", gaussians, kinds={"x": "f8"}, text=text)
    data = PlyData.read(str(tmp_path / "a.ply"), mmap=False)
    data["vertex"]["x"][2] = 1e300
    data.write(str(tmp_path / "a.ply"))
    with pytest.raises(FormatError, match=r"1 of 5 rows are not \(the first is row 2\)"):
        io3d.load(tmp_path / "a.ply")


def test_extra_float_columns_and_another_order(tmp_path: Path) -> None:
    gaussians = example()
    columns = {"confidence": np.ones(50)} | dict(reversed(list(stored(gaussians).items())))
    content = encoded(list(columns.values()), list(columns))
    (tmp_path / "a.ply").write_bytes(content)
    assert_same(io3d.load(tmp_path / "a.ply", "opengl"), gaussians)


@pytest.mark.parametrize("text", [False, True])
def test_windows_line_ends_in_the_header(tmp_path: Path, text: bool) -> None:
    gaussians = example()
    plyfile_write(tmp_path / "a.ply", gaussians, text=text)
    header, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    (tmp_path / "a.ply").write_bytes(header.replace(b"\n", b"\r\n") + b"end_header\r\n" + body)
    assert_same(io3d.load(tmp_path / "a.ply", "opengl"), gaussians)


@pytest.mark.parametrize("degree", [0, 2])
def test_fast_path_equals_plyfile_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, degree: int) -> None:
    io3d.save(example(5000, degree), tmp_path / "a.ply")  # more than a block of rows
    fast = io3d.load(tmp_path / "a.ply")
    monkeypatch.setattr("image3d_nb.io._ply_table.Element.has_lists", True)
    slow = io3d.load(tmp_path / "a.ply")
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert torch.equal(getattr(fast, name), getattr(slow, name)), name


def test_result_owns_its_memory(tmp_path: Path) -> None:
    io3d.save(example(), tmp_path / "a.ply", "opengl")
    loaded = io3d.load(tmp_path / "a.ply", "opengl")
    (tmp_path / "a.ply").write_bytes(bytes(10_000))
    assert_same(loaded, example())
    loaded.means.add_(1)  # not a read-only view of the file


# ---- bad files -------------------------------------------------------------------------------------------------------


def body_and_header(gaussians: Gaussians) -> tuple[bytes, bytes]:
    header, mark, body = bytes(ply.write(gaussians, "a")["a"]).partition(b"end_header\n")
    return header + mark, body


def test_padding_after_the_rows_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(bytes(ply.write(example(), "a")["a"]) + b"\0\0\n")
    assert len(io3d.load(tmp_path / "a.ply")) == 50


@pytest.mark.parametrize("text", [False, True])
def test_more_after_the_rows_is_left_out_with_a_warning(tmp_path: Path, text: bool) -> None:
    gaussians = example(20)
    plyfile_write(tmp_path / "a.ply", gaussians, text=text)
    more = b"the end\n1 2\n" if text else b"an index"
    (tmp_path / "a.ply").write_bytes((tmp_path / "a.ply").read_bytes() + more)
    with pytest.warns(UserWarning, match="2 lines after" if text else "8 bytes after") as told:
        assert_same(io3d.load(tmp_path / "a.ply", "opengl"), gaussians)
    assert told[0].filename == __file__


@pytest.mark.parametrize("degree", [0, 1])
def test_flat_gaussians_of_two_scales(tmp_path: Path, degree: int) -> None:
    gaussians = example(degree=degree)
    columns = {name: column for name, column in stored(gaussians).items() if name != "scale_2"}
    gaussians.scales[:, 2] = 0
    (tmp_path / "a.ply").write_bytes(encoded(list(columns.values()), list(columns)))
    with pytest.warns(UserWarning, match="2DGS") as told:
        back = io3d.load(tmp_path / "a.ply", "opengl")
    assert_same(back, gaussians)
    assert not back.scales[:, 2].any()
    assert told[0].filename == __file__


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_comments_in_any_encoding(tmp_path: Path, text: bool, encoding: str) -> None:
    gaussians = example()
    plyfile_write(tmp_path / "a.ply", gaussians, text=text)
    content = (tmp_path / "a.ply").read_bytes()
    for word in (b"comment ", b"obj_info "):
        content = content.replace(b"element", word + "Größe 2 µm".encode(encoding) + b"\nelement", 1)
    (tmp_path / "a.ply").write_bytes(content)
    assert_same(io3d.load(tmp_path / "a.ply", "opengl"), gaussians)


def test_the_elements_that_sharp_adds(tmp_path: Path) -> None:
    """Camera and colour space after the rows, as apple/ml-sharp writes them; its world is that of 3DGS."""
    kinds = {"extrinsic": ("f4", 16), "intrinsic": ("f4", 9), "image_size": ("u4", 2), "frame": ("i4", 2)}
    kinds |= {"disparity": ("f4", 2), "color_space": ("u1", 1), "version": ("u1", 3)}
    elements = [PlyElement.describe(np.ones(count, [(name, kind)]), name) for name, (kind, count) in kinds.items()]
    gaussians = example()
    plyfile_write(tmp_path / "a.ply", gaussians, elements=tuple(elements))
    with pytest.warns(UserWarning, match="left out: extrinsic, intrinsic, .*color_space, version") as told:
        back = io3d.load(tmp_path / "a.ply")
    assert told[0].filename == __file__
    torch.testing.assert_close(back.means, gaussians.means * torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(back.rgb, gaussians.rgb)


@pytest.mark.parametrize("name", ["opacity", "rot_3", "f_dc_0", "x"])
def test_missing_columns_are_named(tmp_path: Path, name: str) -> None:
    columns = stored(example())
    del columns[name]
    (tmp_path / "a.ply").write_bytes(encoded(list(columns.values()), list(columns)))
    with pytest.raises(FormatError, match=rf"lacks {name} and has"):
        io3d.load(tmp_path / "a.ply")


def test_the_mark_leaves_meshes_alone() -> None:
    header = b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\n"
    faces = b"element face 1\nproperty list uchar int vertex_indices\n"
    end = b"end_header\n"

    def marked(*parts: bytes) -> bool:
        content = b"".join(parts)
        return ply.sniff(memoryview(content)) and ply.sniff(memoryview(content.replace(b"\n", b"\r\n")))

    assert marked(header, end)  # a point cloud is told what it lacks
    assert marked(header, b"property float f_dc_0\n", faces, end)
    assert marked(header, faces.replace(b"face 1", b"face 0"), end)
    assert marked(b"ply\n")  # cut off
    assert not marked(header, faces, end)
    assert not marked(header, b"comment f_dc_0 is not here\n" * 1000, faces, end)
    assert not marked(b"PLY\n", header[4:], end)


def test_a_mesh_or_point_cloud_is_told_apart(tmp_path: Path) -> None:
    rows = np.zeros(4, [(name, "f4") for name in "xyz"])
    PlyData([PlyElement.describe(rows, "vertex")]).write(str(tmp_path / "a.ply"))
    with pytest.raises(FormatError, match="mesh or a plain point cloud"):
        io3d.load(tmp_path / "a.ply")


@pytest.mark.parametrize("rest", [[0], range(10), range(1, 10), range(44)])
def test_sh_columns_that_are_no_degree(tmp_path: Path, rest: list[int]) -> None:
    columns = stored(example()) | {f"f_rest_{i}": np.zeros(50) for i in rest}
    (tmp_path / "a.ply").write_bytes(encoded(list(columns.values()), list(columns)))
    with pytest.raises(FormatError, match="f_rest must be columns"):
        io3d.load(tmp_path / "a.ply")


@pytest.mark.parametrize(
    "header",
    [
        "ply\nelement vertex 1\nproperty float x\nend_header\n",
        "ply\nformat binary_middle_endian 1.0\nelement vertex 1\nproperty float x\nend_header\n",
        "ply\nformat ascii 1.0\nproperty float x\nelement vertex 1\nend_header\n",
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty half x\nend_header\n",
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float x\nend_header\n1 1\n",
        "ply\nformat ascii 1.0\nelement face 1\nproperty float x\nend_header\n1\n",
        "ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n",
        "ply\nformat ascii 1.0\nhello\nend_header\n",
        "ply\nformat ascii 1.0\nelement vertex 1\n",
    ],
)
def test_bad_headers(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.ply").write_bytes(header.encode())
    with pytest.raises(FormatError, match="must"):
        io3d.load(tmp_path / "a.ply")


def test_words_where_numbers_should_be(tmp_path: Path) -> None:
    plyfile_write(tmp_path / "a.ply", example(2), text=True)
    lines = (tmp_path / "a.ply").read_text().splitlines()
    lines[-1] = " ".join(["many"] * 14)
    (tmp_path / "a.ply").write_text("\n".join(lines) + "\n")
    with pytest.raises(FormatError, match="must be whole"):
        io3d.load(tmp_path / "a.ply")


@pytest.mark.parametrize("column", [0, 3, 6, 7, 13])
def test_nan_rows_are_counted_and_can_be_left_out(tmp_path: Path, column: int) -> None:
    gaussians = example(20)
    columns = [np.array(c, np.float32) for c in stored(gaussians).values()]
    columns[column][[4, 9]] = np.nan
    (tmp_path / "a.ply").write_bytes(encoded(columns, ply.LGM_COLUMNS))
    with pytest.raises(FormatError, match=r"2 of 20 rows are not \(the first is row 4\).*drop_bad_rows=True"):
        io3d.load(tmp_path / "a.ply")
    kept = io3d.load(tmp_path / "a.ply", "opengl", drop_bad_rows=True)
    good = torch.ones(20, dtype=torch.bool)
    good[[4, 9]] = False
    assert_same(kept, gaussians[good])


def test_other_rows_that_cannot_be_drawn(tmp_path: Path) -> None:
    columns = [np.array(c, np.float32) for c in stored(example(20)).values()]
    columns[8][1] = 200  # exp(200) is infinite in float32
    columns[0][2] = np.inf
    for column in columns[-4:]:
        column[3] = 0  # an orientation of length 0
    columns[1][5] = 3e38  # large and finite: not an error
    (tmp_path / "a.ply").write_bytes(encoded(columns, ply.LGM_COLUMNS))
    with pytest.raises(FormatError, match=r"3 of 20 rows are not \(the first is row 1\)"):
        io3d.load(tmp_path / "a.ply")
    assert len(io3d.load(tmp_path / "a.ply", drop_bad_rows=True)) == 17


def test_when_all_rows_are_bad_nothing_is_left(tmp_path: Path) -> None:
    table = np.full((3, 14), np.nan, np.float32)
    (tmp_path / "a.ply").write_bytes(encoded(table.T, ply.LGM_COLUMNS))
    with pytest.raises(FormatError, match="nothing would be left"):
        io3d.load(tmp_path / "a.ply", drop_bad_rows=True)


# ---- LGM's own save_ply ----------------------------------------------------------------------------------------------


def lgm_table(tensor: torch.Tensor, **options: float) -> np.ndarray:
    """[M, 14] of the rows in the file."""
    return np.frombuffer(bytes(ply.lgm_bytes(tensor, **options)).partition(b"end_header\n")[2], "<f4").reshape(-1, 14)


def test_lgm_bytes_follow_the_published_limits() -> None:
    tensor = torch.full((1, 5, 14), 0.5)
    tensor[0, :, 3] = torch.tensor([0.0, 1.0, 0.005, 0.00499, 0.5])
    tensor[0, 4, 4:7] = 0
    table = lgm_table(tensor)
    assert table.shape == (3, 14)  # 0.005 is kept, 0.00499 is not
    # 1 - 1e-6 is 1 - 1.0133e-6 in float32, hence not 13.8155
    assert table[0, 6] == pytest.approx(13.8023, abs=1e-3)
    assert table[2, 7] == pytest.approx(math.log(1e-8))
    assert not table[:, 3:6].any()
    assert len(lgm_table(tensor, min_opacity=0)) == 5
    with pytest.raises(InputError, match=r"must be \[1, N, 14\]"):
        ply.lgm_bytes(tensor[0])


def test_lgm_bytes_are_a_ply(tmp_path: Path) -> None:
    tensor = torch.rand(1, 30, 14)
    (tmp_path / "a.ply").write_bytes(ply.lgm_bytes(tensor))
    vertex = PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    np.testing.assert_array_equal(np.stack([vertex[name] for name in ply.LGM_COLUMNS], axis=1), lgm_table(tensor))
    kept = tensor[:, tensor[0, :, 3] >= 0.005]
    torch.testing.assert_close(io3d.load(tmp_path / "a.ply", "opengl").to_lgm(), kept, rtol=1e-5, atol=2e-6)
