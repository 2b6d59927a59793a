"""Files in and out. One module (or package) per format; ``files.py`` holds the registry and opens and writes them."""

from __future__ import annotations

from .files import CONVENTIONS, formats, load, read_stored, save

__all__ = ["CONVENTIONS", "formats", "load", "read_stored", "save"]
