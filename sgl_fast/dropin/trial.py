"""One forward and backward of a cell on small random numbers, everything that it yields, and how two of them differ."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from .arguments import OWN, Path, is_state, leaves, replaced
from .borrow import Copy, borrowed
from .matching import Match

Yield = dict[str, Tensor]
Run = Callable[[dict[str, Any]], Tensor]
SIDES = {"normal": (4, 6), "reduce": (8, 12)}
SKIP_BETA = 0.7


@cache
def signature_of(forward: Callable[..., Any]) -> inspect.Signature:
    """Of an unbound forward, without its self."""
    signature = inspect.signature(forward)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def bound(forward: Callable[..., Any], module: nn.Module, arguments: Mapping[str, Any]) -> Any:
    """Calls an unbound forward with arguments by their names."""
    given = {name: value for name, value in arguments.items() if name != OWN}
    call = inspect.BoundArguments(signature_of(forward), given)
    return forward(module, *call.args, **call.kwargs)


def own(match: Match) -> dict[str, list[Tensor]]:
    """Parameters of the cell itself, by name, as they are now."""
    return {name: [getattr(m, key) for m, key in holders] for name, holders in match.own.items()}


def trial(
    match: Match,
    arguments: Mapping[str, Any],
    run: Run,
    dtype: torch.dtype,
    training: bool,
    seed: int,
    skip_beta: Path | None = None,
) -> Yield:
    """Output, gradients and buffers, by name; the same numbers for the same seed, whatever runs.

    run         takes arguments of the same nesting
    skip_beta   where a number of the trial's stands in for that of the call
    """
    generator = torch.Generator().manual_seed(seed)
    with borrowed(match.module, training, Copy(dtype, generator)) as tensors:
        given = {k: v for k, v in arguments.items() if k != OWN}
        inputs = {path: draw(t, match, given, generator, dtype, sparse=not training) for path, t in tensors_of(given)}
        passed = {path: t * 1 for path, t in inputs.items()}  # no leaves: a ReLU may work in place
        trying = replaced(given, passed if skip_beta is None else {**passed, skip_beta: SKIP_BETA})
        out = run({**trying, OWN: own(match)})
        if not isinstance(out, Tensor) or out.dim() != 4:
            raise TypeError(f"need one tensor (N, C, H, W) from its forward; got {type(out).__name__}")
        named = {f"argument {'.'.join(map(str, path))}": t for path, t in inputs.items()}
        named |= {name: t for name, t in tensors.items() if t.requires_grad}
        probe = torch.randn(out.shape, generator=generator).to(out)
        grads = torch.autograd.grad(out, list(named.values()), probe, allow_unused=True, materialize_grads=True)
        gradients = {f"gradient of {name}": g for name, g in zip(named, grads, strict=True)}
        buffers = {name: t.detach().clone() for name, t in tensors.items() if not t.requires_grad}
        return {"output": out.detach(), **gradients, **buffers}


def tensors_of(arguments: Mapping[str, Any]) -> list[tuple[Path, Tensor]]:
    return [(path, value) for path, value in leaves(arguments) if isinstance(value, Tensor)]


def draw(
    like: Tensor,
    match: Match,
    arguments: Mapping[str, Any],
    generator: torch.Generator,
    dtype: torch.dtype,
    sparse: bool,
) -> Tensor:
    """A state of few pixels, or positive weights that sum to 1; sparse: one of each row is 0."""
    if not is_state(like):
        weights = torch.randn(like.shape, generator=generator)
        weights = weights.softmax(-1) if weights.dim() and weights.shape[-1] > 1 else weights.sigmoid()
        if sparse and weights.dim() and weights.shape[-1] > 2:
            zeros = torch.randint(weights.shape[-1], (*weights.shape[:-1], 1), generator=generator)
            weights = weights.scatter(-1, zeros, 0.0)
        return weights.to(like.device, dtype).requires_grad_()
    smallest = min(t.shape[-1] for _, t in tensors_of(arguments) if is_state(t))
    sides = [side * max(1, round(like.shape[-1] / smallest)) for side in SIDES[match.kind]]
    return torch.randn(2, like.shape[1], *sides, generator=generator).to(like.device, dtype).requires_grad_()


def compare(theirs: Yield, ours: Yield) -> tuple[float, str]:
    """The largest difference relative to the largest value of its tensor, and what differs so."""
    worst, what = 0.0, "output"
    shapes = tuple(theirs["output"].shape), tuple(ours["output"].shape)
    if shapes[0] != shapes[1]:
        return float("inf"), f"need output {shapes[1]}; got {shapes[0]}"
    largest = max(float(t.abs().max()) for name, t in theirs.items() if name.startswith("gradient"))
    for name, t in theirs.items():
        floor = 1e-2 * largest if name.startswith("gradient") else 1e-6
        scale = max(float(t.abs().max()), floor)
        difference = float((t.double() - ours[name].double()).abs().max()) / scale
        if not difference <= worst:  # a NaN is the worst
            worst, what = difference, name
    return worst, f"{what} differs by {worst:.0e} of its largest value"
