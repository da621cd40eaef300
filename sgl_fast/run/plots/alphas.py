"""Probabilities of the operations over time: a panel an edge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...spaces import CODES, KINDS
from .canvas import inches, plain, save
from .style import COLOURS, FAINT, INK, OTHER, TITLES, state_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_W, PANEL_H, PANEL_X, PANEL_Y = 0.92, 0.6, 1.06, 0.88  # size of an edge's panel, and from panel to panel
LEGEND_X = 1.3


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
    ax.text(0.4, 0.2, note, size=9, va="center", color=INK)
    for i, op in enumerate(names):
        _legend_entry(ax, 0.4 + i % per_row * LEGEND_X, 0.42 + 0.2 * (i // per_row), op)
    for k in range(learners):
        for column, kind in enumerate(KINDS):
            x, y = 0.4 + column * block_w, head + k * block_h
            ax.text(x, y, f"learner {k}, {TITLES[kind]}", size=10, weight="bold", va="center", color=INK)
            _alpha_block(ax, (x, y + 0.35), nodes, steps[keep], tables[kind][keep, k], ops[kind], top)
    save(figure, path)


def _nodes_of(edges: int) -> int:
    return (math.isqrt(9 + 8 * edges) - 3) // 2  # the inverse of E = n (n + 3) / 2


def _round_up(value: float) -> float:
    return min(1.0, math.ceil(max(value, 0.01) * 20) / 20)


def _order(ops: Mapping[str, Sequence[Sequence[str]]]) -> list[str]:
    found = {op for kind in KINDS for edge in ops[kind] for op in edge}
    return [op for op in CODES if op in found] + sorted(found - set(CODES))


def _legend_entry(ax: Axes, x: float, y: float, op: str) -> None:
    ax.plot((x, x + 0.2), (y, y), color=COLOURS.get(op, OTHER), lw=3)
    ax.text(x + 0.26, y, op, size=8, va="center", color=INK, parse_math=False)


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
            _panel(ax, (x, y, PANEL_W, PANEL_H), f"{state_name(source)} → {node}", steps, curves, top)
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
    ax.add_patch(Rectangle((x, y), w, h, fc="none", ec=FAINT, lw=0.8))
    ax.text(x, y - 0.03, title, size=7.5, va="bottom", color=INK)
    if len(steps) == 1:
        steps, curves = np.array((0.0, 1.0)), {op: np.repeat(curve, 2) for op, curve in curves.items()}
    xs = x + w * (steps - steps[0]) / ((steps[-1] - steps[0]) or 1)
    lines = [np.column_stack((xs, y + h - h * curve / top)) for curve in curves.values()]
    ax.add_collection(LineCollection(lines, colors=[COLOURS.get(op, OTHER) for op in curves], linewidths=width))
