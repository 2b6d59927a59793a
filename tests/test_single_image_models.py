"""TripoSR and Splatter Image against recorded outputs of the published code, with weights that need no download."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from image3d_nb.errors import InputError
from image3d_nb.gaussians import Gaussians
from image3d_nb.models.splatter_image import SplatterImage
from image3d_nb.models.triposr import TripoSR

from . import seeded
from .mini_models import UNUSED, mini_splatter, mini_triposr
from .seeded import REFERENCE

TRIPOSR = np.load(REFERENCE / "triposr_mini.npz")
SPLATTER = np.load(REFERENCE / "splatter_mini.npz")


@pytest.fixture(scope="module")
def triposr() -> TripoSR:
    return mini_triposr()


@pytest.fixture(scope="module")
def splatter() -> SplatterImage:
    return mini_splatter()


def error(found: Any, record: np.ndarray) -> float:
    """The largest error, in standard deviations of the record."""
    found = np.asarray(found, np.float32)
    assert found.shape == record.shape
    return float(np.abs(found - record).max() / record.std())


def names_and_shapes(listing: str) -> dict[str, tuple[int, ...]]:
    listed = seeded.names_and_shapes(listing)
    return {name: shape for name, shape in listed.items() if not any(unused in name for unused in UNUSED)}


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("kind", [TripoSR, SplatterImage])
def test_default_configuration_has_the_published_parameters(kind: Callable[[], torch.nn.Module]) -> None:
    with torch.device("meta"):
        found = shapes_of(kind())
    assert found == names_and_shapes({TripoSR: "triposr.txt", SplatterImage: "splatter.txt"}[kind])


@torch.no_grad()
def test_triposr(triposr: TripoSR) -> None:
    assert shapes_of(triposr) == names_and_shapes("triposr_mini.txt")
    size, radius = triposr.config.image_size, triposr.config.radius
    image = torch.from_numpy(seeded.uniform("triposr/mini/image", (1, 3, size, size)))
    draws = seeded.uniform("triposr/mini/points", (500, 3)) * 2 - 1
    points = torch.from_numpy((draws * np.float32(radius * 1.1)).astype(np.float32))  # some lie outside of the box
    tokens = triposr.encode(image)
    queries = triposr.tokenizer(1)
    triplane = triposr(image)
    raw = triposr.decoder(triposr.sample(triplane[0], points))
    density, color = triposr.query(triplane[0], points, chunk=77)
    found = {
        "pos_embed": triposr.image_tokenizer["model"].embeddings.positions(size // triposr.config.patch_size),
        "image_tokens": tokens, "tokens_in": queries, "tokens_out": triposr.backbone(queries, tokens),
        "triplane": triplane, "features": triposr.sample(triplane[0], points), "density": raw[:, 0], "color": color,
    }  # fmt: skip
    errors = {name: error(tensor, TRIPOSR[name]) for name, tensor in found.items()}
    errors["density_act"] = error(density.log(), np.log(TRIPOSR["density_act"]))
    assert {name: value for name, value in errors.items() if not value < 5e-5} == {}


@torch.no_grad()
def test_triposr_density_grid(triposr: TripoSR) -> None:
    """Index order [x][y][z], both ends of the box included."""
    count, radius = int(TRIPOSR["grid_resolution"]), triposr.config.radius
    line = torch.linspace(-radius, radius, count)
    points = torch.cartesian_prod(line, line, line)
    density, _ = triposr.query(torch.from_numpy(TRIPOSR["triplane"])[0], points)
    assert error(density.log().view(count, count, count), np.log(TRIPOSR["grid"])) < 5e-5


def camera(azimuth: float, elevation: float) -> torch.Tensor:
    """Camera to world, OpenCV axes, at distance 2 in a world with z up; angles in radians."""
    position = [math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)]
    forward = -np.array(position)
    right = np.cross([0.0, 0.0, -1.0], forward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(forward, right), forward, -2 * forward], 1)
    return torch.from_numpy(pose.astype(np.float32))


@torch.no_grad()
def test_splatter_image(splatter: SplatterImage) -> None:
    assert shapes_of(splatter) == names_and_shapes("splatter_mini.txt")
    size = splatter.config.image_size
    image = torch.from_numpy(seeded.uniform("splatter/mini/image", (1, 3, size, size)))
    errors = {"raw": error(splatter(image), SPLATTER["front/raw"])}
    for view, pose in (("front", camera(0.0, 0.0)), ("other", camera(0.7, 0.4))):
        made = Gaussians(**splatter.gaussians(image)[0]._asdict()).transform(pose)
        record: Mapping[str, np.ndarray] = {
            name: SPLATTER[f"{view}/{name}"] for name in ("xyz", "rotation", "features_rest")
        }
        quats = record["rotation"] * np.sign((made.quats.numpy() * record["rotation"]).sum(-1, keepdims=True))
        errors |= {
            f"{view}/xyz": error(made.means, record["xyz"]),
            f"{view}/rotation": error(made.quats, quats),
            f"{view}/features_rest": error(made.sh[:, 1:], record["features_rest"]),
        }
    errors |= {
        "opacity": error(made.opacities[:, None], SPLATTER["front/opacity"]),
        "scaling": error(made.scales.log(), SPLATTER["front/scaling"]),  # a logarithm
        "features_dc": error(made.sh[:, 0], SPLATTER["front/features_dc"]),
    }
    assert {name: value for name, value in errors.items() if not value < 1e-4} == {}


@torch.no_grad()
def test_a_batch_is_what_its_parts_are(triposr: TripoSR, splatter: SplatterImage) -> None:
    for network in (triposr, splatter):
        size = network.config.image_size
        images = torch.from_numpy(seeded.uniform("batch", (2, 3, size, size)))
        for one, image in zip(network(images), images, strict=True):
            torch.testing.assert_close(one, network(image[None])[0], atol=1e-4, rtol=1e-4)
    assert [len(made.means) for made in splatter.gaussians(images)] == [32 * 32] * 2


def test_wrong_sizes(triposr: TripoSR, splatter: SplatterImage) -> None:
    for network in (triposr, splatter):
        with pytest.raises(InputError, match="images"):
            network(torch.zeros(1, 3, 64, 48))
    with pytest.raises(InputError, match="16"):
        TripoSR(image_size=100)
    with pytest.raises(InputError, match="8"):
        SplatterImage(image_size=100)
