"""The cell of a supernet over V virtual learners: the fused unit of every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import reference
from ..backend import choose, compiled
from ..kernels.launch import kept_in
from ..kernels.plan import plan_of
from ..layout import Cell, Section
from ..precision import check_precision
from ..spaces import PRIMITIVES, edges_of
from ..walk import MOMENTUM, Mode, RunningStats
from .registry import register

STEM = "mixed_cell"


def numbers(cell: Cell) -> list[int]:
    """The cell as the kernels read it: sizes, flags, O, and O operations an edge, the missing ones `none`."""
    O = max(len(ops) for ops in cell.ops)
    flags: tuple[bool, ...] = cell.kind == "reduce", cell.shrink0, cell.aux_skip, cell.preprocess
    sizes = [cell.c_prev_prev, cell.c_prev, cell.channels, cell.nodes, cell.partial]
    ops = [PRIMITIVES.index(op) for edge in cell.ops for op in (*edge, *["none"] * (O - len(edge)))]
    return [*sizes, *(int(flag) for flag in flags), O, *ops]


def sizes(cell: list[int], H: int, W: int, backend: str = "cpu") -> tuple[int, int, int, int]:
    """Weights and norm channels of a learner, numbers and pattern bytes that an image leaves."""
    if backend == "triton":
        return plan_of(tuple(cell), H, W).sizes
    return compiled().mixed_cell_sizes(cell, H, W)[:4]


def _fake(backend: str) -> Callable[..., tuple[Tensor, ...]]:
    def fake(cell: list[int], s0: Tensor, s1: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        V, N, H, W = s1.shape[0], s1.shape[1], s1.shape[3], s1.shape[4]
        C, nodes, reduction, preprocess = cell[2], cell[3], cell[5], cell[8]
        norms, saved, bytes_ = sizes(list(cell), int(H), int(W), backend)[1:]
        out = s1.new_empty(V, N, nodes * C, H // 2 if reduction else H, W // 2 if reduction else W)
        states = s1.new_empty(V, N, 2 * preprocess, C, H, W)
        pattern = s1.new_empty(V, N, bytes_, dtype=torch.uint8)
        planes = s1.new_empty(V, N, saved, dtype=kept_in(rest[-1]))
        return out, states, planes, s1.new_empty(V, 3, norms), pattern

    return fake


_forward = register(
    "mixed_cell(int[] cell, Tensor s0, Tensor s1, Tensor weights, Tensor op_weights, Tensor? edge_weights,"
    " Tensor? running, Tensor? pattern, Tensor? dropout, float skip_beta, float dropout_scale, str precision)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _fake("cpu"),
    STEM,
    _fake("triton"),
    lambda *args: (*args[:-1], args[-1] == "float16"),
)


def _fake_backward(
    cell: list[int],
    s0: Tensor,
    s1: Tensor,
    weights: Tensor,
    op_weights: Tensor,
    edge_weights: Tensor | None,
    *rest: Any,
) -> tuple[Tensor, ...]:
    edges = op_weights.new_empty(0) if edge_weights is None else torch.empty_like(edge_weights)
    grads = torch.empty_like(s0), torch.empty_like(s1), weights.new_empty(weights.shape)
    wanted = zip(rest[-4:-1], grads, strict=True)
    return (*(g if want else g.new_empty(0) for want, g in wanted), torch.empty_like(op_weights), edges)


_backward = register(
    "mixed_cell_backward(int[] cell, Tensor s0, Tensor s1, Tensor weights, Tensor op_weights, Tensor? edge_weights,"
    " Tensor? dropout, Tensor out, Tensor states, Tensor planes, Tensor stats, Tensor pattern, Tensor grad,"
    " float skip_beta, float dropout_scale, bool training, bool want_s0, bool want_s1, bool want_weights,"
    " str precision)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _fake_backward,
    STEM,
    arguments=lambda *args: args[:-1],
)


class _MixedCell(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        backend: str,
        cell: list[int],
        running: Any,
        pattern: Any,
        dropout: Any,
        scalars: Any,
        precision: str,
        *inputs: Any,
    ) -> Any:
        out, *saved = _forward.on(backend)(cell, *inputs, running, pattern, dropout, *scalars, precision)
        ctx.save_for_backward(*inputs, dropout, out, *saved)
        ctx.backend, ctx.cell, ctx.scalars, ctx.training = backend, cell, scalars, running is None
        ctx.precision = precision
        ctx.mark_non_differentiable(saved[-2], saved[-1])
        return out, saved[-2], saved[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> Any:
        wanted = ctx.needs_input_grad[7:10]
        how = *ctx.scalars, ctx.training, *wanted, ctx.precision
        grads = _backward.on(ctx.backend)(ctx.cell, *ctx.saved_tensors, grad, *how)
        needed = zip(grads, ctx.needs_input_grad[7:], strict=True)
        return (None,) * 7 + tuple(g if need else None for g, need in needed)


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
    backend: str | None = None,
) -> Tensor:
    """One cell of V virtual learners; see `reference.mixed_cell` for shapes. Differentiable once where it is fused.

    mode.running is updated by a training pass and read by others; mode.pattern is recorded or replayed; with
    mode.precision float16 or bfloat16 what the backward needs is kept in that, all arithmetic being float32.
    """
    name = choose(backend, weights.device, weights.dtype)
    check_precision(mode.precision, name, weights.device)
    if name == "reference":
        return reference.mixed_cell(cell, section, s0, s1, weights, op_weights, edge_weights, mode, skip_beta)
    norms = section.num_statistics
    if mode.training and norms and s1[0, :, 0].numel() == 1:
        raise ValueError("need more than one value a channel where batch statistics are taken; got one pixel")
    fused = numbers(cell)
    running = None if mode.training else _statistics(section, mode.running, norms)
    pattern = None
    if mode.pattern is not None and mode.pattern.recorded:
        V, N, _, H, W = s1.shape
        pattern = mode.pattern.replay((V, N, sizes(fused, H, W, name)[3]), torch.uint8)
    dropout, scale = _dropout(cell, mode, s1, name)
    inputs = s0, s1, weights, op_weights, edge_weights
    how = running, pattern, dropout, (skip_beta, scale), mode.precision
    out, stats, bits = _MixedCell.apply(name, fused, *how, *inputs)
    if mode.pattern is not None and pattern is None:
        mode.pattern.record(bits)
    if mode.running is not None and mode.training and norms:
        _update(section, mode.running, stats.detach(), norms)
    return out


def _dropout(cell: Cell, mode: Mode, s1: Tensor, backend: str) -> tuple[Tensor | None, float]:
    """What the stride-1 skips keep, (masks, V, N, C, H', W'), in the order of the reference's draws; and its scale."""
    edges = [pair for node in range(cell.nodes) for pair in enumerate(edges_of(node))]
    masks = sum(cell.stride(source) == 1 and "skip_connect" in cell.ops[edge] for source, edge in edges)
    if not (mode.dropout and mode.training and masks):
        return None, 1.0
    N, _, H, W = s1.shape[1:]
    if cell.kind == "reduce":
        H, W = H // 2, W // 2
    size = N, cell.channels // cell.partial, H, W
    return mode.dropout_masks(masks, size, backend), 1 / (1 - mode.dropout)


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
