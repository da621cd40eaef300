"""The cell of a supernet over V virtual learners: the fused unit of every backend."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backends.choice import choose
from ..backends.precision import check_precision
from ..reference import mixed_cell as reference
from ..reference.cell import Cell, Section
from ..reference.layers import MOMENTUM, PassContext, RunningStats
from .cell_gradients import cell_function
from .cell_numbers import Described, check_inputs, mask_size, masks_of, numbers
from .cell_operators import BACKWARD, FORWARD, sizes
from .skip_dropout import dropout_masks

__all__ = ["mixed_cell", "numbers", "sizes"]

_FUSED = {
    "compiled": cell_function(FORWARD.compiled, BACKWARD.compiled),
    "triton": cell_function(FORWARD.triton, BACKWARD.triton),
}


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
    backend: str | None = None,
) -> Tensor:
    """One cell of V virtual learners.

    s0 (V, N, c_prev_prev, H0, W0), s1 (V, N, c_prev, H, W), in any layout; H0 = 2H after a reduction cell
    weights (V, section.num_weights)
    op_weights (V, E, O), edge_weights (V, E) or None, after their softmaxes
    -> (V, N, nodes * channels, H', W'); H' = H / 2 in a reduction cell
    All of one floating-point dtype and device; under autocast the states are cast to the weights' dtype. The fused
    backends take float32; their derivative is fused, too, the derivative of that is recomputed by the reference.
    A cell with noise, or with noise on its skips, is the reference's on every backend. ValueError says what does not
    fit.
    skip_beta   of auxiliary skips; of no dimension, on the device and of the weights' dtype, where it is a tensor
    context.running is updated by a training pass and read by others; context.pattern is recorded or replayed; with
    context.precision float16 or bfloat16 what the backward needs is kept in that, all arithmetic being float32.
    """
    name = choose(backend, weights.device, weights.dtype)
    check_precision(context.precision, name, weights.device)
    place = weights.device.type
    if torch.amp.is_autocast_available(place) and torch.is_autocast_enabled(place):
        s0, s1 = s0.to(weights.dtype), s1.to(weights.dtype)
    if name == "reference" or cell.noisy or context.skip_noise:
        shape = Described(cell, section, section.num_weights, section.num_statistics)
        check_inputs(shape, s0, s1, weights, op_weights, edge_weights, context.training)
        return reference.mixed_cell(cell, section, s0, s1, weights, op_weights, edge_weights, context, skip_beta)
    norms, fused = section.num_statistics, numbers(cell)
    running = None if context.training else _statistics(section, context.running, norms)
    pattern = None
    if context.pattern is not None and context.pattern.recorded:
        V, N, _, H, W = s1.shape
        pattern = context.pattern.replay((V, N, sizes(fused, H, W)[3]), torch.uint8)
    dropout, scale = _dropout(cell, context, s1, name)
    beta = None
    if cell.aux_skip:
        beta = skip_beta if isinstance(skip_beta, Tensor) else weights.new_full((), skip_beta)
    inputs = s0, s1, weights, op_weights, edge_weights
    apply = _FUSED["triton" if name == "triton" else "compiled"]
    out: Tensor
    out, _, _, stats, bits = apply(fused, *inputs, running, pattern, dropout, beta, scale, context.precision)
    if context.pattern is not None and pattern is None:
        context.pattern.record(bits)
    if context.running is not None and context.training and norms:
        _update(section, context.running, stats.detach()[..., :norms], norms)
    return out


def _dropout(cell: Cell, context: PassContext, s1: Tensor, backend: str) -> tuple[Tensor | None, Tensor | None]:
    """What the stride-1 skips keep, (masks, V, N, C, H', W'), in the order of the reference's draws; and its scale."""
    masks = masks_of(cell)
    if not (context.drops and masks):
        return None, None
    seeds, first = context.next_masks(masks)
    kept = dropout_masks(seeds, masks, first, mask_size(cell, s1), context.rate, backend)
    return kept, context.rate.scale


def _statistics(section: Section, running: RunningStats | None, norms: int) -> Tensor:
    """(V, 3, norms): running mean, a row for the kernel, running variance."""
    assert running is not None
    mean, var = (_of(section, t, norms) for t in (running.mean, running.var))
    return torch.stack([mean, var, var], dim=1)


def _update(section: Section, running: RunningStats, stats: Tensor, norms: int) -> None:
    _of(section, running.mean, norms).lerp_(stats[:, 0], MOMENTUM)
    _of(section, running.var, norms).lerp_(stats[:, 2], MOMENTUM)


def _of(section: Section, statistics: Tensor, norms: int) -> Tensor:
    """The section's part of statistics (V, S)."""
    return statistics.narrow(1, section.norms[0].offset if norms else 0, norms)
