"""One cell: its sizes, and the order of its weights and batch norms, which is the order of their first use."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..spaces import OPERATIONS, edges_of, is_pool
from ..spaces.operations import HALVES


@dataclass(frozen=True)
class Entry:
    """One weight tensor: conv (out, in/groups, kh, kw), linear (J, C), batch norm and linear bias (C,)."""

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Norm:
    """One batch norm: `offset` into the running statistics of S channels."""

    name: str
    channels: int
    offset: int


@dataclass(frozen=True)
class Section:
    """A contiguous piece of the network: the stem, one cell or the classifier."""

    name: str
    entries: tuple[Entry, ...]
    norms: tuple[Norm, ...]

    @property
    def num_weights(self) -> int:
        return sum(e.size for e in self.entries)

    @property
    def num_statistics(self) -> int:
        return sum(n.channels for n in self.norms)


@dataclass(frozen=True)
class Cell:
    """The shape of one cell. Its inputs are s0 (c_prev_prev channels) and s1 (c_prev), its nodes have `channels`.

    shrink0: s0 is twice as large as s1, so its preprocessing is a factorised reduction.
    preprocess: False where s0 and s1 already are the states, of `channels` channels and one size.
    pool_norm: whether each pool is followed by a batch norm.
    """

    index: int
    kind: str
    shrink0: bool
    c_prev_prev: int
    c_prev: int
    channels: int
    nodes: int
    ops: tuple[tuple[str, ...], ...]
    partial: int
    aux_skip: bool
    preprocess: bool = True
    pool_norm: bool = True
    noisy: bool = field(init=False, repr=False, compare=False)  # whether an operation is noise; every call asks

    def __post_init__(self) -> None:
        object.__setattr__(self, "noisy", any(OPERATIONS[op].noise for ops in self.ops for op in ops))

    def stride(self, source: int) -> int:
        """Stride of the edges that leave state `source`."""
        return 2 if self.kind == "reduce" and source < 2 else 1


class Writer:
    """Appends tensors one after the other and cuts sections."""

    def __init__(self) -> None:
        self.offset = self.statistics = 0
        self.entries: list[Entry] = []
        self.norms: list[Norm] = []

    def tensor(self, name: str, *shape: int) -> None:
        self.entries.append(Entry(name, shape, self.offset))
        self.offset += math.prod(shape)

    def norm(self, name: str, channels: int, affine: bool = False) -> None:
        if affine:
            self.tensor(f"{name}.weight", channels)
            self.tensor(f"{name}.bias", channels)
        self.norms.append(Norm(name, channels, self.statistics))
        self.statistics += channels

    def cut(self, name: str) -> Section:
        section = Section(name, tuple(self.entries), tuple(self.norms))
        self.entries, self.norms = [], []
        return section


def section_of(cell: Cell, name: str = "cell") -> Section:
    """The section of a cell alone, its offsets from 0."""
    writer = Writer()
    write_cell(writer, cell)
    return writer.cut(name)


def write_cell(writer: Writer, cell: Cell) -> None:
    prefix = f"cells.{cell.index}"
    if cell.preprocess:
        write_first = write_factorized_reduce if cell.shrink0 else write_conv_norm
        write_first(writer, f"{prefix}.preprocess0", cell.c_prev_prev, cell.channels)
        write_conv_norm(writer, f"{prefix}.preprocess1", cell.c_prev, cell.channels)
    C = cell.channels // cell.partial
    for node in range(cell.nodes):
        for source, edge in enumerate(edges_of(node)):
            name, stride = f"{prefix}.edges.{edge}", cell.stride(source)
            for op in cell.ops[edge]:
                if cell.pool_norm or not is_pool(op):
                    write_op(writer, f"{name}.{op}", op, C, stride)
            if cell.aux_skip and stride == 2:
                write_factorized_reduce(writer, f"{name}.aux_skip", cell.channels, cell.channels)


def write_op(writer: Writer, name: str, op: str, C: int, stride: int) -> None:
    row = OPERATIONS[op]
    if row.pool:
        writer.norm(f"{name}.norm", C)
    elif row.skip and stride == 2:
        write_factorized_reduce(writer, name, C, C)
    for half in HALVES[: row.halves]:
        writer.tensor(f"{name}.{half}.depthwise.weight", C, 1, row.kernel, row.kernel)
        writer.tensor(f"{name}.{half}.pointwise.weight", C, C, 1, 1)
        writer.norm(f"{name}.{half}.norm", C)


def write_conv_norm(writer: Writer, name: str, c_in: int, c_out: int) -> None:
    writer.tensor(f"{name}.conv.weight", c_out, c_in, 1, 1)
    writer.norm(f"{name}.norm", c_out)


def write_factorized_reduce(writer: Writer, name: str, c_in: int, c_out: int) -> None:
    writer.tensor(f"{name}.even.weight", c_out // 2, c_in, 1, 1)
    writer.tensor(f"{name}.odd.weight", c_out // 2, c_in, 1, 1)
    writer.norm(f"{name}.norm", c_out)
