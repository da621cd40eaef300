"""The architectures over time: an operation's probability on every edge, beside the one that no choice would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...spaces import CODES, KINDS, edges_of, num_edges
from .canvas import figure_of, plain
from .style import COLOURS, INK, TITLES, state_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 60  # columns of time of one strip
OP_W, EDGE_H, SKIPS_H = 0.66, 0.21, 0.75  # inches

Ops = Mapping[str, Sequence[Sequence[str]]]  # of a learner: {"normal" | "reduce": the O names of each of the E edges}


@plain()
def alphas_figure(history: Sequence[Mapping[str, Any]], ops: Sequence[Ops]) -> Figure:
    """A heat map a learner and kind of cell: rows are edges, columns operations, and in a field time runs to the right.

    history   records that end an epoch, of one stage: "epoch"; "alphas_normal" and "alphas_reduce", probabilities
              (K, E, O); where there are, "betas_*", shares of a node's edges (K, E), and "genotypes", the last of which
              are ringed; "skips", below
    ops       of each learner
    Colour is the difference from uniform: 1 / O, and for betas 1 / (edges of the node).
    """
    if not history:
        raise ValueError("need at least one entry of history to plot alphas")
    for kind in KINDS:
        shape = np.shape([entry[f"alphas_{kind}"] for entry in history])[1:]
        want = (len(ops), *np.shape(ops[0][kind]))
        if shape != want:
            raise ValueError(f"need alphas_{kind} (K, E, O) = {want}; got {shape}")
    keep = np.unique(np.linspace(0, len(history) - 1, MOST).round().astype(int))
    history = [history[i] for i in keep]
    names, has_betas = _columns(ops), "betas_normal" in history[0]
    strips = {(k, kind): _strips(history, ops[k], names, k, kind) for k in range(len(ops)) for kind in KINDS}
    betas = {(k, kind): _betas(history, k, kind) for k, kind in strips} if has_betas else {}
    tops = [max(1e-9, max(float(np.nanmax(np.abs(t))) for t in found.values())) for found in (strips, betas) if found]
    edges, learners = len(ops[0]["normal"]), len(ops)
    width, height = 2 * (OP_W * (len(names) + has_betas) + 1), learners * (edges * EDGE_H + SKIPS_H + 0.9) + 0.7
    figure = figure_of(width, height, layout="constrained")
    heights, widths = [edges * EDGE_H, SKIPS_H] * learners, [len(names), 1] * 2 if has_betas else [1, 1]
    grid = figure.subplots(2 * learners, len(widths), squeeze=False, height_ratios=heights, width_ratios=widths)
    for (k, kind), table in strips.items():
        column = KINDS.index(kind) * (1 + has_betas)
        ax, below = grid[2 * k : 2 * k + 2, column]
        _heat(ax, table, names, tops[0])
        ax.set_title(f"learner {k}, {TITLES[kind]}", fontsize=10, weight="bold", loc="left", color=INK)
        ax.set_yticks(np.arange(edges) + 0.5, _edge_names(edges), fontsize=7)
        _ring(ax, history[-1].get("genotypes"), k, kind, names)
        _skips(below, history, k, kind)
        if has_betas:
            _heat(grid[2 * k, column + 1], betas[k, kind], ["edge\n(beta)"], tops[1])
            grid[2 * k + 1, column + 1].set_visible(False)
    _scales(figure, grid, tops)
    first, last = history[0]["epoch"], history[-1]["epoch"]
    note = f"In each field, epoch {first} to {last} from left to right; ringed: what the genotype of epoch {last} takes"
    figure.suptitle(note, fontsize=9, color=INK)
    return figure


def _columns(ops: Sequence[Ops]) -> list[str]:
    """Every operation that some edge has."""
    found = {op for of in ops for kind in KINDS for edge in of[kind] for op in edge}
    return [op for op in CODES if op in found] + sorted(found - set(CODES))


def _strips(history: Sequence[Mapping[str, Any]], ops: Ops, names: list[str], k: int, kind: str) -> np.ndarray:
    """(E, columns, T): probability less 1 / O, NaN where an edge lacks the operation."""
    table = np.array([entry[f"alphas_{kind}"][k] for entry in history], float)
    found = np.full((table.shape[1], len(names), len(history)), np.nan)
    for edge, row in enumerate(ops[kind]):
        for i, op in enumerate(row):
            found[edge, names.index(op)] = table[:, edge, i] - 1 / len(row)
    return found


def _betas(history: Sequence[Mapping[str, Any]], k: int, kind: str) -> np.ndarray:
    """(E, 1, T): an edge's share of its node less that of equal edges."""
    table = np.array([entry[f"betas_{kind}"][k] for entry in history], float).T
    nodes = _nodes_of(len(table))
    uniform = np.concatenate([np.full(node + 2, 1 / (node + 2)) for node in range(nodes)])
    found: np.ndarray = (table - uniform[:, None])[:, None]
    return found


def _nodes_of(edges: int) -> int:
    return next(nodes for nodes in range(edges) if num_edges(nodes) == edges)


def _heat(ax: Axes, table: np.ndarray, names: Sequence[str], top: float) -> None:
    """table (E, columns, T)."""
    rows, columns = table.shape[:2]
    extent = (0, columns, rows, 0)
    picture = table.reshape(rows, -1)
    ax.imshow(picture, "RdBu_r", vmin=-top, vmax=top, aspect="auto", extent=extent, interpolation="nearest")
    ax.set_facecolor("#d8d8d8")
    ax.hlines(range(rows), 0, columns, color="white", lw=1)
    ax.vlines(range(columns), 0, rows, color="white", lw=2.5)
    labels = ["\n".join(name.replace("_", " ").rsplit(" ", 1)) for name in names]
    ax.set_xticks(np.arange(columns) + 0.5, labels, fontsize=7)
    ax.set_yticks([])
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)


def _edge_names(edges: int) -> list[str]:
    return [f"{state_name(s)} → {node}" for node in range(_nodes_of(edges)) for s in range(node + 2)]


def _ring(ax: Axes, genotypes: Sequence[Any] | None, k: int, kind: str, names: list[str]) -> None:
    from matplotlib.patches import Rectangle

    for i, (op, source) in enumerate(genotypes[k][kind] if genotypes else ()):
        corner = names.index(op) + 0.03, edges_of(i // 2)[source] + 0.08
        ax.add_patch(Rectangle(corner, 0.94, 0.84, fill=False, ec=INK, lw=1.7))


def _skips(ax: Axes, history: Sequence[Mapping[str, Any]], k: int, kind: str) -> None:
    """Bars of skips an epoch, and the number of nodes, above which a cell counts as collapsed."""
    from matplotlib.ticker import MaxNLocator

    nodes = _nodes_of(len(history[0][f"alphas_{kind}"][k]))
    epochs = [entry["epoch"] for entry in history]
    counts = [entry["skips"][k][kind] if "skips" in entry else np.nan for entry in history]
    ax.bar(epochs, counts, 0.8 * (epochs[-1] - epochs[0] + 1) / len(epochs), color=COLOURS["skip_connect"])
    ax.axhline(nodes, color="#888888", lw=0.8, ls="--")
    ax.set_ylim(0, 2 * nodes)
    ax.set_yticks([0, nodes, 2 * nodes])
    ax.set_ylabel("skips", fontsize=7)
    ax.set_xlabel("epoch", fontsize=7, labelpad=1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)


def _scales(figure: Figure, grid: np.ndarray, tops: Sequence[float]) -> None:
    """A scale for the operations, and one for the edges."""
    texts = ("probability of the operation, less 1 / operations", "share of the edge, less 1 / edges")
    for i, (top, text) in enumerate(zip(tops, texts, strict=False)):
        half = np.array_split(grid, len(tops), axis=1)[i]
        bar = figure.colorbar(grid[0, i].images[0], ax=half, location="bottom", shrink=0.6, aspect=40, pad=0.01)
        bar.set_ticks([-top, 0, top], labels=[f"{-top:.2g}", "0", f"{top:.2g}"], fontsize=7)
        bar.set_label(text, fontsize=7.5)
        bar.outline.set_visible(False)
