"""The .splat format, against its byte formulas written out here, one number at a time."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from image3d_nb import io as io3d
from image3d_nb.errors import FormatError
from image3d_nb.gaussians import SH_C0, Gaussians

from .test_io_ply import example


def nearest_byte(value: float) -> int:
    return min(255, max(0, round(value)))


def row(gaussians: Gaussians, i: int) -> bytes:
    """32 bytes by FORMATS of antimatter15/splat, with gsplat.js's rounding."""
    mean, scale = gaussians.means[i].tolist(), gaussians.scales[i].tolist()
    rgba = [nearest_byte(255 * (0.5 + SH_C0 * c)) for c in gaussians.sh[i, 0].tolist()]
    rgba.append(nearest_byte(255 * gaussians.opacities[i].item()))
    quat = gaussians.quats[i].tolist()
    length = math.sqrt(sum(q * q for q in quat))
    return struct.pack("<6f8B", *mean, *scale, *rgba, *(nearest_byte(q / length * 128 + 128) for q in quat))


def weight(gaussians: Gaussians, i: int) -> float:
    return math.exp(sum(math.log(s) for s in gaussians.scales[i].tolist())) * gaussians.opacities[i].item()


def test_bytes_are_those_of_the_formulas(tmp_path: Path) -> None:
    gaussians = example(5000)  # more than a block of rows
    io3d.save(gaussians, tmp_path / "a.splat", "opengl")
    order = sorted(range(5000), key=lambda i: -weight(gaussians, i))
    written = np.frombuffer((tmp_path / "a.splat").read_bytes(), np.uint8).reshape(-1, 32).astype(int)
    wanted = np.frombuffer(b"".join(row(gaussians, i) for i in order), np.uint8).reshape(-1, 32).astype(int)
    assert np.array_equal(written[:, :24], wanted[:, :24])
    # float32 and float64 may round a byte in a thousand apart, on the border between two
    assert np.abs(written - wanted).max() <= 1
    assert (written != wanted).sum() <= 8


def test_equal_weights_stay_in_order(tmp_path: Path) -> None:
    gaussians = example(9000)
    gaussians.scales[:] = 0.01
    gaussians.opacities[:] = 0.5
    gaussians.opacities[4500:] = 1
    io3d.save(gaussians, tmp_path / "a.splat", "opengl")
    back = io3d.load(tmp_path / "a.splat", "opengl")
    assert torch.equal(back.means, torch.cat([gaussians.means[4500:], gaussians.means[:4500]]))


def test_plus_one_does_not_wrap_around(tmp_path: Path) -> None:
    gaussians = example(1)
    gaussians.quats[0] = torch.tensor([2.0, 0, 0, 0])
    io3d.save(gaussians, tmp_path / "a.splat", "opengl")
    assert (tmp_path / "a.splat").read_bytes()[28:] == bytes([255, 128, 128, 128])


def test_round_trip(tmp_path: Path) -> None:
    gaussians = example(60)
    io3d.save(gaussians, tmp_path / "a.splat", "opengl")
    back = io3d.load(tmp_path / "a.splat", "opengl")
    assert back.sh_degree == 0
    order = torch.tensor(sorted(range(60), key=lambda i: -weight(gaussians, i)))
    want = gaussians[order]
    assert torch.equal(back.means, want.means)
    assert torch.equal(back.scales, want.scales)
    torch.testing.assert_close(back.opacities, want.opacities, rtol=0, atol=0.5 / 255 + 1e-6)
    torch.testing.assert_close(back.rgb, want.rgb.clamp(0, 1), rtol=0, atol=0.5 / 255 + 1e-6)
    unit = torch.nn.functional.normalize(want.quats, dim=-1)
    torch.testing.assert_close(back.quats, unit, rtol=0, atol=1 / 128 + 1e-6)  # +1 is stored as 127 / 128


def test_a_second_round_trip_changes_nothing(tmp_path: Path) -> None:
    io3d.save(example(60), tmp_path / "a.splat")
    once = (tmp_path / "a.splat").read_bytes()
    colours = [once[i + 24 : i + 28] for i in range(0, len(once), 32)]
    io3d.save(io3d.load(tmp_path / "a.splat"), tmp_path / "b.splat")
    twice = (tmp_path / "b.splat").read_bytes()
    assert sorted(colours) == sorted(twice[i + 24 : i + 28] for i in range(0, len(twice), 32))


def test_view_dependent_colour_is_left_out_with_a_warning(tmp_path: Path) -> None:
    wanted = r"a\.splat: .*view-dependent part of 5 colours \(SH degree 1 to 2\).*left out"
    with pytest.warns(UserWarning, match=wanted) as caught:
        io3d.save(example(5, degree=2), tmp_path / "a.splat")
    assert caught[0].filename == __file__
    assert len(io3d.load(tmp_path / "a.splat")) == 5


@pytest.mark.parametrize(("value", "lost"), [(1.0, False), (-1.0, False), (1.01, True), (-1.01, True)])
def test_colours_beyond_0_to_1_are_cut_with_a_warning(tmp_path: Path, value: float, lost: bool) -> None:
    gaussians = example(5)
    gaussians.sh[2, 0, 1] = value * 0.5 / SH_C0
    if lost:
        with pytest.raises(FormatError, match="1 of 5 colours"):
            io3d.save(gaussians, tmp_path / "a.splat", strict=True)
        assert not list(tmp_path.iterdir())
        with pytest.warns(UserWarning, match="1 of 5 colours"):
            io3d.save(gaussians, tmp_path / "a.splat")
    else:
        io3d.save(gaussians, tmp_path / "a.splat", strict=True)
    back = io3d.load(tmp_path / "a.splat")
    assert sorted(back.rgb[:, 1].tolist())[0 if value < 0 else -1] == (0 if value < 0 else 1)


@pytest.mark.parametrize(
    "content",
    [b"this is a plain text that somebody has renamed, nothing else. " * 32, bytes([255, 10, 200, 190]) * 80],
    ids=["text", "negative sizes"],
)
def test_not_this_format(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.splat").write_bytes(content[: len(content) // 32 * 32])
    with pytest.raises(FormatError, match=r"not a \.splat, or it is damaged"):
        io3d.load(tmp_path / "a.splat")


def test_nan_rows_are_counted_and_can_be_left_out(tmp_path: Path) -> None:
    gaussians = example(8)
    rows = [bytearray(row(gaussians, i)) for i in range(8)]
    rows[2][0:4] = struct.pack("<f", math.nan)
    rows[5][28:32] = bytes([128] * 4)  # an orientation of length 0
    (tmp_path / "a.splat").write_bytes(b"".join(rows))
    with pytest.raises(FormatError, match=r"2 of 8 rows are not \(the first is row 2\)"):
        io3d.load(tmp_path / "a.splat")
    assert len(io3d.load(tmp_path / "a.splat", drop_bad_rows=True)) == 6
