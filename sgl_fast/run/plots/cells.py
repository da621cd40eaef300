"""The cells of genotypes, as graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...spaces import KINDS
from .canvas import inches, plain, save
from .style import COLOURS, INK, OTHER, TITLES, state_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
            title = f"{titles[i]}, {TITLES[kind]}" if titles else TITLES[kind]
            edges, concat = getattr(genotype, kind), getattr(genotype, f"{kind}_concat")
            _cell(ax, (column * width + 0.2, i * height + 0.25), edges, concat, title)
    save(figure, path)


def _cell(
    ax: Axes, corner: tuple[float, float], edges: Sequence[tuple[str, int]], concat: Sequence[int], title: str
) -> None:
    left, top = corner
    nodes = len(edges) // 2
    first = left + 0.3
    xs = [first, *(first + INPUTS + i * COLUMN for i in range(nodes + 1))]
    ys = [top + 0.5, top + 0.5, *(top + 1.1 + i * ROW for i in range(nodes))]
    ax.text(left, top, title, size=11, weight="bold", va="center", color=INK, parse_math=False)
    ends: dict[int, list[float]] = {}
    for node in range(nodes):
        target = node + 2
        pair = sorted(edges[2 * node : 2 * target - 2], key=lambda e: -e[1])  # the nearer source above: fewer crossings
        for (op, source), y in zip(pair, (ys[target] - 0.15, ys[target] + 0.15), strict=True):
            _branch(ax, op, xs[source], xs[target], y)
            ends.setdefault(source, []).append(y)
    for state, (*joints, end) in ends.items():
        ax.plot((xs[state], xs[state]), (ys[state], end), color=INK, lw=1.3, zorder=1)
        ax.plot([xs[state]] * len(joints), joints, "o", color=INK, ms=3.5, zorder=3)
    out = xs[-1] + 0.64
    for state in concat:
        _arrow(ax, xs[state], out - NODE_W / 2 - 0.04, ys[state])
    for state, at in enumerate(zip(xs, ys, strict=True)):
        _box(ax, at, (0.5, 0.3) if state < 2 else (NODE_W, NODE_H), state_name(state))
    _box(ax, (out, (ys[2] + ys[-1]) / 2), (NODE_W + 0.08, ys[-1] - ys[2] + NODE_H), "$c_k$")


def _branch(ax: Axes, op: str, x: float, target: float, y: float) -> None:
    ax.plot((x + 0.04, target), (y, y), color="white", lw=4, zorder=2)  # a gap in the lines that it crosses
    _arrow(ax, x, target - NODE_W / 2, y)
    colour = COLOURS.get(op, OTHER)
    middle = target - NODE_W / 2 - 0.17 - PILL_W / 2, y
    _box(ax, middle, (PILL_W, PILL_H), op, fill=_tint(colour), edge=colour, points=min(9, 108 / len(op)))


def _arrow(ax: Axes, x: float, end: float, y: float) -> None:
    ax.plot((x, end - 0.05), (y, y), color=INK, lw=1.3, zorder=2, solid_capstyle="projecting")
    ax.plot(end - 0.05, y, ">", color=INK, ms=4.5, zorder=2)


def _box(
    ax: Axes,
    middle: tuple[float, float],
    size: tuple[float, float],
    text: str,
    fill: str = "#eef1f5",
    edge: str = INK,
    points: float = 11,
) -> None:
    from matplotlib.patches import FancyBboxPatch

    (x, y), (w, h) = middle, size
    style = "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle=style, fc=fill, ec=edge, lw=1.2, zorder=4))
    own = text.startswith("$c_")  # the names of inputs and outputs, not those of ops
    ax.text(x, y + 0.01, text, size=points, ha="center", va="center", color=INK, zorder=5, parse_math=own)


def _tint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{255 - (255 - c) * 3 // 10:02x}" for c in (red, green, blue))
