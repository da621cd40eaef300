"""Derivatives of the fused cell, for autograd, for torch.func, and of the raw operators alike.

The first derivative is the fused backward. That of the backward itself recomputes the cell by the reference.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from ..reference import mixed_cell as reference
from ..reference.layers import PassContext, RunningStats
from .cell_numbers import described
from .registry import Apply, differentiable

INPUTS = 5  # s0, s1, weights, op_weights, edge_weights
MASKS_AXIS = 1  # of V in dropout masks; everywhere else it is the first one


@dataclass
class GivenMasks(PassContext):
    """A pass whose dropout masks are these, (masks, V, N, C, H, W)."""

    masks: Tensor | None = None

    def dropout_masks(self, count: int, size: Sequence[int]) -> Tensor:
        assert self.masks is not None
        first, self._masks = self._masks, self._masks + count
        return self.masks[first : first + count]


def cell_function(forward: Any, backward: Any) -> Apply:
    """The operator `forward`, with its derivative by the operator `backward` and the derivative of that."""
    second = differentiable(backward, _remember_backward, _second_derivative, partial(_batched, 6))

    def first_derivative(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
        if grad is None:
            return (None,) * 12
        *saved, skip_beta, dropout_scale = ctx.saved_tensors
        how = skip_beta, dropout_scale, *ctx.modes, *ctx.needs_input_grad[1:4], ctx.precision
        grads = second(ctx.cell, *saved, grad, *how)
        wanted = zip(grads, ctx.needs_input_grad[1 : 1 + INPUTS], strict=True)
        return None, *(g if want else None for g, want in wanted), *(None,) * 6

    return differentiable(forward, _remember_forward, first_derivative, partial(_batched, 8))


def _remember_forward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    cell, *tensors = inputs[: 1 + INPUTS]
    running, pattern, dropout, skip_beta, dropout_scale, precision = inputs[1 + INPUTS :]
    ctx.save_for_backward(*tensors, dropout, *output, skip_beta, dropout_scale)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.cell, ctx.precision = cell, precision
    ctx.modes = running is None, pattern is not None


def _remember_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    cell, *tensors = inputs[: 1 + INPUTS]
    dropout, stats, grad, skip_beta, dropout_scale = inputs[6], inputs[10], *inputs[12:15]
    ctx.save_for_backward(*tensors, dropout, stats, grad, skip_beta, dropout_scale)
    ctx.set_materialize_grads(False)
    ctx.cell, ctx.how = cell, inputs[15:17]


def _second_derivative(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
    """Of s0, s1, weights, op_weights, edge_weights and grad in the backward's results; by the reference."""
    *inputs, dropout, stats, grad, skip_beta, dropout_scale = ctx.saved_tensors
    training, replayed = ctx.how
    cell = described(ctx.cell)
    name = f"a {cell.cell.kind} cell of {cell.cell.channels} channels"
    if replayed:
        raise RuntimeError(f"no second derivative of {name} that replays a pattern; backend='reference' has it")
    _say_slow(name)
    places = [i for i, t in enumerate(inputs) if t is not None]
    running = None if training else RunningStats(stats[:, 0], stats[:, 2])

    def output(*present: Tensor) -> Tensor:
        s0, s1, weights, op_weights, edge_weights = _at(places, present)
        rate = 0.0 if dropout is None else 1 - 1 / dropout_scale.double()
        context = GivenMasks(training, running, dropout=rate, dropout_seeds=dropout, masks=dropout)
        inputs = s0, s1, weights, op_weights, edge_weights
        return reference.mixed_cell(cell.cell, cell.section, *inputs, context, 1.0 if skip_beta is None else skip_beta)

    def gradients(grad: Tensor, *present: Tensor) -> tuple[Tensor, ...]:
        grads: tuple[Tensor, ...] = torch.func.vjp(output, *present)[1](grad)
        return grads

    primals = [inputs[i] for i in places]
    given = [cotangents[i] for i in places]
    filled = tuple(torch.zeros_like(t) if g is None else g for t, g in zip(primals, given, strict=True))
    with torch.enable_grad():
        d_grad, *d_primals = torch.func.vjp(gradients, grad, *primals)[1](filled)
    return None, *_at(places, d_primals), *(None,) * 6, d_grad, *(None,) * 8


def _at(places: Sequence[int], tensors: Sequence[Tensor]) -> list[Any]:
    """Of the inputs, these at their places, None elsewhere."""
    found: list[Any] = [None] * INPUTS
    for place, tensor in zip(places, tensors, strict=True):
        found[place] = tensor
    return found


@cache
def _say_slow(name: str) -> None:
    warnings.warn(
        f"second derivatives of {name} are recomputed in plain PyTorch, slowly; "
        "backend='reference' computes the first ones so, too",
        stacklevel=3,
    )


def _batched(
    dropout: int, apply: Apply, B: int, in_dims: Sequence[int | None], args: Sequence[Any]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """A batch of calls as one, of B * V virtual learners; dropout: the position of the masks."""

    def fold(position: int, arg: Any, dim: int | None) -> Any:
        if not isinstance(arg, Tensor) or arg.dim() == 0:
            return arg
        axis = MASKS_AXIS if position == dropout else 0
        if dim is None:
            arg, dim = arg.expand(B, *arg.shape), 0
        return arg.movedim(dim, axis).flatten(axis, axis + 1)

    results = apply(*(fold(i, arg, dim) for i, (arg, dim) in enumerate(zip(args, in_dims, strict=True))))
    batched = [t.numel() > 0 for t in results]
    parts = [t.unflatten(0, (B, -1)) if is_batched else t for t, is_batched in zip(results, batched, strict=True)]
    return tuple(parts), tuple(0 if is_batched else None for is_batched in batched)
