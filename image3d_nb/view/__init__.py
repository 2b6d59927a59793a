"""Looking at things: in a notebook, in a page of their own, as a turntable."""

from .page import save_html, splat_page
from .show import mimebundle, show
from .turntable import render_turntable, turntable_frames

__all__ = ["mimebundle", "render_turntable", "save_html", "show", "splat_page", "turntable_frames"]
