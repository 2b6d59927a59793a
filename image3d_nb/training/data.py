"""Pictures of procedural objects as training samples: nothing is stored, a sample is a function of its index.

Shapes: V views, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..cameras import Cameras, orbit_cameras
from .objects import ASSEMBLY, CHIMERA, FAMILIES, HELD_OUT, make_object, render_views

SPLITS = {"train": 0, "test": 1_000_000_000, "unseen": 2_000_000_000, "val": 6_000_000_000, "ten": 5_000_000_000}
"""First seed of each split; they never meet.

"test" has the known families; "unseen" the teapots and birds that every edition was measured on; "ten" all ten families
that no training sample has; "val" the mixture of the training, to choose between weights without a look at the others.
"""
ASSEMBLIES = 0.3
"""Share of random solids in the training and in "val"."""
WARPED = 0.3
"""Share of warped objects among those of families, where the training is to have strange ones."""
STRIDE = 2**0.5
"""Its multiples modulo 1 fill [0, 1) evenly. The golden ratio's do so too, but 34 families are a Fibonacci number: the
same families would give way to assemblies for hundreds of samples."""
INPUT_AZIMUTHS = (0.0, 90.0, 180.0, 270.0)
"""Of the four views that LGM takes, in its order: front, +x, back, -x."""
ELEVATIONS = (-15.0, 50.0)
"""Range of the random cameras, degrees, up is positive."""


@dataclass(frozen=True)
class Sample:
    """One object seen from its four input cameras and from some others.

    Attributes:
        images: [V, 4, H, W] float32 in [0, 1], premultiplied RGBA; the first four are LGM's input views.
        cameras: V of them, in step.
        family: the object's family.
        caption: a line about it.
    """

    images: Tensor
    cameras: Cameras
    family: str
    caption: str


class ObjectViews(Dataset[Sample]):
    """Objects of one split, made on the fly, the same for the same index on every machine.

    Args:
        split: one of SPLITS.
        size: height and width of the pictures, pixels.
        random_views: cameras beside the four input ones, at random azimuth and elevation.
        vary_fill: let the object's size in the picture vary; without, it is exactly what ``prepare_image`` gives.
        assemblies: share of random solids, in [0, 1), among the samples of "train" and "val".
        strange: whether every other random solid is a chimera, and some objects of families are warped.
    """

    def __init__(
        self,
        split: str,
        size: int = 64,
        random_views: int = 0,
        vary_fill: bool = True,
        assemblies: float = ASSEMBLIES,
        strange: bool = False,
    ) -> None:
        self.strange = strange
        self.first_seed = SPLITS[split]
        self.families = {"unseen": HELD_OUT[:2], "ten": HELD_OUT}.get(split, FAMILIES)
        self.assemblies = assemblies if split in ("train", "val") else 0.0
        self.size = size
        self.random_views = random_views
        self.vary_fill = vary_fill

    def family_of(self, index: int) -> str:
        """The family of a sample. Assemblies are spread so evenly that each batch has its share of them."""
        if index * STRIDE % 1 < self.assemblies:
            return CHIMERA if self.strange and index % 2 else ASSEMBLY
        return self.families[index % len(self.families)]

    def is_plain(self, index: int) -> bool:
        """Whether a sample is of a family, and not warped."""
        place = index * STRIDE % 1
        return place >= self.assemblies + (WARPED * (1 - self.assemblies) if self.strange else 0)

    def __getitem__(self, index: int) -> Sample:
        seed = self.first_seed + index
        rng = np.random.default_rng([seed, 7])  # its own stream: the object draws from the bare seed
        family = self.family_of(index)
        warped = family in self.families and not self.is_plain(index)
        thing = make_object(seed, family, vary_fill=self.vary_fill, warped=warped)
        azimuths = [*INPUT_AZIMUTHS, *rng.uniform(0, 360, self.random_views)]
        elevations = [0.0] * 4 + list(rng.uniform(*ELEVATIONS, self.random_views))
        cameras = orbit_cameras(elevations, azimuths, size=self.size)
        rgba = torch.from_numpy(render_views(thing, cameras))  # [V, H, W, 4] uint8
        return Sample(rgba.permute(0, 3, 1, 2).float() / 255, cameras, family, thing.caption)


class Batch(NamedTuple):
    """Some objects, each seen by V cameras; the first four are LGM's input views."""

    images: Tensor  # [B, V, 4, H, W] float32 in [0, 1] or uint8 to 255, premultiplied RGBA
    viewmats: Tensor  # [B, V, 4, 4] float32, world to camera, OpenCV axes

    def to(self, device: str) -> Batch:
        """The batch on a device, its images in float32."""
        images = self.images.to(device)
        return Batch(images / 255 if images.dtype == torch.uint8 else images, self.viewmats.to(device))


def batch_of(data: ObjectViews, first: int, count: int) -> Batch:
    """The samples ``first`` to ``first + count - 1``, made now."""
    samples = [data[first + i] for i in range(count)]
    return Batch(torch.stack([s.images for s in samples]), torch.stack([s.cameras.viewmats for s in samples]))


def on_white(rgba: Tensor) -> Tensor:
    """Premultiplied [..., 4, H, W] in [0, 1] to [..., 3, H, W] on white."""
    return rgba[..., :3, :, :] + 1 - rgba[..., 3:, :, :]
