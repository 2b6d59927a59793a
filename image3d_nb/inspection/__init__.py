"""The doctor for files: what one holds, what is wrong with it, what viewers will make of it, and a corrected copy.

``image3d inspect FILE`` on a shell. Thresholds stand beside the measures in ``_splats.py``, the guess which way is up,
and how often it is right, in ``_upright.py``, and what viewers do in ``_viewers.py``.
"""

from __future__ import annotations

from ._fix import VIEWERS, FixReport, fix
from ._inspect import inspect
from ._record import Finding, Inspection, Viewer

__all__ = ["VIEWERS", "Finding", "FixReport", "Inspection", "Viewer", "fix", "inspect"]
