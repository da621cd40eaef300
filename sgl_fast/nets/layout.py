"""Where each tensor of a supernet lies in its flat weight vector, in canonical order: the order of first use."""

from __future__ import annotations

from dataclasses import dataclass

from ..reference.cell import Cell, Entry, Section, Writer, write_cell
from ..spaces import Space


@dataclass(frozen=True)
class Layout:
    stem: Section
    cells: tuple[tuple[Cell, Section], ...]
    classifier: Section

    @property
    def sections(self) -> tuple[Section, ...]:
        return (self.stem, *(section for _, section in self.cells), self.classifier)

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(e for s in self.sections for e in s.entries)


def build(space: Space) -> Layout:
    """The layout of a search space's supernet."""
    writer = Writer()
    c_stem = write_stem(writer, space)
    stem = writer.cut("stem")
    cells = []
    c_prev_prev = c_prev = c_stem
    channels, shrink0 = space.channels, space.imagenet
    for index in range(space.layers):
        reduction = index in space.reductions
        channels *= 2 if reduction else 1
        kind = "reduce" if reduction else "normal"
        shape = (index, kind, shrink0, c_prev_prev, c_prev, channels, space.nodes)
        cell = Cell(*shape, space.ops(kind), space.partial, space.aux_skip)
        write_cell(writer, cell)
        cells.append((cell, writer.cut(f"cells.{index}")))
        c_prev_prev, c_prev, shrink0 = c_prev, space.nodes * channels, reduction
    writer.tensor("classifier.weight", space.num_classes, c_prev)
    writer.tensor("classifier.bias", space.num_classes)
    return Layout(stem, tuple(cells), writer.cut("classifier"))


def write_stem(writer: Writer, space: Space) -> int:
    C = space.stem_multiplier * space.channels
    if not space.imagenet:
        writer.tensor("stem.conv.weight", C, 3, 3, 3)
        writer.norm("stem.norm", C, affine=True)
        return C
    for name, c_in, c_out in (("stem0.0", 3, C // 2), ("stem0.1", C // 2, C), ("stem1", C, C)):
        writer.tensor(f"{name}.conv.weight", c_out, c_in, 3, 3)
        writer.norm(f"{name}.norm", c_out, affine=True)
    return C
