"""What every search space of the DARTS family shares: the primitives, the cell's graph, the size rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..integers import whole
from ..limits import LIMITS
from ..setting import SettingError
from .operations import CODES, PRIMITIVES
from .rules import Rules

KINDS = ("normal", "reduce")

EdgeOps = tuple[tuple[str, ...], ...]
Ops = Sequence[str | int]  # by name or index
OpsByEdge = Mapping[str, Sequence[Ops]]  # {"normal" | "reduce": for each edge its ops}


def num_edges(nodes: int) -> int:
    """E of a cell with that many intermediate nodes: node i has the i + 2 earlier states as sources."""
    return nodes * (nodes + 3) // 2


def edges_of(node: int) -> range:
    """Edge indices that enter intermediate node `node`; the position in the range is the source state."""
    start = num_edges(node)
    return range(start, start + node + 2)


def reductions_of(layers: int) -> frozenset[int]:
    """Indices of the cells that halve the image, in a network of so many; the later one feeds auxiliary heads."""
    return frozenset((layers // 3, 2 * layers // 3))


@dataclass(frozen=True)
class Space:
    """One search space at one size. Build it with `sgl_fast.space(name, ...)`, which checks it.

    name        as `sgl_fast.space` takes it
    channels    C of the first cell; it doubles at every reduction cell
    layers      cells; those at layers // 3 and 2 * layers // 3 are reductions
    nodes       intermediate nodes of a cell: E = nodes * (nodes + 3) / 2 edges
    num_classes J, logits of an image
    ops_normal, ops_reduce  E tuples of O operations: those of each edge
    partial     k: a mixed op sees the first C/k channels, the rest bypass it (PC-DARTS)
    edge_norm   betas: a softmax over the in-edges of each node multiplies the edges (PC-DARTS)
    aux_skip    an extra skip on every edge, weighted by `skip_beta` (DARTS-)
    imagenet    the 224-pixel stem: three stride-2 convolutions in place of one of stride 1
    stage       1, 2 or 3 in P-DARTS, 0 elsewhere
    stem_multiplier  channels of the stem are that times C
    rules       what its authors do with it

    >>> made = space("pc_darts", channels=16, layers=8)
    >>> made.edges, made.ops_per_edge, sorted(made.reductions)
    (14, 8, [2, 5])
    """

    name: str
    channels: int
    layers: int
    nodes: int
    num_classes: int
    ops_normal: EdgeOps
    ops_reduce: EdgeOps
    partial: int = 1
    edge_norm: bool = False
    aux_skip: bool = False
    imagenet: bool = False
    stage: int = 0
    stem_multiplier: int = 3
    rules: Rules = field(default=Rules(), compare=False, repr=False)

    def __post_init__(self) -> None:
        for size in ("channels", "layers", "nodes", "num_classes"):
            object.__setattr__(self, size, check_size(size, getattr(self, size)))
        if self.channels % self.partial:
            k = self.partial
            need, why = f"divisible by {k} ({k}, {2 * k}, ...)", f"{self.name} mixes 1/{k} of the channels"
            raise SettingError("channels", need, self.channels, why)
        if self.imagenet and self.channels % 2:
            raise SettingError("channels", "even", self.channels, f"{self.name} halves the channels in cell 0")
        for kind in KINDS:
            check_edge_ops(self.ops(kind), self.nodes, kind)
        if len(self.ops_normal[0]) != len(self.ops_reduce[0]):
            raise ValueError("need as many ops an edge in the reduction cell as in the normal cell")

    def ops(self, kind: str) -> EdgeOps:
        """Operations of each edge of one kind of cell, "normal" or "reduce"."""
        return self.ops_normal if kind == "normal" else self.ops_reduce

    @property
    def edges(self) -> int:
        """E, edges of a cell."""
        return num_edges(self.nodes)

    @property
    def ops_per_edge(self) -> int:
        """O, operations of an edge, `none` included."""
        return len(self.ops_normal[0])

    @property
    def reductions(self) -> frozenset[int]:
        """Indices of the reduction cells."""
        return reductions_of(self.layers)

    def check_images(self, height: int, width: int) -> None:
        """ValueError unless every reduction sees an even height and width, in pixels of the input."""
        sizes = (height, width)
        for side in sizes:
            here = side
            if self.imagenet:
                here = (here + 3) // 4  # two stride-2 convolutions
                if here % 2:
                    raise ValueError(self._odd(side, here, "first cell"))
                here //= 2
            for cell in sorted(self.reductions):
                if here % 2:
                    raise ValueError(self._odd(side, here, f"reduction cell {cell}"))
                here //= 2

    def _odd(self, side: int, here: int, where: str) -> str:
        need = (8 if self.imagenet else 1) * 2 ** len(self.reductions)
        return (
            f"{self.name} with {self.layers} layers cannot take images of {side} pixels a side: {here} is odd at the "
            f"{where}; need a multiple of {need}"
        )


def check_size(name: str, value: object) -> int:
    """The size as an int. ValueError unless it is a whole number of at least 1, and no larger than any run has it."""
    size = whole(value)
    if size is None or size < 1:
        raise SettingError(name, "a whole number of at least 1", value)
    if size > (most := LIMITS.get(name, size)):
        raise SettingError(name, f"of at most {most}", size)
    return size


def check_edge_ops(edge_ops: EdgeOps, nodes: int, kind: str) -> None:
    """ValueError unless every edge has its ops: as many on each, at least one, by name, none twice."""
    E = num_edges(nodes)
    if len(edge_ops) != E:
        raise ValueError(f"need ops for {E} edges of the {kind} cell ({nodes} nodes); got {len(edge_ops)}")
    sizes = [len(ops) for ops in edge_ops]
    if len(set(sizes)) != 1 or not sizes[0]:
        raise ValueError(f"need the same number of ops, at least one, on every edge of the {kind} cell; got {sizes}")
    for edge, ops in enumerate(edge_ops):
        if unknown := [op for op in ops if op not in CODES]:
            where = f"edge {edge} of the {kind} cell"
            raise ValueError(f"{where} names an unknown op {unknown[0]!r:.80}; the ops are {', '.join(CODES)}")
        if len(set(ops)) != len(ops):
            raise ValueError(f"edge {edge} of the {kind} cell names an op twice: {list(ops)}")


def edge_ops_of(nodes: int, ops: Ops | None = None, edge_ops: OpsByEdge | None = None) -> dict[str, EdgeOps]:
    """The operations of every edge of both kinds of cell, by name.

    ops       of every edge, by index or name; None: all primitives
    edge_ops  {"normal" | "reduce": for each edge its ops}, in place of ops
    """
    if edge_ops is None:
        every = PRIMITIVES if ops is None else op_names(ops, "ops")
        return dict.fromkeys(KINDS, (every,) * num_edges(check_size("nodes", nodes)))
    if ops is not None:
        raise ValueError("need ops or edge_ops; got both")
    if not isinstance(edge_ops, Mapping) or set(edge_ops) != set(KINDS):
        raise ValueError(f"need edge_ops with the keys normal and reduce; got {edge_ops!r:.80}")
    for kind, edges in edge_ops.items():
        if not isinstance(edges, Sequence):
            raise ValueError(f"need a list of ops for each edge of the {kind} cell; got {edges!r}")
    return {
        kind: tuple(op_names(edge, f"edge {e} of the {kind} cell") for e, edge in enumerate(edge_ops[kind]))
        for kind in KINDS
    }


def build(
    name: str,
    sizes: tuple[int, int, int, int],
    ops: Ops | None = None,
    edge_ops: OpsByEdge | None = None,
    **traits: Any,
) -> Space:
    """The space of these channels, layers, nodes and num_classes, its operations as `edge_ops_of` reads them."""
    edges = edge_ops_of(sizes[2], ops, edge_ops)
    return Space(name, *sizes, edges["normal"], edges["reduce"], **traits)


def op_names(ops: Ops, where: str) -> tuple[str, ...]:
    """Ops given by index or name -> names. ValueError for an unknown one."""
    if isinstance(ops, str) or not isinstance(ops, Sequence):
        raise ValueError(f"{where} needs a list of ops; got {ops!r}")
    last = len(CODES) - 1
    names = []
    for op in ops:
        index = CODES.index(op) if isinstance(op, str) and op in CODES else whole(op)
        if index is None or not 0 <= index <= last:
            raise ValueError(f"{where} names an unknown op {op!r}; the ops are {', '.join(CODES)} or 0 to {last}")
        names.append(CODES[index])
    return tuple(names)
