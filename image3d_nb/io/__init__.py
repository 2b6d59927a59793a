"""Reading and writing files: one module or package for each format; ``files.py`` has the registry, save and load."""

from __future__ import annotations

from .files import CONVENTIONS, formats, load, read_stored, save

__all__ = ["CONVENTIONS", "formats", "load", "read_stored", "save"]
