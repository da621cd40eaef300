"""Every fused operation in plain PyTorch: the specification that kernels are checked against.

Any float dtype, differentiated by autograd itself (twice, too). Activations are folded as `layers` says.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..spaces import OPERATIONS, edges_of
from .cell import Cell, Section
from .layers import LayerCursor, PassContext, fold, unfold


def mixed_cell(
    cell: Cell,
    section: Section,
    s0: Tensor,
    s1: Tensor,
    weights: Tensor,
    op_weights: Tensor,
    edge_weights: Tensor | None,
    context: PassContext,
    skip_beta: float | Tensor = 1.0,
) -> Tensor:
    """One cell of V virtual learners.

    s0 (V, N, c_prev_prev, H0, W0), s1 (V, N, c_prev, H, W)   H0 = 2H where the previous cell was a reduction
    weights (V, section.num_weights)
    op_weights (V, E, O), edge_weights (V, E) or None          after their softmaxes
    -> (V, N, nodes * channels, H', W')                        H' = H/2 in a reduction cell
    """
    cursor = LayerCursor(section, weights, context)
    states = [fold(s0), fold(s1)]
    if cell.preprocess:
        states = preprocess(cursor, cell, *states)
    active = [cursor.relu(x) for x in states]
    coefficients = [edge.unbind(1) for edge in op_weights.unbind(1)]
    betas = None if edge_weights is None else edge_weights.unbind(1)
    for node in range(cell.nodes):
        total: Tensor | None = None
        for source, edge in enumerate(edges_of(node)):
            inputs, stride = (states[source], active[source]), cell.stride(source)
            out = mixed_edge(cursor, cell, edge, inputs, stride, coefficients[edge], skip_beta)
            if betas is not None:
                out = scale(out, betas[edge])
            total = out if total is None else total + out
        assert total is not None
        states.append(total)
        active.append(cursor.relu(total) if node < cell.nodes - 1 else total)
    return torch.cat([unfold(x, cursor.V) for x in states[2:]], dim=2)


def preprocess(cursor: LayerCursor, cell: Cell, x0: Tensor, x1: Tensor) -> list[Tensor]:
    """The first two states, of the cell's channels and size."""
    first = factorized_reduce(cursor, cursor.relu(x0)) if cell.shrink0 else relu_conv_norm(cursor, x0)
    return [first, relu_conv_norm(cursor, x1)]


def mixed_edge(
    cursor: LayerCursor,
    cell: Cell,
    edge: int,
    inputs: tuple[Tensor, Tensor],
    stride: int,
    coefficients: Sequence[Tensor],
    skip_beta: float | Tensor = 1.0,
) -> Tensor:
    """One edge: the mixture, PC-DARTS's bypass and shuffle, DARTS-'s auxiliary skip. inputs: x and relu(x)."""
    x, active = inputs
    if cell.partial > 1:
        C = cell.channels // cell.partial
        head, rest = (fold(part) for part in unfold(x, cursor.V).split([C, cell.channels - C], dim=2))
        active_head = fold(unfold(active, cursor.V)[:, :, :C])
        mixed = mixed_op(cursor, cell.ops[edge], head, active_head, stride, coefficients, cell.pool_norm)
        bypass = rest if stride == 1 else cursor.max_pool(rest, 2, 2)
        return shuffle(mixed, bypass, cursor.V, cell.partial)
    out = mixed_op(cursor, cell.ops[edge], x, active, stride, coefficients, cell.pool_norm)
    if cell.aux_skip:
        out = out + skip_beta * (x if stride == 1 else factorized_reduce(cursor, active))
    return out


def mixed_op(
    cursor: LayerCursor,
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
            term = scale(apply_op(cursor, op, x, active, stride, pool_norm), coefficient)
            total = term if total is None else total + term
    return torch.zeros_like(x[:, :, ::stride, ::stride]) if total is None else total


def apply_op(cursor: LayerCursor, op: str, x: Tensor, active: Tensor, stride: int, pool_norm: bool = True) -> Tensor:
    """One candidate operation on x, with active = relu(x); pool_norm: a batch norm after a pool."""
    row = OPERATIONS[op]
    if row.pool:
        window = row.kernel, stride, row.padding
        y = cursor.max_pool(x, *window) if row.pool == "max" else F.avg_pool2d(x, *window, count_include_pad=False)
        return cursor.norm(y) if pool_norm else y
    if row.skip:
        return cursor.noised(cursor.dropout(x) if stride == 1 else factorized_reduce(cursor, active))
    if row.noise:
        return cursor.noise(x, stride)
    y = cursor.norm(cursor.conv(cursor.conv(active, stride, row.padding, row.dilation)))
    for _ in range(row.halves - 1):
        y = cursor.norm(cursor.conv(cursor.conv(cursor.relu(y), 1, row.padding, row.dilation)))
    return y


def factorized_reduce(cursor: LayerCursor, active: Tensor) -> Tensor:
    """Two 1x1 convolutions of stride 2, the second one pixel further, side by side; then batch norm."""
    even, odd = cursor.conv(active, 2), cursor.conv(active[:, :, 1:, 1:], 2)
    return cursor.norm(fold(torch.cat([unfold(even, cursor.V), unfold(odd, cursor.V)], dim=2)))


def shuffle(mixed: Tensor, bypass: Tensor, V: int, groups: int) -> Tensor:
    """Output channel c takes channel (c % groups) * (C / groups) + c // groups of [mixed, bypass]."""
    both = torch.cat([unfold(mixed, V), unfold(bypass, V)], dim=2)
    return fold(both.unflatten(2, (groups, -1)).transpose(2, 3).flatten(2, 3))


def scale(x: Tensor, coefficient: Tensor) -> Tensor:
    """x (N, V*C, H, W) times one number a virtual learner, coefficient (V,)."""
    V = coefficient.shape[0]
    out: Tensor = (x.unflatten(1, (V, -1)) * coefficient.view(1, V, 1, 1, 1)).flatten(1, 2)
    return out


def relu_conv_norm(cursor: LayerCursor, x: Tensor) -> Tensor:
    return cursor.norm(cursor.conv(cursor.relu(x)))
