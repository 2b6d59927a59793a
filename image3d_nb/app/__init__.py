"""The demo app: a gradio page, a queue, an API and an MCP tool over :func:`image3d_nb.generate_one`."""

from __future__ import annotations

from .server import serving
from .settings import AppSettings

__all__ = ["AppSettings", "serving"]
