"""Kinds of numbers. NumPy's count too, and truth values do not."""

from __future__ import annotations

import math
import numbers
from typing import TypeGuard


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number: 3 or np.int64(3), not 3.0 or True."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_finite(value: object) -> TypeGuard[float]:
    """Whether a value is a number, neither NaN nor infinite: 3, 3.0 or np.float32(3)."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
