"""One forward and backward of a cell on small random numbers, everything that it yields, and how two of them differ."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from .arguments import OWN, Path, get, is_index, is_state, leaves, replaced
from .borrow import Copy, borrowed
from .matching import Match
from .sampled import sample

Yield = dict[str, Tensor]
Run = Callable[[dict[str, Any]], Tensor]
SIDES = {"normal": (4, 6), "reduce": (8, 12)}
SKIP_BETA = 0.7


class Refused(Exception):  # noqa: N818  (nothing went wrong)
    """The fused cell cannot stand for the model's; the message says why."""


@cache
def signature_of(forward: Callable[..., Any]) -> inspect.Signature:
    """Of an unbound forward, without its self."""
    signature = inspect.signature(forward)
    first, *rest = signature.parameters.values()
    return signature if first.kind == inspect.Parameter.VAR_POSITIONAL else signature.replace(parameters=rest)


def bound(forward: Callable[..., Any], module: nn.Module, arguments: Mapping[str, Any]) -> Any:
    """Calls an unbound forward with arguments by their names."""
    given = {name: value for name, value in arguments.items() if name != OWN}
    call = inspect.BoundArguments(signature_of(forward), given)
    return forward(module, *call.args, **call.kwargs)


def own(match: Match) -> dict[str, list[Tensor]]:
    """Parameters of the cell itself, by name, as they are now."""
    return {name: [getattr(m, key) for m, key in holders] for name, holders in match.own.items()}


@dataclass(frozen=True)
class Setup:
    """How a trial goes: equal ones draw the same numbers, whatever runs.

    skip_beta   where a number of the trial's stands in for that of the call
    sampled     some weights of a row are 0 in training, too; without, in evaluation mode alone
    numbers     where numbers of the trial's stand in for those of the call, of which only some are not 0
    """

    training: bool
    dtype: torch.dtype = torch.float64
    seed: int = 0
    skip_beta: Path | None = None
    sampled: bool = False
    numbers: Path | None = None


def trial(match: Match, arguments: Mapping[str, Any], run: Run, setup: Setup, gradients: bool = True) -> Yield:
    """Output, gradients and buffers, by name. Refused where run gives no tensor or has any other effect.

    run   takes arguments of the same nesting
    """
    generator = torch.Generator().manual_seed(setup.seed)
    copies = Copy(setup.dtype, generator)
    with borrowed(match.module, setup.training, copies) as (tensors, attributes), torch.set_grad_enabled(gradients):
        given = {k: v for k, v in arguments.items() if k != OWN}
        rows = count(0 if setup.training else 1)
        inputs = {p: draw(t, match, given, generator, setup, rows) for p, t in tensors_of(given)}
        passed = {path: t * 1 for path, t in inputs.items()}  # no leaves, so that they may be changed in place
        change: dict[Path, Any] = {**passed, **drawn_numbers(match, given, generator, setup, rows)}
        trying = replaced(given, change if setup.skip_beta is None else {**change, setup.skip_beta: SKIP_BETA})
        out = run({**trying, OWN: own(match)})
        if not isinstance(out, Tensor) or out.dim() != 4:
            raise Refused(f"need one tensor (N, C, H, W) from its forward; got {type(out).__name__}")
        if place := attributes.written():
            raise Refused(f"its forward writes to {place}, which the fused cell would not do")
        if changed := [path for path, t in passed.items() if not torch.equal(t, inputs[path])]:
            raise Refused(f"its forward changes its argument {'.'.join(map(str, changed[0]))} in place")
        buffers = {name: t.detach().clone() for name, t in tensors.items() if not t.requires_grad}
        if not gradients:
            return {"output": out, **buffers}
        named = {f"argument {'.'.join(map(str, path))}": t for path, t in inputs.items() if t.requires_grad}
        named |= {name: t for name, t in tensors.items() if t.requires_grad}
        probe = torch.randn(out.shape, generator=generator).to(out)
        grads = dict(zip(named, torch.autograd.grad(out, list(named.values()), probe, allow_unused=True), strict=True))
        for name, t in named.items():
            if grads[name] is None and name not in tensors:
                grads[name] = torch.zeros_like(t)
        found = {f"gradient of {name}": g for name, g in grads.items() if g is not None}
        return {"output": out.detach(), **found, **buffers}


def tensors_of(arguments: Mapping[str, Any]) -> list[tuple[Path, Tensor]]:
    return [(path, value) for path, value in leaves(arguments) if isinstance(value, Tensor)]


def draw(
    like: Tensor,
    match: Match,
    arguments: Mapping[str, Any],
    generator: torch.Generator,
    setup: Setup,
    rows: Iterator[int],
) -> Tensor:
    """A state of few pixels, indices of operations, or weights: positive and of sum 1, or of which some are 0."""
    widths, dtype = widths_of(match), setup.dtype
    if is_index(like):
        return (torch.rand(like.numel(), generator=generator) * torch.tensor(widths)).to(like).view_as(like)
    if not is_state(like):
        weights = torch.randn(like.shape, generator=generator)
        weights = weights.softmax(-1) if weights.dim() and weights.shape[-1] > 1 else weights.sigmoid()
        if weights.dim() and (setup.sampled or not setup.training):
            flat = weights.dim() == 1 and weights.numel() == sum(widths)
            weights = sample(weights, widths if flat else weights.shape[-1], rows, generator)
        return weights.to(like.device, dtype).requires_grad_()
    smallest = min(t.shape[-1] for _, t in tensors_of(arguments) if is_state(t))
    sides = [side * max(1, round(like.shape[-1] / smallest)) for side in SIDES[match.kind]]
    return torch.randn(2, like.shape[1], *sides, generator=generator).to(like.device, dtype).requires_grad_()


def drawn_numbers(
    match: Match, arguments: Mapping[str, Any], generator: torch.Generator, setup: Setup, rows: Iterator[int]
) -> dict[Path, float]:
    """By their paths, those of setup.numbers."""
    if setup.numbers is None:
        return {}
    paths = [path for path, _ in leaves(get(arguments, setup.numbers), setup.numbers)]
    values = sample(torch.rand(len(paths), generator=generator) + 0.1, widths_of(match), rows, generator)
    return dict(zip(paths, values.tolist(), strict=True))


def widths_of(match: Match) -> list[int]:
    """Candidates of each edge, in the model's order."""
    return [len(edge.candidates) for edge in sorted(match.edges, key=lambda edge: edge.index)]


def told(yielded: Yield) -> Tensor:
    """Two numbers of every floating-point tensor, (2, tensors): enough to tell whether it is the same one again."""
    flat = [t.detach().double().flatten().cpu() for t in yielded.values() if t.is_floating_point()]
    return torch.tensor([[float(t.norm()), float(t @ torch.arange(len(t)).double().cos())] for t in flat]).T


def compare(theirs: Yield, ours: Yield) -> tuple[float, str]:
    """The largest difference relative to the largest value of its tensor, and what differs so."""
    worst, what = 0.0, "output"
    shapes = tuple(theirs["output"].shape), tuple(ours["output"].shape)
    if shapes[0] != shapes[1]:
        return float("inf"), f"need output {shapes[1]}; got {shapes[0]}"
    if apart := theirs.keys() ^ ours.keys():
        return float("inf"), f"{min(apart)} is None in one of the two"
    largest = max((float(t.abs().max()) for name, t in theirs.items() if name.startswith("gradient")), default=0.0)
    for name, t in theirs.items():
        floor = 1e-2 * largest if name.startswith("gradient") else 1e-6
        scale = max(float(t.abs().max()), floor)
        difference = float((t.double() - ours[name].double()).abs().max()) / scale
        if not difference <= worst:  # a NaN is the worst
            worst, what = difference, name
    return worst, f"{what} differs by {worst:.0e} of its largest value"
