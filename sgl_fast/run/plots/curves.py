"""Losses, errors, rates and gradients over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .canvas import figure_of, plain
from .style import INK, LEARNERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Panel(NamedTuple):
    """series: what stands in the legend, by the key of a record. The first are lines, the others dashed, with marks."""

    title: str
    series: Mapping[str, str]
    log: bool = False


PANELS = (
    Panel("loss", {"train_loss": "training", "validation_loss": "validation", "test_loss": "test"}, log=True),
    Panel("error, %", {"train_accuracy": "training", "validation_accuracy": "validation", "test_accuracy": "test"}),
    Panel("learning rate", {"lr_w": "weights W", "lr": "weights", "lr_v": "weights V"}),
    Panel("losses of stages 2 and 3", {"pseudo_loss": "pseudo-labels", "val_loss": "architecture's images"}),
    Panel("loss of the preliminary weights V", {"train_v_loss": "training"}),
    Panel("gradient norms", {"hypergradient_norm": "architecture", "grad_norm": "weights"}, log=True),
)
DASHED = ("validation", "test", "weights V", "architecture's images")
SMOOTHED = 25  # a line is a moving mean over so small a part of its points


@plain()
def curves_figure(records: Sequence[Mapping[str, Any]], marks: Mapping[float, str] | None = None) -> Figure:
    """A panel for each of PANELS that the records have something of, over the epochs; a colour a learner.

    records   metrics.jsonl: "step", "epoch", and lists of a number a learner, or numbers; None and absent keys leave a
              gap, and accuracies are shown as errors
    marks     upright lines at these epochs, and what they say
    Where there are many points the line is a moving mean over 1/25 of them, the points pale behind it.
    """
    found = {key for r in records for key, value in r.items() if value is not None}
    panels = [panel for panel in PANELS if found & set(panel.series)]
    if not panels:
        raise ValueError("no record holds a loss or an accuracy to plot")
    steps_per_epoch = max(r["step"] / r["epoch"] for r in records)
    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    figure = figure_of(4.2 * columns, 2.9 * rows + 0.3, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for ax in grid.flat[len(panels) :]:
        ax.set_visible(False)
    shown = found & {key for panel in panels for key in panel.series}
    learners = max(len(_row(r[key])) for r in records for key in shown & set(r))
    colours = colours_of(learners)
    for ax, panel in zip(grid.flat, panels, strict=False):
        for key, label in panel.series.items():
            points = [(r["step"] / steps_per_epoch, _row(r[key])) for r in records if r.get(key) is not None]
            if points:
                _series(ax, points, label, 100 if "accuracy" in key else 0, colours)
        _dress(ax, panel, marks or {}, first=ax is grid[0, 0])
    if learners > 1:
        from matplotlib.lines import Line2D

        lines = [Line2D([], [], color=colour, lw=2, label=f"learner {k}") for k, colour in enumerate(colours)]
        figure.legend(handles=lines, loc="outside upper right", ncols=min(learners, 8), frameon=False, fontsize=8.5)
    return figure


def colours_of(learners: int) -> Sequence[Any]:
    """Different ones, as many as there are learners."""
    if learners <= len(LEARNERS):
        return LEARNERS[:learners]
    import matplotlib

    return list(matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, learners)))


def _row(value: Any) -> Sequence[float | None]:
    return value if isinstance(value, (list, tuple)) else [value]


def _series(
    ax: Axes, points: Sequence[tuple[float, Sequence[Any]]], label: str, whole: float, colours: Sequence[Any]
) -> None:
    """whole: 100 for accuracies, whose errors in percent are drawn; else 0"""
    x = np.array([at for at, _ in points])
    table = np.array([row for _, row in points], float)
    table = whole * (1 - table) if whole else table
    dashed, few = label in DASHED, len(table) < 60
    style: dict[str, Any] = {"ls": (0, (3, 1.5)), "marker": "o" if few else None, "ms": 3} if dashed else {}
    for y, colour in zip(table.T, colours, strict=False):
        smooth = y if dashed and few else _moving_mean(y, len(y) // SMOOTHED)
        if smooth is not y and not dashed:
            ax.plot(x, y, color=colour, lw=0.6, alpha=0.2)
        ax.plot(x, smooth, color=colour, lw=1.5, **style)
    ax.plot([], [], color=INK, lw=1.2, label=label, **style)


def _dress(ax: Axes, panel: Panel, marks: Mapping[float, str], first: bool) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    if panel.log:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for epoch, text in marks.items():
        ax.axvline(epoch, color="#888888", lw=0.9, ls=":")
        if first:
            ax.text(epoch, 0.98, f" {text}", fontsize=7, va="top", color="#666666", transform=ax.get_xaxis_transform())
    ax.set_title(panel.title, fontsize=10, loc="left", color=INK)
    ax.set_xlabel("epoch", fontsize=8)
    ax.legend(fontsize=7.5, frameon=False)
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
