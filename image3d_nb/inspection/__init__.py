"""Inspect a file: what it holds, what is wrong with it, what viewers do with it; and write a corrected copy.

On a shell: ``image3d inspect FILE``. ``_splats.py`` has the measures and their thresholds, ``_upright.py`` the guess
which way is up and how often it is right, and ``_viewers.py`` the behaviour of viewers.
"""

from __future__ import annotations

from ._findings import Finding, Inspection, Viewer
from ._fix import VIEWERS, FixReport, fix
from ._inspect import inspect

__all__ = ["VIEWERS", "Finding", "FixReport", "Inspection", "Viewer", "fix", "inspect"]
