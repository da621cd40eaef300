"""The table of an item, ours beside the paper's, as Markdown and CSV; a figure's lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..printed import Printed
from ..run.plots.canvas import figure_of, plain
from .jobs import Setup
from .paper import Item
from .plan import Plan
from .results import Estimate, Found

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pair = tuple[Plan, Found]


class Column(NamedTuple):
    """ours: a field of `Found`; theirs: one of `Row`, "" for what the item does not print"""

    ours: str
    theirs: str
    title: str


COLUMNS = (
    Column("error", "error", "error, %"),
    Column("top5_error", "top5_error", "top-5 error, %"),
    Column("parameters", "parameters", "parameters, M"),
    Column("multiply_adds", "", "multiply-adds, M"),
    Column("days", "search_cost", "search, days"),
)
ALWAYS = ("error", "parameters", "multiply_adds", "days")


def markdown(item: Item, pairs: Sequence[Pair], setup: Setup) -> str:
    """With what the numbers are, and on what they were had."""
    columns = shown(item)
    head = ["method", "n"]
    for _, theirs, title in columns:
        head += [title, *([f"paper: {title}"] if theirs else [])]
    lines = [f"# {item.title}", "", *about(item, pairs, setup), "", line_of(head), line_of(["---"] * len(head))]
    for plan, found in pairs:
        error = found.estimate("error")
        cells = [plan.label, str(error.count) if error else "-"]
        for ours, theirs, _ in columns:
            cells += [told(found.estimate(ours)), *([_paper(plan, theirs)] if theirs else [])]
        lines.append(line_of(cells))
    return "\n".join(lines) + "\n"


def about(item: Item, pairs: Sequence[Pair], setup: Setup) -> list[str]:
    seeds = ", ".join(map(str, setup.seeds))
    machines = sorted({machine for _, found in pairs for machine in found.machines})
    text = (
        f"{item.place}. Scale {setup.scale}, algorithm {setup.algorithm}, seeds {seeds}, "
        f"{setup.retrainings} trainings of each search's network, n of which are done. "
        "Mean ± standard deviation over searches; in brackets that over trainings of one network. "
        "Sizes are those of the network at the published scale."
    )
    tiny = [
        "**At the tiny scale nothing is comparable with the paper**: networks of a few channels see a few images of an "
        "embedded data set, in whose place stand CIFAR-10, CIFAR-100 and ImageNet. It shows that the path works."
    ]
    return [
        text,
        *(["", *tiny] if setup.scale == "tiny" else []),
        *(["", f"Searched by {'; '.join(machines)}."] * bool(machines)),
    ]


def shown(item: Item) -> list[Column]:
    """Those that the paper prints, and what runs always tell."""
    printed = {column.name for column in item.columns}
    columns = [column._replace(theirs=column.theirs if column.theirs in printed else "") for column in COLUMNS]
    return [column for column in columns if column.theirs or column.ours in ALWAYS]


def told(estimate: Estimate | None, places: int = 2) -> str:
    """mean ± deviation over searches [over trainings]"""
    if estimate is None:
        return "-"
    text = number(estimate.mean, places)
    text += "" if estimate.searches is None else f" ± {number(estimate.searches, places)}"
    return text + ("" if estimate.retrainings is None else f" [{number(estimate.retrainings, places)}]")


def number(value: float, places: int = 2) -> str:
    """Small ones keep two digits."""
    return f"{value:.{places}f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def as_csv(item: Item, pairs: Sequence[Pair]) -> str:
    """A row a method: every estimate in numbers, and the paper's mean and deviation."""
    file = io.StringIO()
    columns = shown(item)
    head = ["method", "data"]
    for ours, theirs, _ in columns:
        head += [f"{ours}{end}" for end in ("", "_deviation_searches", "_deviation_trainings", "_count")]
        head += [f"paper_{theirs}", f"paper_{theirs}_deviation"] if theirs else []
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    for plan, found in pairs:
        cells: list[object] = [plan.label, plan.data]
        for ours, theirs, _ in columns:
            e = found.estimate(ours)
            cells += [None] * 4 if e is None else [e.mean, e.searches, e.retrainings, e.count]
            if theirs:
                value: Printed | None = getattr(plan.row, theirs) if plan.row else None
                cells += [None, None] if value is None else [value.mean, value.deviation]
        writer.writerow(cells)
    return file.getvalue()


@plain()
def figure(item: Item, pairs: Sequence[Pair]) -> Figure:
    """Error against the item's first column, a line a data set, with deviations over searches."""
    axis = item.columns[0]
    drawing = figure_of(5, 3.4, layout="constrained")
    ax = drawing.subplots()
    for data in dict.fromkeys(plan.data for plan, _ in pairs):
        points = [(plan, found.estimate("error")) for plan, found in pairs if plan.data == data]
        known = [(getattr(plan.row, axis.name).mean, e) for plan, e in points if e is not None]
        if known:
            spread = [e.searches or 0.0 for _, e in known]
            ax.errorbar([x for x, _ in known], [e.mean for _, e in known], spread, marker="o", capsize=3, label=data)
    ax.set_xlabel({"lam": "lambda", "learners": "learners K"}.get(axis.name, axis.name))
    ax.set_ylabel("error on held-out images, %")
    ax.set_title(item.title, fontsize=10, loc="left")
    if ax.has_data():
        ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return drawing


def _paper(plan: Plan, column: str) -> str:
    value = getattr(plan.row, column) if plan.row else None
    return "-" if value is None else str(value)


def line_of(cells: Sequence[str]) -> str:
    """Of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
