"""Numbers as users have them: Python's, numpy's, torch's."""

from __future__ import annotations

import operator
from typing import Any


def whole(value: Any) -> int | None:
    """The int that a whole number of any library is; None for everything else, truth values too."""
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def real(value: Any) -> float | None:
    """The float that a floating-point number of any library is; None for everything else."""
    value = value.item() if getattr(value, "shape", None) == () else value
    return float(value) if isinstance(value, float) else None
