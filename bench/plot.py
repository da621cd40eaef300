"""The ratios of a benchmark run as bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402

COLOURS = {"eager": "tab:blue", "eager channels_last": "tab:orange"}
OTHER = "tab:green"


def plot_ratios(rows: list[dict[str, Any]], path: Path) -> None:
    """One bar a row from the top, a mark at its target and one at its limit; times on a logarithmic axis."""
    figure, axes = plt.subplots(figsize=(10, 1.5 + 0.22 * len(rows)), layout="constrained")
    places = range(len(rows), 0, -1)
    colours = [COLOURS.get(row["baseline"], OTHER) for row in rows]
    axes.barh(places, [row["ratio"] for row in rows], color=colours, height=0.7)
    for field, style in (("target", "k|"), ("fail_below", "r|")):
        marked = [(row[field], place) for row, place in zip(rows, places, strict=True) if row[field] is not None]
        if marked:
            label = {"target": "target", "fail_below": "limit"}[field]
            axes.plot(*zip(*marked, strict=True), style, markersize=9, markeredgewidth=2, label=label)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(places, [f"{row['name']}, {row['shape']}, {row['baseline']}" for row in rows], fontsize=7)
    axes.set_ylim(0.2, len(rows) + 0.8)
    axes.set_xlabel("time of the baseline / ours")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)
    plt.close(figure)
