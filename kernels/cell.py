"""What both directions of a cell's launches know: a call's signature, where activations lie, sizes of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..ops.plan import Program, program_of
from ..ops.rows import Conv
from .arguments import Dropout, Images, Mixture, Norms, Pair, PerImage, Shape, Tile, Weights
from .configurations import INTERPRETED, LEAST_DOT, TilesInForce, architecture, tiles_in_force, tiles_of
from .launch import LaunchPlan, Slot, power_of_two

Strides = tuple[int, int]


class Signature(NamedTuple):
    """All that a plan of launches depends on: whatever else a call has goes into slots."""

    cell: tuple[int, ...]
    size: tuple[int, ...]  # of s1
    s0: Strides
    s1: Strides
    weights: int
    has_edge_weights: bool
    has_dropout: bool
    has_aux_skips: bool
    precision: str
    device: torch.device
    tiles: TilesInForce


class Call(NamedTuple):
    """A call's signature, and the tensors and numbers that go into the slots of its launches."""

    signature: Signature
    values: dict[str, Any]


def call_of(
    cell: Sequence[int],
    s0: Tensor,
    s1: Tensor,
    weights: Tensor,
    op_weights: Tensor,
    edge_weights: Tensor | None,
    dropout: Tensor | None,
    skip_beta: Tensor | None,
    dropout_scale: Tensor | None,
    precision: str,
) -> Call:
    weights = weights if weights.stride(1) == 1 else weights.contiguous()
    s0, s1 = dense(s0), dense(s1)
    values = {
        "s0": s0,
        "s1": s1,
        "weights": weights,
        "op_weights": op_weights.contiguous(),
        "edge_weights": None if edge_weights is None else edge_weights.contiguous(),
        "dropout": None if dropout is None else dropout.contiguous().view(torch.uint8),
        "skip_beta": skip_beta,
        "dropout_scale": dropout_scale,
    }
    has = edge_weights is not None, dropout is not None, skip_beta is not None
    strides = (s0.stride(0), s0.stride(1)), (s1.stride(0), s1.stride(1)), weights.stride(0)
    where = s1.device, tiles_in_force(s1.device)
    return Call(Signature(tuple(cell), tuple(s1.shape), *strides, *has, precision, *where), values)


def dense(s: Tensor) -> Tensor:
    """Inputs (V, N, C, H, W) whose images are contiguous; learners and images may be apart, or the same."""
    C, H, W = s.shape[2:]
    return s if s.stride()[2:] == (H * W, W, 1) else s.contiguous()


@cache
def table(cell: tuple[int, ...], H: int, W: int, section: str, device: torch.device) -> Tensor:
    """A section of a program's rows, int32 on the device; kept for good, so that a captured graph finds it again."""
    flat = [number for row in getattr(program_of(cell, H, W), section) for number in row] or [0]
    return torch.tensor(flat, dtype=torch.int32, device=device)


class CellLaunches(LaunchPlan):
    """Launches of a cell; structures that they share."""

    def __init__(self, signature: Signature) -> None:
        super().__init__()
        self.signature, self.device = signature, signature.device
        self.V, self.N, _, H, W = signature.size
        self.images = self.V * self.N
        self.program: Program = program_of(signature.cell, H, W)
        program, N = self.program, self.N
        plane = program.C * program.H * program.W
        self.norms = Norms(Slot("stats"), program.norms, Slot("norm_grads"))
        self.weights = Weights(Slot("weights"), signature.weights)
        edges, ops = len(program.edges), program.width
        betas = Slot("edge_weights") if signature.has_edge_weights else None
        beta = Slot("skip_beta") if signature.has_aux_skips else None
        self.mixture = Mixture(Slot("op_weights"), betas, edges, ops, beta)
        masks, scale = (Slot("dropout"), Slot("dropout_scale")) if signature.has_dropout else (None, None)
        self.dropout = Dropout(masks, scale)
        self.pattern = PerImage(Slot("pattern"), program.pattern)
        self.saved = PerImage(Slot("saved"), program.saved)
        self.out = PerImage(Slot("out"), program.nodes * program.C * program.out_pixels)
        self.shape = Shape(self.images, N, program.C, program.M)
        inputs = Pair(Images(Slot("s0"), *signature.s0), Images(Slot("s1"), *signature.s1))
        self.inputs = inputs
        self.sources = twice(Slot("states"), N, 2 * plane) if program.preprocess else inputs  # of the first two states
        self.nodes = twice(Slot("out"), N, self.out.step)
        self.hidden = twice(Slot("saved"), N, program.saved)

    def table(self, section: str) -> Tensor:
        return table(self.signature.cell, self.program.H, self.program.W, section, self.device)

    def states(self, states: range) -> Pair:
        """Where a stage's states lie."""
        return self.sources if states.start < 2 else self.nodes

    def tile_of(self, kernel: str, rows: range, pixels: int) -> tuple[Tile, dict[str, int]]:
        """Of 1x1 convolutions, none of them being as of mixed channels; and the options of its launch."""
        convs: list[Conv] = self.program.convs[rows.start : rows.stop]
        M = self.program.M
        ins, outs = max((conv.ins for conv in convs), default=M), max((conv.outs for conv in convs), default=M)
        dot = min((min(conv.ins, conv.outs) for conv in convs), default=M) >= LEAST_DOT
        least = LEAST_DOT if dot else 1
        outs = max(power_of_two(outs), least)
        block = tiles_of(f"{kernel}_dot" if dot else kernel, self.device).block(ins, pixels, outs, least)
        products = dot_precision(self.signature.precision, self.device)
        return Tile(block.channels, outs, block.pixels, dot, products), block.options


def twice(slot: Slot, N: int, image: int) -> Pair:
    """One place of dense images."""
    place = Images(slot, N * image, image)
    return Pair(place, place)


def dot_precision(precision: str, device: torch.device) -> str:
    """Of tl.dot, by tensor cores that have tf32: one product if so asked, else three, for float32's accuracy."""
    newer = architecture(device) >= 80 or architecture(device) == INTERPRETED
    return ("tf32" if precision == "tf32" else "tf32x3") if newer else "ieee"
