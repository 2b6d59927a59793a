"""Looking at things: in a notebook, in a page of their own, as a turntable."""

from .page import save_html, viewer_page
from .panels import compare, gallery, turntable
from .show import mimebundle, show
from .three import preview_cameras, preview_mesh, preview_splats
from .turntable import render_turntable, turntable_frames
from .watch import watch

__all__ = [
    "compare",
    "gallery",
    "mimebundle",
    "preview_cameras",
    "preview_mesh",
    "preview_splats",
    "render_turntable",
    "save_html",
    "show",
    "turntable",
    "turntable_frames",
    "viewer_page",
    "watch",
]
