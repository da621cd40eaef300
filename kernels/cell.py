"""What both directions of a cell's launches know: the tensors of a call, tables on the device, sizes of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from .configurations import INTERPRETED, LEAST_DOT, architecture, tiles_of
from .launch import power_of_two
from .plan import OUT, Conv, Plan


@dataclass
class Source:
    """Where planes lie: their tensor, from the first one on, and the steps from learner to learner, image to image."""

    tensor: Tensor
    learner: int
    image: int
    norm: int = OUT


@dataclass
class Call:
    """Inputs of a forward or backward pass."""

    plan: Plan
    s: tuple[Tensor, Tensor]
    weights: Tensor
    op_weights: Tensor
    edge_weights: Tensor | None
    dropout: Tensor | None
    skip_beta: float
    dropout_scale: float
    precision: str

    @property
    def V(self) -> int:
        return self.s[1].shape[0]

    @property
    def N(self) -> int:
        return self.s[1].shape[1]

    @property
    def images(self) -> int:
        return self.V * self.N

    def input(self, which: int) -> Source:
        return Source(self.s[which], self.s[which].stride(0), self.s[which].stride(1))


@dataclass
class Saved:
    """What the forward leaves: preprocessed inputs (V, N, 2, C, H, W), planes (V, N, saved), statistics, patterns."""

    states: Tensor
    planes: Tensor
    stats: Tensor
    pattern: Tensor


def dense(s: Tensor) -> Tensor:
    """Inputs (V, N, C, H, W) whose images are contiguous; learners and images may be apart, or the same."""
    C, H, W = s.shape[2:]
    return s if s.stride()[2:] == (H * W, W, 1) else s.contiguous()


def state_source(call: Call, saved: Saved, out: Tensor, j: int) -> Source:
    """The planes of a state, and the norm that its reader applies."""
    plan = call.plan
    if j >= 2:
        image = plan.nodes * plan.C * plan.out_pixels
        return Source(out, call.N * image, image)
    if not plan.preprocess:
        return call.input(j)
    plane = plan.C * plan.H * plan.W
    first = saved.states.view(-1)[j * plane :]
    return Source(first, call.N * 2 * plane, 2 * plane, plan.state_norms[j])


def state_offset(plan: Plan, j: int) -> int:
    """Of a node's planes behind its source's first one."""
    return (j - 2) * plan.C * plan.out_pixels if j >= 2 else 0


Rows = tuple[tuple[int, ...], ...]


@cache
def table(rows: Rows, device: torch.device) -> Tensor:
    """Rows one after the other, int32 on the device; kept, so that a captured graph finds them again."""
    flat = [number for row in rows for number in row] or [0]
    return torch.tensor(flat, dtype=torch.int32, device=device)


def conv_row(conv: Conv, which: int, offset: int, from_norm: int, height: int, width: int) -> tuple[int, ...]:
    """As forward.deep_tile reads it; height, width: of what it reads."""
    return (
        *(which, offset, from_norm, conv.kernel, conv.dilation, conv.stride, conv.first, conv.ins, conv.outs),
        *(conv.bits, conv.depthwise, conv.pointwise, conv.z, conv.norm, height, width),
    )


@dataclass(frozen=True)
class Tile:
    """Of 1x1 convolutions: inputs and pixels at a time, all outputs; whether by tl.dot."""

    ins: int
    outs: int
    pixels: int
    dot: bool
    options: dict[str, int]


def tile_of(kernel: str, convs: Sequence[Conv], pixels: int, device: torch.device) -> Tile:
    ins, outs = max(c.ins for c in convs), max(c.outs for c in convs)
    dot = all(min(c.ins, c.outs) >= LEAST_DOT for c in convs)
    least = LEAST_DOT if dot else 1
    outs = max(power_of_two(outs), least)
    block = tiles_of(f"{kernel}_dot" if dot else kernel, device).block(ins, pixels, outs, least)
    return Tile(block.channels, outs, block.pixels, dot, block.options)


def products(precision: str, device: torch.device) -> str:
    """Of tl.dot, by tensor cores that have tf32: one product if so asked, else three, for float32's accuracy."""
    newer = architecture(device) >= 80 or architecture(device) == INTERPRETED
    return ("tf32" if precision == "tf32" else "tf32x3") if newer else "ieee"
