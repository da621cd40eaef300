"""Groups of runs over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .canvas import figure_of, plain
from .curves import colours_of
from .style import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plain()
def comparison_figure(groups: Sequence[tuple[str, Sequence[Sequence[tuple[float, float]]]]], title: str) -> Figure:
    """A line a group, the mean of its runs, pale around it a standard deviation.

    groups   name, and of each run (epoch, value); the mean is over the epochs that all runs of the group have
    """
    from matplotlib.ticker import MaxNLocator

    figure = figure_of(8, 4.5, layout="constrained")
    ax = figure.subplots()
    for (name, runs), colour in zip(groups, colours_of(len(groups)), strict=True):
        epochs = sorted(set.intersection(*({epoch for epoch, _ in run} for run in runs)))
        table = np.array([[dict(run)[epoch] for epoch in epochs] for run in runs], float)
        middle = table.mean(0)
        ax.plot(epochs, middle, color=colour, lw=1.6, marker="o" if len(epochs) < 60 else None, ms=3, label=name)
        if len(runs) > 1:
            deviation = table.std(0, ddof=1)
            ax.fill_between(epochs, middle - deviation, middle + deviation, color=colour, alpha=0.15, lw=0)
    ax.set_title(title, fontsize=10, loc="left", color=INK)
    ax.set_xlabel("epoch", fontsize=8)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(labelsize=8)
    ax.grid(color="#e8e8e8", lw=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, frameon=False)
    return figure
