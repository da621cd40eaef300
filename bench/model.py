"""What a pass must compute and keep, counted from its shapes: multiply-adds and saved activations."""

from __future__ import annotations

from sgl_fast.nets.supernet import Supernet
from sgl_fast.reference.cell import Cell, Section
from sgl_fast.spaces import OPERATIONS, edges_of, is_pool

FLOAT = 4  # bytes


def cell_macs(cell: Cell, section: Section, side: int) -> int:
    """Multiply-adds of a cell's forward for one image and one virtual learner; side: pixels a side of s1."""
    total = 0
    for entry in section.entries:
        fits = ".preprocess" in entry.name
        total += entry.size * (side if fits else out_side(cell, side)) ** 2
    return total


def cell_floats(cell: Cell, side: int) -> int:
    """Floats that a cell keeps for its backward, for one image and one virtual learner.

    The two states (before their batch norm), every convolution's output that a batch norm follows, the pools of a
    state once for all its out-edges, and the nodes. Batch norms, ReLUs and the mixture are computed again on load.
    """
    C, plane = cell.channels, out_side(cell, side) ** 2
    mixed = C // cell.partial
    kept = 0
    pools = set()
    for node in range(cell.nodes):
        for source, edge in enumerate(edges_of(node)):
            ops = cell.ops[edge]
            kept += mixed * sum(OPERATIONS[op].halves for op in ops)
            if cell.stride(source) == 2:
                kept += mixed * any(OPERATIONS[op].skip for op in ops) + C * cell.aux_skip
            pools |= {(source, op) for op in ops if is_pool(op)}
    return (kept + mixed * len(pools) + cell.nodes * C) * plane + 2 * C * side**2


def out_side(cell: Cell, side: int) -> int:
    return side // 2 if cell.kind == "reduce" else side


def pass_macs(net: Supernet, side: int = 32) -> int:
    """Multiply-adds of a forward of the CIFAR supernet for one image and one virtual learner."""
    stem, *_, classifier = net.sections.sections
    total = stem.entries[0].size * side**2 + classifier.entries[0].size
    for cell, section in net.sections.cells:
        total += cell_macs(cell, section, side)
        side = out_side(cell, side)
    return total


def pass_floats(net: Supernet, side: int = 32) -> int:
    """Floats that a pass keeps for its backward, for one image and one virtual learner."""
    total = net.space.stem_multiplier * net.space.channels * side**2
    for cell, _ in net.sections.cells:
        total += cell_floats(cell, side)
        side = out_side(cell, side)
    return total


def training_flops(macs: int, images: int) -> float:
    """Of forward and backward: the backward computes two gradients of each product."""
    return 6.0 * macs * images


def training_bytes(floats: int, images: int) -> float:
    """Of forward and backward: what is kept is written once and read once."""
    return 2.0 * FLOAT * floats * images
