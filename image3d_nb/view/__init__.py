"""Looking at things: in a notebook, in a page of their own, as a turntable."""

from .page import save_html, viewer_page
from .show import mimebundle, show
from .turntable import render_turntable, turntable_frames

__all__ = ["mimebundle", "render_turntable", "save_html", "show", "turntable_frames", "viewer_page"]
