"""Images: read from anywhere, cut out of their background, prepared for the models."""

from __future__ import annotations

from .load import Source, load_image
from .prepare import prepare_image, remove_background
from .samples import sample

__all__ = ["Source", "load_image", "prepare_image", "remove_background", "sample"]
