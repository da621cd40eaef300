"""The pictures of a run: alphas over time, the cells of its genotypes, losses and accuracies.

Drawings are in inches, x to the right, y down, so that what is placed apart stays apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .canvas import figure_of, inches, plain, save
from .spaces import KINDS, PRIMITIVES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HUES = ("#9a9a9a", "#f28e2b", "#d4a72c", "#e15759", "#4e79a7", "#5fb3b3", "#59a14f", "#b07aa1")
_COLOURS = dict(zip(PRIMITIVES, _HUES, strict=True))
_OTHER = "#9c755f"
_TITLES = {"normal": "normal cell", "reduce": "reduction cell"}
_LEARNERS = ("#1f6fb4", "#d1495b", "#2e8b57", "#8a5fb0", "#c9822b", "#5b6770")
_INK, _FAINT = "#222222", "#c8c8c8"

PANEL_W, PANEL_H, PANEL_X, PANEL_Y = 0.92, 0.6, 1.06, 0.88  # size of an edge's panel, and from panel to panel
LEGEND_X = 1.3
PILL_W, PILL_H, NODE_W, NODE_H = 1.06, 0.23, 0.36, 0.56
COLUMN, ROW, INPUTS = PILL_W + NODE_W + 0.34, 0.82, 0.72  # node to node; between the two inputs


class Cells(Protocol):
    """What `plot_cells` needs of a genotype: (op, source) twice a node, and the states concatenated."""

    @property
    def normal(self) -> Sequence[tuple[str, int]]: ...
    @property
    def normal_concat(self) -> Sequence[int]: ...
    @property
    def reduce(self) -> Sequence[tuple[str, int]]: ...
    @property
    def reduce_concat(self) -> Sequence[int]: ...


@plain()
def plot_alphas(
    path: str | Path, history: Sequence[Mapping[str, Any]], ops: Mapping[str, Sequence[Sequence[str]]]
) -> None:
    """Probabilities over time: a panel an edge (rows are nodes, columns sources), a block a learner and cell kind.

    history   {"step": int, "alphas_normal": (K, E, O) probabilities, "alphas_reduce": ...} in the order of the steps
    ops       {"normal" | "reduce": the O names of each of the E edges}
    The large panel is the mean over the edges; an edge that lacks an op counts 0 there.
    """
    if not history:
        raise ValueError("need at least one entry of history to plot alphas")
    steps = np.array([entry["step"] for entry in history], float)
    tables = {kind: np.array([entry[f"alphas_{kind}"] for entry in history], float) for kind in KINDS}
    for kind, table in tables.items():
        if table.ndim != 4 or table.shape[2:] != np.shape(ops[kind]):
            raise ValueError(f"need alphas_{kind} (K, E, O) with E, O = {np.shape(ops[kind])}; got {table.shape[1:]}")
    keep = np.unique(np.linspace(0, len(steps) - 1, 200).round().astype(int))  # a panel is some 100 pixels wide
    learners, nodes = tables["normal"].shape[1], _nodes_of(len(ops["normal"]))
    top = _round_up(max(table.max() for table in tables.values()))
    block_w, block_h = (nodes + 1) * PANEL_X + 0.45, nodes * PANEL_Y + 0.45
    names = _order(ops)
    per_row = int((2 * block_w - 0.4) / LEGEND_X)
    head = 0.6 + 0.2 * math.ceil(len(names) / per_row)
    figure, ax = inches(2 * block_w, learners * block_h + head)
    note = f"Probabilities of the ops, softmax(alphas), from step {steps[0]:.0f} to step {steps[-1]:.0f}"
    ax.text(0.4, 0.2, note, size=9, va="center", color=_INK)
    for i, op in enumerate(names):
        _legend_entry(ax, 0.4 + i % per_row * LEGEND_X, 0.42 + 0.2 * (i // per_row), op)
    for k in range(learners):
        for column, kind in enumerate(KINDS):
            x, y = 0.4 + column * block_w, head + k * block_h
            ax.text(x, y, f"learner {k}, {_TITLES[kind]}", size=10, weight="bold", va="center", color=_INK)
            _alpha_block(ax, (x, y + 0.35), nodes, steps[keep], tables[kind][keep, k], ops[kind], top)
    save(figure, path)


@plain()
def plot_cells(path: str | Path, genotypes: Sequence[Cells], titles: Sequence[str] = ()) -> None:
    """The normal and the reduction cell of each genotype, a row each.

    Nodes go down a staircase: the line of a state runs down from it, and branches off to the right, through an op, to
    each node that reads it. `titles` are one a genotype, or none.
    """
    if not genotypes or len(titles) not in (0, len(genotypes)):
        raise ValueError(f"need at least one genotype and a title for each; got {len(genotypes)} and {len(titles)}")
    nodes = max(len(getattr(g, kind)) for g in genotypes for kind in KINDS) // 2
    width, height = INPUTS + nodes * COLUMN + 1.55, nodes * ROW + 1.1
    figure, ax = inches(2 * width, len(genotypes) * height)
    for i, genotype in enumerate(genotypes):
        for column, kind in enumerate(KINDS):
            title = f"{titles[i]}, {_TITLES[kind]}" if titles else _TITLES[kind]
            edges, concat = getattr(genotype, kind), getattr(genotype, f"{kind}_concat")
            _cell(ax, (column * width + 0.2, i * height + 0.25), edges, concat, title)
    save(figure, path)


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


def _state(state: int) -> str:
    return ("$c_{k-2}$", "$c_{k-1}$")[state] if state < 2 else str(state - 2)


def _nodes_of(edges: int) -> int:
    return (math.isqrt(9 + 8 * edges) - 3) // 2  # the inverse of E = n (n + 3) / 2


def _round_up(value: float) -> float:
    return min(1.0, math.ceil(max(value, 0.01) * 20) / 20)


def _order(ops: Mapping[str, Sequence[Sequence[str]]]) -> list[str]:
    found = {op for kind in KINDS for edge in ops[kind] for op in edge}
    return [op for op in PRIMITIVES if op in found] + sorted(found - set(PRIMITIVES))


def _legend_entry(ax: Axes, x: float, y: float, op: str) -> None:
    ax.plot((x, x + 0.2), (y, y), color=_COLOURS.get(op, _OTHER), lw=3)
    ax.text(x + 0.26, y, op, size=8, va="center", color=_INK, parse_math=False)


def _alpha_block(
    ax: Axes,
    corner: tuple[float, float],
    nodes: int,
    steps: np.ndarray,
    table: np.ndarray,
    ops: Sequence[Sequence[str]],
    top: float,
) -> None:
    """One learner's cell of one kind: table (T, E, O)."""
    mean: dict[str, np.ndarray] = {}
    edge = 0
    for node in range(nodes):
        for source in range(node + 2):
            x, y = corner[0] + source * PANEL_X, corner[1] + node * PANEL_Y
            curves = dict(zip(ops[edge], table[:, edge].T, strict=True))
            _panel(ax, (x, y, PANEL_W, PANEL_H), f"{_state(source)} → {node}", steps, curves, top)
            if source == 0:
                _scale(ax, x, y, PANEL_H, top)
            for op, curve in curves.items():
                mean[op] = mean.get(op, 0) + curve / len(ops)
            edge += 1
    side = nodes // 2  # what the triangle of edges leaves free
    if side:
        x, y = corner[0] + (nodes + 1 - side) * PANEL_X, corner[1]
        size = (side - 1) * PANEL_X + PANEL_W, (side - 1) * PANEL_Y + PANEL_H
        highest = _round_up(max(float(curve.max()) for curve in mean.values()))
        _panel(ax, (x, y, *size), "mean of edges", steps, mean, highest, width=1.8)
        _scale(ax, x, y, size[1], highest)


def _scale(ax: Axes, x: float, y: float, height: float, top: float) -> None:
    for value, at in ((f"{top:g}", y + 0.04), ("0", y + height - 0.02)):
        ax.text(x - 0.05, at, value, size=6.5, ha="right", va="center", color="#666666")


def _panel(
    ax: Axes,
    box: tuple[float, float, float, float],
    title: str,
    steps: np.ndarray,
    curves: Mapping[str, np.ndarray],
    top: float,
    width: float = 1.1,
) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    x, y, w, h = box
    ax.add_patch(Rectangle((x, y), w, h, fc="none", ec=_FAINT, lw=0.8))
    ax.text(x, y - 0.03, title, size=7.5, va="bottom", color=_INK)
    if len(steps) == 1:
        steps, curves = np.array((0.0, 1.0)), {op: np.repeat(curve, 2) for op, curve in curves.items()}
    xs = x + w * (steps - steps[0]) / ((steps[-1] - steps[0]) or 1)
    lines = [np.column_stack((xs, y + h - h * curve / top)) for curve in curves.values()]
    ax.add_collection(LineCollection(lines, colors=[_COLOURS.get(op, _OTHER) for op in curves], linewidths=width))


def _cell(
    ax: Axes, corner: tuple[float, float], edges: Sequence[tuple[str, int]], concat: Sequence[int], title: str
) -> None:
    left, top = corner
    nodes = len(edges) // 2
    first = left + 0.3
    xs = [first, *(first + INPUTS + i * COLUMN for i in range(nodes + 1))]
    ys = [top + 0.5, top + 0.5, *(top + 1.1 + i * ROW for i in range(nodes))]
    ax.text(left, top, title, size=11, weight="bold", va="center", color=_INK, parse_math=False)
    ends: dict[int, list[float]] = {}
    for node in range(nodes):
        target = node + 2
        pair = sorted(edges[2 * node : 2 * target - 2], key=lambda e: -e[1])  # the nearer source above: fewer crossings
        for (op, source), y in zip(pair, (ys[target] - 0.15, ys[target] + 0.15), strict=True):
            _branch(ax, op, xs[source], xs[target], y)
            ends.setdefault(source, []).append(y)
    for state, (*joints, end) in ends.items():
        ax.plot((xs[state], xs[state]), (ys[state], end), color=_INK, lw=1.3, zorder=1)
        ax.plot([xs[state]] * len(joints), joints, "o", color=_INK, ms=3.5, zorder=3)
    out = xs[-1] + 0.64
    for state in concat:
        _arrow(ax, xs[state], out - NODE_W / 2 - 0.04, ys[state])
    for state, at in enumerate(zip(xs, ys, strict=True)):
        _box(ax, at, (0.5, 0.3) if state < 2 else (NODE_W, NODE_H), _state(state))
    _box(ax, (out, (ys[2] + ys[-1]) / 2), (NODE_W + 0.08, ys[-1] - ys[2] + NODE_H), "$c_k$")


def _branch(ax: Axes, op: str, x: float, target: float, y: float) -> None:
    ax.plot((x + 0.04, target), (y, y), color="white", lw=4, zorder=2)  # a gap in the lines that it crosses
    _arrow(ax, x, target - NODE_W / 2, y)
    colour = _COLOURS.get(op, _OTHER)
    middle = target - NODE_W / 2 - 0.17 - PILL_W / 2, y
    _box(ax, middle, (PILL_W, PILL_H), op, fill=_tint(colour), edge=colour, points=min(9, 108 / len(op)))


def _arrow(ax: Axes, x: float, end: float, y: float) -> None:
    ax.plot((x, end - 0.05), (y, y), color=_INK, lw=1.3, zorder=2, solid_capstyle="projecting")
    ax.plot(end - 0.05, y, ">", color=_INK, ms=4.5, zorder=2)


def _box(
    ax: Axes,
    middle: tuple[float, float],
    size: tuple[float, float],
    text: str,
    fill: str = "#eef1f5",
    edge: str = _INK,
    points: float = 11,
) -> None:
    from matplotlib.patches import FancyBboxPatch

    (x, y), (w, h) = middle, size
    style = "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle=style, fc=fill, ec=edge, lw=1.2, zorder=4))
    own = text.startswith("$c_")  # the names of inputs and outputs, not those of ops
    ax.text(x, y + 0.01, text, size=points, ha="center", va="center", color=_INK, zorder=5, parse_math=own)


def _tint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{255 - (255 - c) * 3 // 10:02x}" for c in (red, green, blue))


def _curves(ax: Axes, key: str, points: Sequence[tuple[int, Any]], lines: dict[str, Any]) -> None:
    values = [value if isinstance(value, (list, tuple)) else [value] for _, value in points]
    steps = np.array([step for step, _ in points], float)
    for k in range(max(map(len, values), default=0)):
        y = np.array([np.nan if k >= len(row) or row[k] is None else row[k] for row in values], float)
        colour, label = _LEARNERS[k % len(_LEARNERS)], f"learner {k}"
        smooth = _moving_mean(y, len(y) // 50)
        if smooth is not y:
            ax.plot(steps, y, color=colour, lw=0.6, alpha=0.25)
        (lines[label],) = ax.plot(steps, smooth, color=colour, lw=1.5, marker="o" if len(y) < 3 else None, ms=3)
    ax.set_title(key.replace("_", " "), fontsize=10, loc="left", color=_INK, parse_math=False)
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
