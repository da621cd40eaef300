"""Numbers as users have them: Python's, numpy's, torch's."""

from __future__ import annotations

import operator
from dataclasses import fields
from typing import Any


def whole(value: Any) -> int | None:
    """The int that a whole number of any library is; None for everything else, truth values too."""
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def make_plain(settings: Any) -> None:
    """In the fields of a dataclass that are int or float, Python's numbers in place of those of other libraries.

    ValueError where one is no number, or no whole one; None stays where the field takes it.
    """
    for field in fields(settings):
        kind, value = str(field.type), getattr(settings, field.name)
        if not kind.startswith(("int", "float")) or (value is None and kind.endswith("None")):
            continue
        number: float | None = whole(value)
        if number is None and kind.startswith("float"):
            number = real(value)
        if number is None:
            need = "a number" if kind.startswith("float") else "a whole number"
            raise ValueError(f"need {field.name} {need}; got {value!r}")
        object.__setattr__(settings, field.name, number)


def real(value: Any) -> float | None:
    """The float that a floating-point number of any library is; None for everything else."""
    value = value.item() if getattr(value, "shape", None) == () else value
    return float(value) if isinstance(value, float) else None
