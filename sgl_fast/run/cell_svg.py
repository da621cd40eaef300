"""Cells of a genotype as a small <svg> in the colours of the page around it."""

from __future__ import annotations

from html import escape

from .plots.cells import Cells, draw_cells, size_of

SCALE = 72  # units an inch


class SvgPaper:
    """A `plots.cells.Paper`. Colours come from the page: currentColor, --paper and --node."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def line(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        self._add(f'<path d="M{_at(begin)}L{_at(end)}"/>')

    def gap(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        self._add(f'<path class="gap" d="M{_at(begin)}L{_at(end)}"/>')

    def dot(self, at: tuple[float, float]) -> None:
        x, y = _at(at).split()
        self._add(f'<circle cx="{x}" cy="{y}" r="2"/>')

    def arrowhead(self, at: tuple[float, float]) -> None:
        self._add(f'<path class="head" d="M{_at(at)}m-2.5 -2.5l5 2.5l-5 2.5z"/>')

    def title(self, at: tuple[float, float], text: str) -> None:
        x, y = _at(at).split()
        self._add(f'<text class="title" x="{x}" y="{y}">{escape(text)}</text>')

    def box(
        self, middle: tuple[float, float], size: tuple[float, float], text: str, colour: str | None, points: float
    ) -> None:
        (x, y), (w, h) = middle, size
        left, top = _at((x - w / 2, y - h / 2)).split()
        fill = f' style="fill:{colour}4d;stroke:{colour}"' if colour else ""
        corner = f'x="{left}" y="{top}" width="{w * SCALE:.1f}" height="{h * SCALE:.1f}" rx="5"'
        under = f'<rect class="under" {corner}/>' if colour else ""  # the tint lets lines through
        label = f'<text class="label" x="{x * SCALE:.1f}" y="{y * SCALE + 3:.1f}" font-size="{points:.1f}">'
        self._add(f"{under}<rect {corner}{fill}/>{label}{escape(text)}</text>")

    def _add(self, part: str) -> None:
        self.parts.append(part)


def _at(point: tuple[float, float]) -> str:
    return f"{point[0] * SCALE:.1f} {point[1] * SCALE:.1f}"


def cell_svg(genotype: Cells, name: str) -> str:
    """Both cells side by side. name: what a reader who cannot see it is told"""
    width, height = size_of([genotype])
    paper = SvgPaper()
    draw_cells(paper, genotype, (0.1, 0.2), width)
    box = f'viewBox="0 0 {2 * width * SCALE:.0f} {height * SCALE:.0f}"'
    return f'<svg class="cells" {box} role="img" aria-label="{escape(name)}">{"".join(paper.parts)}</svg>'
