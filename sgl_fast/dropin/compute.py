"""A cell's call as the fused operation computes it, one model at a time or several as virtual learners."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ..backends.choice import PLACES, asked_for, choose, why_not
from ..ops.mixed_cell import mixed_cell
from ..reference.layers import PassContext, RunningStats
from ..reference.pattern import Pattern
from ..spaces import edges_of
from .arguments import Reading, flat, get, softmax_rows
from .plan import Plan

MixedCell = Callable[..., Tensor]
STATISTICS = ("running_mean", "running_var")
KINKS: ContextVar[Pattern | None] = ContextVar("kinks", default=None)  # recorded or replayed by the cells that run
# What computes a request, where others are to be computed with it.
MEET: ContextVar[Callable[[Request], Tensor] | None] = ContextVar("meet", default=None)


@contextmanager
def frozen(pattern: Pattern | None) -> Iterator[None]:
    """A pass whose fused cells record that pattern, or replay it."""
    if pattern is not None:
        pattern.start()
    token = KINKS.set(pattern)
    try:
        yield
    finally:
        KINKS.reset(token)
    if pattern is not None:
        pattern.finish()


@dataclass
class Request:
    """One model's call of one cell.

    s0, s1 (N, C, H, W)   before the cell's preprocessing, or after it where that is the model's own
    weights (P,), ops (E, O), betas (E) or None
    """

    plan: Plan
    s0: Tensor
    s1: Tensor
    weights: Tensor
    ops: Tensor
    betas: Tensor | None
    skip_beta: float
    training: bool
    dropout: float
    backend: str

    @property
    def key(self) -> tuple[Any, ...]:
        """What calls must have in common to run as one."""
        plan, inputs = self.plan, (self.s0, self.s1)
        norms = plan.tracked, plan.updated, plan.counting, self.training
        how = (plan.cell, plan.kept, norms, self.dropout, self.skip_beta, self.backend)
        return (*how, self.betas is None, *((t.shape, t.dtype, t.device) for t in inputs))


def request(plan: Plan, reading: Reading, arguments: Mapping[str, Any], backend: str) -> Request:
    """The request that a call's arguments make."""
    s0, s1 = (get(arguments, path) for path in reading.states)
    if plan.preprocess:
        s0, s1 = (module(x) for module, x in zip(plan.preprocess, (s0, s1), strict=True))
    ops = flat(get(arguments, reading.ops)).to(s1)
    if reading.ops_softmax:
        ops = softmax_rows(ops, plan.match.widths)
    if plan.columns is not None:
        ops = ops.index_select(0, plan.columns.to(ops.device))
    betas = None
    if reading.betas is not None:
        betas = flat(get(arguments, reading.betas)).to(s1)
        if plan.match.order != sorted(plan.match.order):
            betas = betas[plan.match.order]
        if reading.betas_softmax:
            betas = softmax_rows(betas, [len(edges_of(node)) for node in range(plan.cell.nodes)])
    skip_beta = reading.skip_rate if reading.skip_beta is None else float(get(arguments, reading.skip_beta))
    training = not plan.norms or plan.norms[0].training or not plan.tracked
    dropout = plan.skips[0].p if plan.skips and plan.skips[0] is not None and plan.skips[0].training else 0.0
    shape = len(plan.cell.ops), len(plan.cell.ops[0])
    weights = Flat.apply(len(plan.convs), *plan.parameters()) if plan.convs else s1.new_zeros(0)
    return Request(plan, s0, s1, weights, ops.view(shape), betas, skip_beta, training, dropout, backend)


def submit(request: Request) -> Tensor:
    """The cell's output: computed at once, or with the requests of the models beside this one."""
    meet = MEET.get()
    return compute([request])[0] if meet is None else meet(request)


def compute(requests: Sequence[Request], cell: MixedCell | None = None) -> list[Tensor]:
    """(N, nodes * C, H', W') of each request; they share their key. Updates the running statistics of each."""
    first, plans = requests[0], [r.plan for r in requests]
    plan = plans[0]
    running = shifts = None
    if plan.tracked and (plan.updated or not first.training):
        mean, var = (torch.stack([torch.cat(p.buffers(name)) for p in plans]) for name in STATISTICS)
        if any(p.biased for p in plans):  # left out here, so that the means are less what the biases add to them
            shifts = torch.stack([p.shift() for p in plans])
        running = RunningStats(mean if shifts is None else mean - shifts, var)
    seeds = torch.randint(2**62, (len(requests),), device=first.s1.device) if first.dropout else None
    out = (cell or partial(mixed_cell, backend=first.backend))(
        plan.cell,
        plan.section,
        together([r.s0 for r in requests]),
        together([r.s1 for r in requests]),
        torch.stack([r.weights for r in requests]),
        torch.stack([r.ops for r in requests]),
        None if first.betas is None else torch.stack([r.betas for r in requests if r.betas is not None]),
        PassContext(first.training, running, KINKS.get(), first.dropout, seeds),
        first.skip_beta,
    )
    with torch.no_grad():
        if running is not None and first.training:
            means = running.mean if shifts is None else running.mean + shifts
            for p, *rows in zip(plans, means, running.var, strict=True):
                sizes = [norm.num_features for norm in p.norms]
                for name, row in zip(STATISTICS, rows, strict=True):
                    torch._foreach_copy_(p.buffers(name), row.split(sizes))
        if plan.counting and (counts := [count for p in plans for count in p.buffers("num_batches_tracked")]):
            torch._foreach_add_(counts, 1)
    kept = plan.kept * plan.cell.channels
    return [handed_out(out[v, :, -kept:]) for v in range(len(requests))]


def backend_for(asked: str | None, device: torch.device, dtype: torch.dtype) -> tuple[str, str | None]:
    """The backend of such tensors, and why the model's own cell is to be preferred, None if it is not.

    Where compiled backends are at hand and none was named, plain PyTorch is no gain over the model's own.
    """
    try:
        name = choose(asked, device, dtype)
    except ValueError as error:
        return "", str(error)
    others = [why_not(fused) is None for fused in PLACES]
    if name != "reference" or asked_for(asked) == "reference" or not any(others):
        return name, None
    return name, f"no compiled backend for {str(dtype).removeprefix('torch.')} on {device.type}"


def together(states: Sequence[Tensor]) -> Tensor:
    """(V, N, C, H, W), a tensor of our own."""
    return torch.stack(list(states)) if len(states) > 1 else guarded(states[0]).unsqueeze(0)


def guarded(state: Tensor) -> Tensor:
    """The state, held by a copy that its owner cannot change while the backward waits for it."""
    if not torch.is_grad_enabled():
        return state
    held = _HELD.get(state)
    if held is None or address(held) != address(state):  # somebody wrote to it
        held = state.detach().clone(memory_format=torch.contiguous_format)
    return Held.apply(state, held) if state.requires_grad else held


def handed_out(out: Tensor) -> Tensor:
    """A cell's output for its caller, who may change it in place: the backward needs the cell's own.

    Its numbers are copied when it is first written to, by whatever way.
    """
    if not out.requires_grad:
        return out
    if not (out.is_contiguous() and _LAZY):
        return out.clone(memory_format=torch.contiguous_format)
    copy = torch._lazy_clone(out)
    _HELD[copy] = out.detach()
    return copy


address: Callable[[Tensor], int] = getattr(torch._C, "_data_address", Tensor.data_ptr)  # leaves lazy copies lazy
_LAZY = hasattr(torch, "_lazy_clone") and hasattr(torch._C, "_data_address")
# Of every output that somebody still has, the cell's own; in one memory as long as nobody has written to it.
_HELD: MutableMapping[Tensor, Tensor] = WeakIdKeyDictionary()


class Held(torch.autograd.Function):
    """For autograd the first tensor; the numbers of the second, which equals it."""

    @staticmethod
    def forward(ctx: Any, state: Tensor, held: Tensor) -> Tensor:
        return held.view_as(held)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class Flat(torch.autograd.Function):
    """Weights as one vector (P,): one node of the graph, where as many flattenings would be as many nodes.

    weights   how many of the parameters are; the others are biases before a batch norm, which takes them out again
              with the batch's mean. Their gradient is exactly zero, where autograd's sum cancels up to its rounding.
    """

    @staticmethod
    def forward(ctx: Any, weights: int, *parameters: Tensor) -> Tensor:
        ctx.parameters, ctx.biases = parameters, sum(bias.numel() for bias in parameters[weights:])
        return torch._C._nn.flatten_dense_tensors(list(parameters[:weights]))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.biases:
            grad = torch.cat([grad, grad.new_zeros(ctx.biases)])  # of the graph, as second derivatives need
        parts = torch._C._nn.unflatten_dense_tensors(grad, list(ctx.parameters))
        wanted = zip(parts, ctx.needs_input_grad[1:], strict=True)
        return None, *(part if want else None for part, want in wanted)
