"""A cell of V virtual learners; see ops.mixed_cell for shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from .cell import call_of
from .cell_backward import Wanted, backward_launches
from .cell_forward import forward_launches
from .launch import device_guard, storage_dtype
from .norms import EPS


def mixed_cell(
    cell: list[int],
    s0: Tensor,
    s1: Tensor,
    weights: Tensor,
    op_weights: Tensor,
    edge_weights: Tensor | None,
    running: Tensor | None,
    pattern: Tensor | None,
    dropout: Tensor | None,
    skip_beta: Tensor | None,
    dropout_scale: Tensor | None,
    precision: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """out, states, saved, stats, pattern; running: statistics to normalise with; pattern: to replay."""
    call = call_of(cell, s0, s1, weights, op_weights, edge_weights, dropout, skip_beta, dropout_scale, precision)
    plan = forward_launches(call.signature, pattern is not None, running is None)
    program, (V, N) = plan.program, s1.shape[:2]
    out = s1.new_empty(V, N, program.nodes * program.C, program.out_H, program.out_W)
    states = s1.new_empty(V, N, 2 * program.preprocess, program.C, program.H, program.W)
    saved = s1.new_empty(V, N, program.saved, dtype=storage_dtype(precision))
    stats = s1.new_empty(V, 3, program.norms)
    if program.measured < program.norms:
        stats[..., program.measured :] = 0
        stats[:, 1, program.measured :] = 1
    if running is not None:
        stats[..., : program.measured] = running
        stats[:, 1, : program.measured] = (running[:, 2] + EPS.value).rsqrt()
    if pattern is None:
        pattern = s1.new_empty(V, N, program.pattern, dtype=torch.uint8)
    else:
        pattern = pattern.clone(memory_format=torch.contiguous_format)
    values = {**call.values, "out": out, "states": states, "saved": saved, "stats": stats, "pattern": pattern}
    if running is None:
        values["tickets"] = s1.new_zeros(V, program.norms, dtype=torch.int32)
    with device_guard(s1):
        plan.run(s1, values)
    return out, states, saved, stats, pattern


def mixed_cell_backward(
    cell: list[int],
    s0: Tensor,
    s1: Tensor,
    weights: Tensor,
    op_weights: Tensor,
    edge_weights: Tensor | None,
    dropout: Tensor | None,
    out: Tensor,
    states: Tensor,
    saved: Tensor,
    stats: Tensor,
    pattern: Tensor,
    grad: Tensor,
    skip_beta: Tensor | None,
    dropout_scale: Tensor | None,
    training: bool,
    replayed: bool,
    want_s0: bool,
    want_s1: bool,
    want_weights: bool,
    precision: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of s0, s1, weights, op_weights and edge_weights; empty where not wanted."""
    call = call_of(cell, s0, s1, weights, op_weights, edge_weights, dropout, skip_beta, dropout_scale, precision)
    wanted = Wanted(want_s0, want_s1, want_weights)
    plan = backward_launches(call.signature, training, wanted)
    program, (V, N) = plan.program, s1.shape[:2]
    none = s1.new_empty(0)
    # Without preprocessing both inputs' gradients are summed, wanted or not: one launch has both states.
    summed = any(wanted) and not program.preprocess
    grad_s0, grad_s1 = (s1.new_zeros(s.shape) if want or summed else none for s, want in ((s0, want_s0), (s1, want_s1)))
    op_grads = op_weights.new_zeros(op_weights.shape)
    edge_grads = none if edge_weights is None else edge_weights.new_empty(edge_weights.shape)
    shares = s1.new_empty(V, plan.groups, program.weights if want_weights else 0)
    gradients = s1.new_empty(V * N, program.gradients)
    gradients[:, : plan.out.step] = grad.reshape(V * N, -1)
    values = call.values | {
        "out": out.contiguous(),
        "states": states.contiguous(),
        "saved": saved.contiguous(),
        "stats": stats.contiguous(),
        "pattern": pattern.contiguous(),
        "gradients": gradients,
        "state_grads": torch.zeros_like(states, memory_format=torch.contiguous_format),
        "norm_grads": s1.new_zeros(V, 3, program.norms),
        "skip_sums": s1.new_empty(V * N, len(program.edges), 3),
        "grad_s0": grad_s0,
        "grad_s1": grad_s1,
        "op_grads": op_grads,
        "edge_grads": None if edge_weights is None else edge_grads,
        "shares": shares,
    }
    with device_guard(s1):
        plan.run(s1, values)
    grads = grad_s0 if want_s0 else none, grad_s1 if want_s1 else none
    return *grads, shares.sum(1) if want_weights else none, op_grads, edge_grads
