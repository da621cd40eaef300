"""A cell of V virtual learners; see ops.mixed_cell for shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from .cell import Call, Saved, dense
from .cell_backward import Backward, Wanted
from .cell_forward import Forward
from .launch import kept_in, on
from .plan import Plan, plan_of


def plan_for(cell: list[int], s1: Tensor) -> Plan:
    return plan_of(tuple(cell), int(s1.shape[3]), int(s1.shape[4]))


def call_of(
    plan: Plan,
    s0: Tensor,
    s1: Tensor,
    weights: Tensor,
    op_weights: Tensor,
    edge_weights: Tensor | None,
    dropout: Tensor | None,
    skip_beta: float,
    dropout_scale: float,
    precision: str,
) -> Call:
    masks = None if dropout is None else dropout.contiguous().view(torch.uint8)
    weights = weights if weights.stride(1) == 1 else weights.contiguous()
    edges = None if edge_weights is None else edge_weights.contiguous()
    inputs = dense(s0), dense(s1)
    return Call(plan, inputs, weights, op_weights.contiguous(), edges, masks, skip_beta, dropout_scale, precision)


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
    skip_beta: float,
    dropout_scale: float,
    precision: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """out, states, planes, stats, pattern; running: statistics to normalise with; pattern: to replay."""
    plan = plan_for(cell, s1)
    call = call_of(plan, s0, s1, weights, op_weights, edge_weights, dropout, skip_beta, dropout_scale, precision)
    V, N = s1.shape[:2]
    out = s1.new_empty(V, N, plan.nodes * plan.C, plan.out_H, plan.out_W)
    states = s1.new_empty(V, N, 2 * plan.preprocess, plan.C, plan.H, plan.W)
    planes = s1.new_empty(V, N, plan.saved, dtype=kept_in(precision))
    stats = s1.new_zeros(V, 3, plan.norms)
    stats[:, 1, plan.measured :] = 1
    if running is not None:
        stats[..., : plan.measured] = running
    copy = torch.contiguous_format
    bits = s1.new_empty(V, N, plan.pattern, dtype=torch.uint8) if pattern is None else pattern.clone(memory_format=copy)
    with on(s1):
        saved = Saved(states, planes, stats, bits)
        Forward(call, saved, out, pattern is not None, running is None).run()
    return out, states, planes, stats, bits


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
    planes: Tensor,
    stats: Tensor,
    pattern: Tensor,
    grad: Tensor,
    skip_beta: float,
    dropout_scale: float,
    training: bool,
    replayed: bool,
    want_s0: bool,
    want_s1: bool,
    want_weights: bool,
    precision: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of s0, s1, weights, op_weights and edge_weights; empty where not wanted."""
    plan = plan_for(cell, s1)
    call = call_of(plan, s0, s1, weights, op_weights, edge_weights, dropout, skip_beta, dropout_scale, precision)
    inputs = [s.new_zeros(s.shape) if want else None for s, want in ((s0, want_s0), (s1, want_s1))]
    edges = None if edge_weights is None else edge_weights.new_empty(edge_weights.shape)
    wanted = Wanted((inputs[0], inputs[1]), want_weights, op_weights.new_zeros(op_weights.shape), edges)
    with on(s1):
        saved = Saved(*(t.contiguous() for t in (states, planes, stats, pattern)))
        found = Backward(call, saved, out.contiguous(), grad.contiguous(), training, wanted).run()
    none = s1.new_empty(0)
    grads = [none if g is None else g for g in (*wanted.s, found, wanted.op_weights, edges)]
    return grads[0], grads[1], grads[2], grads[3], grads[4]
