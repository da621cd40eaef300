"""Every fused operation in plain PyTorch: the specification that kernels are checked against.

Any float dtype, differentiated by autograd itself (twice, too). Activations are folded as `walk` says.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..spaces import OPERATIONS, edges_of
from .cell import Cell, Section
from .layers import Mode, Walk, fold, unfold


def mixed_cell(
    cell: Cell,
    section: Section,
    s0: Tensor,
    s1: Tensor,
    weights: Tensor,
    op_weights: Tensor,
    edge_weights: Tensor | None,
    mode: Mode,
    skip_beta: float = 1.0,
) -> Tensor:
    """One cell of V virtual learners.

    s0 (V, N, c_prev_prev, H0, W0), s1 (V, N, c_prev, H, W)   H0 = 2H where the previous cell was a reduction
    weights (V, section.num_weights)
    op_weights (V, E, O), edge_weights (V, E) or None          after their softmaxes
    -> (V, N, nodes * channels, H', W')                        H' = H/2 in a reduction cell
    """
    walk = Walk(section, weights, mode)
    states = [fold(s0), fold(s1)]
    if cell.preprocess:
        states = preprocess(walk, cell, *states)
    active = [walk.relu(x) for x in states]
    coefficients = [edge.unbind(1) for edge in op_weights.unbind(1)]
    betas = None if edge_weights is None else edge_weights.unbind(1)
    for node in range(cell.nodes):
        total: Tensor | None = None
        for source, edge in enumerate(edges_of(node)):
            inputs, stride = (states[source], active[source]), cell.stride(source)
            out = mixed_edge(walk, cell, edge, inputs, stride, coefficients[edge], skip_beta)
            if betas is not None:
                out = scale(out, betas[edge])
            total = out if total is None else total + out
        assert total is not None
        states.append(total)
        active.append(walk.relu(total) if node < cell.nodes - 1 else total)
    return torch.cat([unfold(x, walk.V) for x in states[2:]], dim=2)


def preprocess(walk: Walk, cell: Cell, x0: Tensor, x1: Tensor) -> list[Tensor]:
    """The first two states, of the cell's channels and size."""
    first = factorized_reduce(walk, walk.relu(x0)) if cell.shrink0 else relu_conv_norm(walk, x0)
    return [first, relu_conv_norm(walk, x1)]


def mixed_edge(
    walk: Walk,
    cell: Cell,
    edge: int,
    inputs: tuple[Tensor, Tensor],
    stride: int,
    coefficients: Sequence[Tensor],
    skip_beta: float = 1.0,
) -> Tensor:
    """One edge: the mixture, PC-DARTS's bypass and shuffle, DARTS-'s auxiliary skip. inputs: x and relu(x)."""
    x, active = inputs
    if cell.partial > 1:
        C = cell.channels // cell.partial
        head, rest = (fold(part) for part in unfold(x, walk.V).split([C, cell.channels - C], dim=2))
        active_head = fold(unfold(active, walk.V)[:, :, :C])
        mixed = mixed_op(walk, cell.ops[edge], head, active_head, stride, coefficients, cell.pool_norm)
        bypass = rest if stride == 1 else walk.max_pool(rest, 2, 2)
        return shuffle(mixed, bypass, walk.V, cell.partial)
    out = mixed_op(walk, cell.ops[edge], x, active, stride, coefficients, cell.pool_norm)
    if cell.aux_skip:
        out = out + skip_beta * (x if stride == 1 else factorized_reduce(walk, active))
    return out


def mixed_op(
    walk: Walk,
    ops: Sequence[str],
    x: Tensor,
    active: Tensor,
    stride: int,
    coefficients: Sequence[Tensor],
    pool_norm: bool = True,
) -> Tensor:
    """sum over o of coefficients[o] * op_o(x); coefficients[o] (V,). `none` is left out: it adds zeros."""
    total: Tensor | None = None
    for op, coefficient in zip(ops, coefficients, strict=True):
        if op != "none":
            term = scale(apply_op(walk, op, x, active, stride, pool_norm), coefficient)
            total = term if total is None else total + term
    return torch.zeros_like(x[:, :, ::stride, ::stride]) if total is None else total


def apply_op(walk: Walk, op: str, x: Tensor, active: Tensor, stride: int, pool_norm: bool = True) -> Tensor:
    """One candidate operation on x, with active = relu(x); pool_norm: a batch norm after a pool."""
    row = OPERATIONS[op]
    if row.pool:
        window = row.kernel, stride, row.padding
        y = walk.max_pool(x, *window) if row.pool == "max" else F.avg_pool2d(x, *window, count_include_pad=False)
        return walk.norm(y) if pool_norm else y
    if row.skip:
        return walk.dropout(x) if stride == 1 else factorized_reduce(walk, active)
    y = walk.norm(walk.conv(walk.conv(active, stride, row.padding, row.dilation)))
    for _ in range(row.halves - 1):
        y = walk.norm(walk.conv(walk.conv(walk.relu(y), 1, row.padding, row.dilation)))
    return y


def factorized_reduce(walk: Walk, active: Tensor) -> Tensor:
    """Two 1x1 convolutions of stride 2, the second one pixel further, side by side; then batch norm."""
    even, odd = walk.conv(active, 2), walk.conv(active[:, :, 1:, 1:], 2)
    return walk.norm(fold(torch.cat([unfold(even, walk.V), unfold(odd, walk.V)], dim=2)))


def shuffle(mixed: Tensor, bypass: Tensor, V: int, groups: int) -> Tensor:
    """Output channel c takes channel (c % groups) * (C / groups) + c // groups of [mixed, bypass]."""
    both = torch.cat([unfold(mixed, V), unfold(bypass, V)], dim=2)
    return fold(both.unflatten(2, (groups, -1)).transpose(2, 3).flatten(2, 3))


def scale(x: Tensor, coefficient: Tensor) -> Tensor:
    """x (N, V*C, H, W) times one number a virtual learner, coefficient (V,)."""
    V = coefficient.shape[0]
    return (x.unflatten(1, (V, -1)) * coefficient.view(1, V, 1, 1, 1)).flatten(1, 2)


def relu_conv_norm(walk: Walk, x: Tensor) -> Tensor:
    return walk.norm(walk.conv(walk.relu(x)))
