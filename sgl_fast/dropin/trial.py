"""One forward and backward of a cell on small random numbers, everything that it yields, and how two of them differ."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from .arguments import OWN, Path, dotted, get, is_index, is_state, leaves, replaced, tensors_of
from .borrow import borrowed
from .matching import Match
from .plan import TINY

Yield = dict[str, Tensor]
Run = Callable[[dict[str, Any]], Tensor]
SIDES = {"normal": (4, 6), "reduce": (8, 12)}
SKIP_BETA = 0.7


class Refused(Exception):  # noqa: N818  (nothing went wrong)
    """The fused cell cannot stand for the model's; the message says why."""


@cache
def signature_of(forward: Callable[..., Any]) -> inspect.Signature:
    """Of an unbound forward, without its self."""
    return inspect.signature(MethodType(forward, object()))


def arguments_of(match: Match, forward: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Every argument of a call by its name, defaults and the cell's own parameters, too. TypeError as a call's."""
    bound = signature_of(forward).bind(*args, **kwargs)
    bound.apply_defaults()
    return {**bound.arguments, OWN: own(match)}


def bound(forward: Callable[..., Any], module: nn.Module, arguments: Mapping[str, Any]) -> Any:
    """Calls an unbound forward with arguments by their names."""
    call = inspect.BoundArguments(signature_of(forward), dict(arguments))
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
    gradients   whether any are asked for
    """

    training: bool
    dtype: torch.dtype = torch.float64
    seed: int = 0
    skip_beta: Path | None = None
    sampled: bool = False
    numbers: Path | None = None
    gradients: bool = True


class Draw:
    """Numbers of a trial that stand in for those of a call."""

    def __init__(self, match: Match, given: Mapping[str, Any], setup: Setup, generator: torch.Generator) -> None:
        self.widths, self.sides = match.widths, SIDES[match.kind]
        self.given, self.setup, self.generator = given, setup, generator
        self.smallest = min(t.shape[-1] for _, t in tensors_of(given) if is_state(t))
        self.rows = count(0 if setup.training else 1)

    def tensor(self, like: Tensor) -> Tensor:
        """A state of few pixels, indices of operations, or weights: positive and of sum 1, or of which some are 0."""
        if is_index(like):
            places = torch.rand(like.numel(), generator=self.generator) * torch.tensor(self.widths)
            return places.to(like).view_as(like)
        if is_state(like):
            sides = [side * max(1, round(like.shape[-1] / self.smallest)) for side in self.sides]
            drawn = torch.randn(2, like.shape[1], *sides, generator=self.generator)
        else:
            drawn = torch.randn(like.shape, generator=self.generator)
            drawn = drawn.softmax(-1) if drawn.dim() and drawn.shape[-1] > 1 else drawn.sigmoid()
            if drawn.dim() and (self.setup.sampled or not self.setup.training):
                drawn = self.thinned(drawn)
        return drawn.to(like.device, self.setup.dtype).requires_grad_()

    def numbers(self) -> dict[Path, float]:
        """By their paths, those that stand in for plain ones."""
        drawn = {} if self.setup.skip_beta is None else {self.setup.skip_beta: SKIP_BETA}
        if self.setup.numbers is not None:
            paths = [path for path, _ in leaves(get(self.given, self.setup.numbers), self.setup.numbers)]
            values = self.thinned(torch.rand(len(paths), generator=self.generator) + 0.1)
            drawn |= zip(paths, values.tolist(), strict=True)
        return drawn

    def thinned(self, weights: Tensor) -> Tensor:
        """Some are 0: all but one of a row, at times an exact 1, or one with a tiny and a negative one."""
        whole = weights.dim() == 1 and weights.numel() == sum(self.widths)
        found = []
        for number, row in zip(
            self.rows, weights.flatten().split(self.widths if whole else weights.shape[-1]), strict=False
        ):
            order, row = torch.randperm(len(row), generator=self.generator).tolist(), row.clone()
            if len(row) > 1:
                row[order[1:] if number % 2 else order[:1]] = 0.0
            if number % 4 == 1:
                row[order[0]] = 1.0
            if len(row) > 3 and not number % 2:
                row[order[1]], row[order[2]] = 2 * TINY, -row[order[2]]
            found.append(row)
        return torch.cat(found).view_as(weights)


def trial(match: Match, given: Mapping[str, Any], run: Run, setup: Setup) -> Yield:
    """Output, gradients and buffers, by name. Refused where run gives no tensor or has any other effect.

    given   the arguments of a call, without the cell's own parameters
    run     takes arguments of the same nesting, and those parameters
    """
    generator = torch.Generator().manual_seed(setup.seed)
    borrowing = borrowed(match.module, setup.training, setup.dtype, generator)
    with borrowing as (tensors, before), torch.set_grad_enabled(setup.gradients):
        draw = Draw(match, given, setup, generator)
        inputs = {path: draw.tensor(t) for path, t in tensors_of(given)}
        passed = {path: t * 1 for path, t in inputs.items()}  # no leaves, so that they may be changed in place
        out = run({**replaced(given, {**passed, **draw.numbers()}), OWN: own(match)})
        if not isinstance(out, Tensor) or out.dim() != 4:
            raise Refused(f"need one tensor (N, C, H, W) from its forward; got {type(out).__name__}")
        if place := before.written():
            raise Refused(f"its forward writes to {place}, which the fused cell would not do")
        if changed := [path for path, t in passed.items() if not torch.equal(t, inputs[path])]:
            raise Refused(f"its forward changes its argument {dotted(changed[0])} in place")
        buffers = {name: t.detach().clone() for name, t in tensors.items() if not t.requires_grad}
        if not setup.gradients:
            return {"output": out, **buffers}
        named = {f"argument {dotted(path)}": t for path, t in inputs.items() if t.requires_grad}
        named |= {name: t for name, t in tensors.items() if t.requires_grad}
        probe = torch.randn(out.shape, generator=generator).to(out)
        found = zip(named, torch.autograd.grad(out, list(named.values()), probe, allow_unused=True), strict=True)
        grads = {
            f"gradient of {name}": torch.zeros_like(named[name]) if grad is None else grad
            for name, grad in found
            if grad is not None or name not in tensors
        }
        return {"output": out.detach(), **grads, **buffers}


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
