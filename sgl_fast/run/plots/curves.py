"""Losses and accuracies over the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import figure_of, plain, save
from .style import INK, LEARNERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@plain()
def plot_curves(path: str | Path, records: Sequence[Mapping[str, Any]]) -> None:
    """A panel for every key of the records that names a loss or an accuracy, over the steps; a line a learner.

    records   metrics.jsonl: "step", and lists of a number a learner, or numbers; None and absent keys leave a gap
    Where there are many points the line is a moving mean over 1/50 of them, the points pale behind it.
    """
    keys = [key for word in ("loss", "accuracy") for key in dict.fromkeys(k for r in records for k in r) if word in key]
    if not keys:
        raise ValueError("no record holds a loss or an accuracy to plot")
    columns = min(len(keys), 3)
    rows = math.ceil(len(keys) / columns)
    figure = figure_of(4 * columns, 2.8 * rows + 0.3, 110)
    grid = figure.subplots(rows, columns, squeeze=False)
    for ax in grid.flat[len(keys) :]:
        ax.remove()
    lines: dict[str, Any] = {}
    for ax, key in zip(grid.flat, keys, strict=False):
        _curves(ax, key, [(r["step"], r[key]) for r in records if r.get(key) is not None], lines)
    figure.legend(lines.values(), lines.keys(), loc="upper right", ncols=len(lines), frameon=False, fontsize=9)
    figure.subplots_adjust(0.6 / (4 * columns), 0.5 / (2.8 * rows), 0.98, 1 - 0.65 / (2.8 * rows), 0.22, 0.4)
    save(figure, path)


def _curves(ax: Axes, key: str, points: Sequence[tuple[int, Any]], lines: dict[str, Any]) -> None:
    values = [value if isinstance(value, (list, tuple)) else [value] for _, value in points]
    steps = np.array([step for step, _ in points], float)
    for k in range(max(map(len, values), default=0)):
        y = np.array([np.nan if k >= len(row) or row[k] is None else row[k] for row in values], float)
        colour, label = LEARNERS[k % len(LEARNERS)], f"learner {k}"
        smooth = _moving_mean(y, len(y) // 50)
        if smooth is not y:
            ax.plot(steps, y, color=colour, lw=0.6, alpha=0.25)
        (lines[label],) = ax.plot(steps, smooth, color=colour, lw=1.5, marker="o" if len(y) < 3 else None, ms=3)
    ax.set_title(key.replace("_", " "), fontsize=10, loc="left", color=INK, parse_math=False)
    ax.set_xlabel("step", fontsize=8)
    ax.tick_params(labelsize=8)
    ax.grid(color="#e8e8e8", lw=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def _moving_mean(y: np.ndarray, width: int) -> np.ndarray:
    """The mean over the `width` points up to each one, NaN left out; y itself where width is below 2."""
    if width < 2:
        return y
    known = ~np.isnan(y)
    total, count = (np.cumsum(np.insert(part.astype(float), 0, 0)) for part in (np.where(known, y, 0), known))
    begin = np.maximum(np.arange(1, len(y) + 1) - width, 0)
    count = count[1:] - count[begin]
    return np.where(known, (total[1:] - total[begin]) / np.maximum(count, 1), np.nan)
