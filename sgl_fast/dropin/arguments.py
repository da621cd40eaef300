"""How a cell's call carries its two states, the mixture of its edges and the rest, whatever the names and nesting."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

Path = tuple[Any, ...]
OWN = "parameters of the cell itself"
PLAIN = (int, float, bool, str, type(None))


@dataclass(frozen=True)
class Reading:
    """Paths into the arguments; softmax: whether the cell itself takes one of the ops' or the edges' weights.

    fixed      the plain values that were there when this reading was verified
    skip_rate  of an extra skip, where no argument carries it
    nonzero    the original skips an operation whose weight is exactly 0
    """

    states: tuple[Path, Path]
    ops: Path
    betas: Path | None = None
    skip_beta: Path | None = None
    ops_softmax: bool = False
    betas_softmax: bool = False
    fixed: tuple[tuple[Path, Any], ...] = ()
    skip_rate: float = 1.0
    nonzero: bool = False


def bind(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Every argument by its name, defaults too. TypeError as a call's."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def items(value: Any) -> list[tuple[Any, Any]] | None:
    """Keys and values of a container, None of anything else."""
    if isinstance(value, (Mapping, nn.ParameterDict)):
        return list(value.items())
    if isinstance(value, (list, tuple, nn.ParameterList)):
        return list(enumerate(value))
    return None


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    inner = items(value)
    if inner is None:
        yield path, value
    else:
        for key, item in inner:
            yield from leaves(item, (*path, key))


def get(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def flat(value: Any) -> Tensor:
    """A tensor or nested containers of tensors as one vector, row after row."""
    if isinstance(value, Tensor):
        return value.reshape(-1)
    return torch.cat([item.reshape(-1) for _, item in leaves(value)])


def replaced(value: Any, change: Mapping[Path, Any], path: Path = ()) -> Any:
    """A copy of nested containers with other leaves at some paths."""
    inner = items(value)
    if inner is None:
        return change.get(path, value)
    new = {key: replaced(item, change, (*path, key)) for key, item in inner}
    if isinstance(value, (Mapping, nn.ParameterDict)):
        return new
    return tuple(new.values()) if isinstance(value, tuple) else list(new.values())


def groups(value: Any, size: int, path: Path = ()) -> Iterator[Path]:
    """The outermost tensors, or containers of nothing but tensors, that hold `size` numbers."""
    found = [leaf for _, leaf in leaves(value)]
    if found and all(isinstance(t, Tensor) and t.dim() < 4 for t in found) and sum(t.numel() for t in found) == size:
        yield path
        return
    for key, item in items(value) or ():
        yield from groups(item, size, (*path, key))


def is_state(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 4


def readings(
    arguments: Mapping[str, Any], widths: Sequence[int], aux_skip: bool, rates: Sequence[float] = (1.0,)
) -> list[Reading]:
    """Every way to read a call, likeliest first. ValueError names the first thing that does not fit.

    rates   of an extra skip, where no argument is it
    """
    found = list(leaves(arguments))
    states = [path for path, value in found if is_state(value)]
    if len(states) != 2:
        raise ValueError(f"need two states (N, C, H, W) among its arguments; got {len(states)}")
    ops = list(groups(arguments, sum(widths)))
    if not ops:
        sizes = [tuple(v.shape) for _, v in found if isinstance(v, Tensor) and not is_state(v)]
        raise ValueError(f"need {sum(widths)} op weights of its {len(widths)} edges; got tensors {sizes}")
    edges = [*groups(arguments, len(widths))]
    for path, value in found:
        known = any(path[: len(group)] == group for group in [*ops, *edges]) or path in states
        if not known and not isinstance(value, PLAIN):
            raise ValueError(f"argument {'.'.join(map(str, path))}: {type(value).__name__} is not understood")
    plain = tuple((path, value) for path, value in found if isinstance(value, PLAIN))
    scalars = [path for path, value in plain if type(value) in (int, float)] if aux_skip else []
    skips = [*((path, 1.0) for path in scalars), *((None, rate) for rate in rates)]
    orders = [(states[0], states[1]), (states[1], states[0])]
    return [
        Reading(order, op, beta, skip, soft, beta_soft, tuple(p for p in plain if p[0] != skip), rate)
        for order, op, beta, (skip, rate), soft, beta_soft in product(orders, ops, [*edges, None], skips, BOTH, BOTH)
        if beta != op and not (beta is None and beta_soft)
    ]


BOTH = (False, True)


def softmax_rows(weights: Tensor, widths: Sequence[int]) -> Tensor:
    """A softmax over each stretch of a vector."""
    if len(set(widths)) == 1:
        return weights.view(-1, widths[0]).softmax(-1).flatten()
    return torch.cat([row.softmax(0) for row in weights.split(list(widths))])
