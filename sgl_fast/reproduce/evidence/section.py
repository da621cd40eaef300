"""A table of an experiment. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any


@dataclass
class Section:
    """One experiment's table, as text, and its numbers, a dictionary a row of the CSV.

    notes   sentences below the table
    """

    title: str
    text: str
    head: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    numbers: list[dict[str, Any]] = field(default_factory=list)

    def add(self, label: str, cells: Sequence[str], *numbers: dict[str, Any]) -> None:
        self.rows.append([label, *cells])
        self.numbers += [{"row": label, **one} for one in numbers]


def told(values: Sequence[float], places: int = 2) -> str:
    """mean ± deviation"""
    if not values:
        return "-"
    return f"{fmean(values):.{places}f}" + (f" ± {stdev(values):.{places}f}" if len(values) > 1 else "")


def summed(values: Sequence[float]) -> dict[str, Any]:
    deviation = stdev(values) if len(values) > 1 else None
    return {"mean": fmean(values) if values else None, "deviation": deviation, "n": len(values)}
