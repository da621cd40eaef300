"""The cells of genotypes, as graphs, on whatever has lines, dots, boxes and text: matplotlib's axes or an <svg>."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ...spaces import KINDS
from .canvas import figure_of, plain
from .style import COLOURS, INK, OTHER, TITLES, state_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PILL_W, PILL_H, NODE_W, NODE_H = 1.06, 0.23, 0.36, 0.56
COLUMN, ROW, INPUTS = PILL_W + NODE_W + 0.34, 0.82, 0.72  # node to node; between the two inputs
HEAD = 0.4


class Cells(Protocol):
    """What is needed of a genotype: (op, source) twice a node, and the states concatenated."""

    @property
    def normal(self) -> Sequence[tuple[str, int]]: ...
    @property
    def normal_concat(self) -> Sequence[int]: ...
    @property
    def reduce(self) -> Sequence[tuple[str, int]]: ...
    @property
    def reduce_concat(self) -> Sequence[int]: ...


class Paper(Protocol):
    """What a cell is drawn on, in inches, x to the right, y down."""

    def line(self, begin: tuple[float, float], end: tuple[float, float]) -> None: ...
    def gap(self, begin: tuple[float, float], end: tuple[float, float]) -> None: ...
    def dot(self, at: tuple[float, float]) -> None: ...
    def arrowhead(self, at: tuple[float, float]) -> None: ...
    def title(self, at: tuple[float, float], text: str) -> None: ...
    def box(
        self, middle: tuple[float, float], size: tuple[float, float], text: str, colour: str | None, points: float
    ) -> None: ...


class OnAxes:
    """A `Paper` of matplotlib."""

    def __init__(self, ax: Axes) -> None:
        self.ax = ax

    def line(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        self.ax.plot(*zip(begin, end, strict=True), color=INK, lw=1.3, zorder=2, solid_capstyle="projecting")

    def gap(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        self.ax.plot(*zip(begin, end, strict=True), color="white", lw=4, zorder=2)

    def dot(self, at: tuple[float, float]) -> None:
        self.ax.plot(*at, "o", color=INK, ms=3.5, zorder=3)

    def arrowhead(self, at: tuple[float, float]) -> None:
        self.ax.plot(*at, ">", color=INK, ms=4.5, zorder=2)

    def title(self, at: tuple[float, float], text: str) -> None:
        self.ax.text(*at, text, size=11, weight="bold", va="center", color=INK)

    def box(
        self, middle: tuple[float, float], size: tuple[float, float], text: str, colour: str | None, points: float
    ) -> None:
        from matplotlib.patches import FancyBboxPatch

        (x, y), (w, h) = middle, size
        fill, edge = ("#eef1f5", INK) if colour is None else (_tint(colour), colour)
        style: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.08", "lw": 1.2, "zorder": 4}
        self.ax.add_patch(FancyBboxPatch((x - w / 2, y - h / 2), w, h, fc=fill, ec=edge, **style))
        self.ax.text(x, y + 0.01, text, size=points, ha="center", va="center", color=INK, zorder=5)


@plain()
def cells_figure(genotypes: Sequence[Cells], titles: Sequence[str] = ()) -> Figure:
    """The normal and the reduction cell of each genotype, a row each, below its title, if there are some.

    Nodes go down a staircase: the line of a state runs down from it, and branches off to the right, through an op, to
    each node that reads it.
    """
    if not genotypes or len(titles) not in (0, len(genotypes)):
        raise ValueError(f"need at least one genotype and a title for each; got {len(genotypes)} and {len(titles)}")
    width, height = size_of(genotypes)
    row = height + HEAD * bool(titles)
    figure = figure_of(2 * width, len(genotypes) * row)
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, 2 * width), ylim=(len(genotypes) * row, 0))
    ax.axis("off")
    paper = OnAxes(ax)
    for i, genotype in enumerate(genotypes):
        if titles:
            paper.title((0.2, i * row + 0.25), titles[i])
        draw_cells(paper, genotype, (0.2, i * row + 0.25 + HEAD * bool(titles)), width)
    return figure


def size_of(genotypes: Sequence[Cells]) -> tuple[float, float]:
    """Inches of a cell with room for the largest."""
    nodes = max(len(getattr(g, kind)) for g in genotypes for kind in KINDS) // 2
    return INPUTS + nodes * COLUMN + 1.55, nodes * ROW + 1.1


def draw_cells(paper: Paper, genotype: Cells, corner: tuple[float, float], width: float) -> None:
    """The normal cell at the corner and the reduction cell to the right of it."""
    for column, kind in enumerate(KINDS):
        left, top = corner[0] + column * width, corner[1]
        paper.title((left, top), TITLES[kind])
        _draw_cell(paper, left, top, getattr(genotype, kind), getattr(genotype, f"{kind}_concat"))


def _draw_cell(paper: Paper, left: float, top: float, edges: Sequence[tuple[str, int]], concat: Sequence[int]) -> None:
    nodes, first = len(edges) // 2, left + 0.3
    xs = [first, *(first + INPUTS + i * COLUMN for i in range(nodes + 1))]
    ys = [top + 0.5, top + 0.5, *(top + 1.1 + i * ROW for i in range(nodes))]
    branches = []
    for node in range(nodes):
        target = node + 2
        pair = sorted(edges[2 * node : 2 * target - 2], key=lambda e: -e[1])  # the nearer source above: fewer crossings
        heights = ys[target] - 0.15, ys[target] + 0.15
        branches += [(op, source, target, y) for (op, source), y in zip(pair, heights, strict=True)]
    for state in sorted({source for _, source, _, _ in branches}):
        *joints, end = [y for _, source, _, y in branches if source == state]
        paper.line((xs[state], ys[state]), (xs[state], end))
        for y in joints:
            paper.dot((xs[state], y))
    for op, source, target, y in branches:
        paper.gap((xs[source] + 0.04, y), (xs[target], y))  # in the lines that it crosses
        _arrow(paper, xs[source], xs[target] - NODE_W / 2, y)
        middle = xs[target] - NODE_W / 2 - 0.17 - PILL_W / 2, y
        paper.box(middle, (PILL_W, PILL_H), op, COLOURS.get(op, OTHER), min(9, 108 / len(op)))
    out = xs[-1] + 0.64
    for state in concat:
        _arrow(paper, xs[state], out - NODE_W / 2 - 0.04, ys[state])
    for state, at in enumerate(zip(xs, ys, strict=True)):
        paper.box(at, (0.5, 0.3) if state < 2 else (NODE_W, NODE_H), state_name(state), None, 11)
    paper.box((out, (ys[2] + ys[-1]) / 2), (NODE_W + 0.08, ys[-1] - ys[2] + NODE_H), "cₖ", None, 11)


def _arrow(paper: Paper, x: float, end: float, y: float) -> None:
    paper.line((x, y), (end - 0.05, y))
    paper.arrowhead((end - 0.05, y))


def _tint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{255 - (255 - c) * 3 // 10:02x}" for c in (red, green, blue))
