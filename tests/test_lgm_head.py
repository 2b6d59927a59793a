"""LGM with several Gaussians a pixel of its U-Net: as many as it says, each on the ray of its own pixel."""

from __future__ import annotations

import pytest
import torch

from image3d_nb.cameras import orbit_cameras, plucker_rays
from image3d_nb.errors import InputError
from image3d_nb.models.lgm import LGM
from image3d_nb.pipelines.lgm import lgm_input

SMALL = {
    "input_size": 16, "down_channels": (8, 16), "down_attention": (False, False), "mid_attention": False,
    "up_channels": (16, 8), "up_attention": (False, False), "layers_per_block": 1, "num_heads": 2, "patch_size": 2,
    "norm": "channel", "position": "ray", "rgb_residual": True,
}  # fmt: skip


def network(**changes: object) -> LGM:
    torch.manual_seed(0)
    return LGM(**SMALL, **changes).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("head", [1, 2])
def test_each_gaussian_stands_on_its_pixels_ray(head: int) -> None:
    lgm = network(head_patch_size=head, splat_size=8 * head, offset_range=0.0)
    rays = plucker_rays(orbit_cameras(size=16))  # [4, 6, 16, 16]
    pictures = torch.rand(1, 4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    means = lgm.gaussians(lgm_input(pictures, rays))[0, :, :3].detach().view(4, 8 * head, 8 * head, 3)
    of_pixels = plucker_rays(orbit_cameras(size=8 * head)).permute(0, 2, 3, 1)  # [4, h, w, 6]
    moment, direction = of_pixels.split(3, -1)
    torch.testing.assert_close(torch.linalg.cross(means, direction), moment, atol=2e-3, rtol=0)


def test_the_channels_of_a_pixel_go_to_its_four_gaussians() -> None:
    lgm = network(head_patch_size=2, splat_size=16)
    with torch.no_grad():
        lgm.unet.conv_out.weight.zero_()
        lgm.unet.conv_out.bias.copy_(torch.arange(56.0))
        lgm.conv.weight.copy_(torch.eye(14)[:, :, None, None])
        lgm.conv.bias.zero_()
    raw = lgm(torch.zeros(1, 4, 9, 16, 16))  # [1, 4, 14, 16, 16]
    assert raw.shape == (1, 4, 14, 16, 16)
    for channel in (0, 5, 13):
        expected = 4 * channel + torch.tensor([[0.0, 1.0], [2.0, 3.0]]).repeat(8, 8)
        torch.testing.assert_close(raw[0, 2, channel], expected)


def test_a_splat_size_that_the_blocks_do_not_give() -> None:
    with pytest.raises(InputError, match=r"splat_size.* 16; got 8"):
        network(head_patch_size=2, splat_size=8)
