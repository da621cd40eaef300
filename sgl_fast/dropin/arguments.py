"""How a cell's call carries its two states, the mixture of its edges and the rest, whatever the names and nesting."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

Path = tuple[Any, ...]
FROM_WEIGHTS = ("nonzero", "positive", "largest")
OWN = "parameters of the cell itself"
PLAIN = (int, float, bool, str, type(None))


@dataclass(frozen=True)
class Reading:
    """Paths into the arguments; softmax: whether the cell itself takes one of the ops' or the edges' weights.

    fixed      the plain values that were there when this reading was verified
    skip_rate  of an extra skip, where no argument carries it
    rule       which operations the original computes: all; of each edge those whose weight is not 0, is positive or is
               the largest one; the one that an index tensor names; those whose number, beside the weights, is not 0
    by         that tensor, or those numbers
    """

    states: tuple[Path, Path]
    ops: Path
    betas: Path | None = None
    skip_beta: Path | None = None
    ops_softmax: bool = False
    betas_softmax: bool = False
    fixed: tuple[tuple[Path, Any], ...] = ()
    skip_rate: float = 1.0
    rule: str = "all"
    by: Path | None = None


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
    if found and all(map(is_weight, found)) and sum(t.numel() for t in found) == size:
        yield path
        return
    for key, item in items(value) or ():
        yield from groups(item, size, (*path, key))


def numbers_of(value: Any, size: int, path: Path = ()) -> Iterator[Path]:
    """The outermost containers of nothing but that many numbers."""
    inner = items(value)
    if inner and [type(leaf) for _, leaf in leaves(value)] == [float] * size:
        yield path
        return
    for key, item in inner or ():
        yield from numbers_of(item, size, (*path, key))


def is_weight(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() < 4 and value.is_floating_point()


def is_index(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() < 4 and value.dtype in (torch.int32, torch.int64)


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
    indices = [path for path, value in found if is_index(value) and value.numel() == len(widths)]
    for path, value in found:
        known = any(path[: len(group)] == group for group in [*ops, *edges]) or path in [*states, *indices]
        if not known and not isinstance(value, PLAIN):
            raise ValueError(f"argument {'.'.join(map(str, path))}: {type(value).__name__} is not understood")
    plain = tuple((path, value) for path, value in found if isinstance(value, PLAIN))
    mirrors = list(numbers_of(arguments, sum(widths)))

    def mirrored(path: Path) -> bool:
        return any(path[: len(group)] == group for group in mirrors)

    single = [path for path, value in plain if type(value) in (int, float) and not mirrored(path)]
    scalars = single if aux_skip else []
    rules: list[tuple[str, Path | None]] = [("named", path) for path in indices]
    rules += [*(("numbers", path) for path in mirrors), ("all", None), *((rule, None) for rule in FROM_WEIGHTS)]
    skips = [*((path, 1.0) for path in scalars), *((None, rate) for rate in rates)]
    orders = [(states[0], states[1]), (states[1], states[0])]
    return [
        Reading(order, op, beta, skip, soft, beta_soft, fixed(plain, skip, by), rate, rule, by)
        for (rule, by), order, op, beta, (skip, rate), soft, beta_soft in product(
            rules, orders, ops, [*edges, None], skips, BOTH, BOTH
        )
        if beta != op and not (beta is None and beta_soft) and not (soft and rule != "all")
    ]


def fixed(plain: Iterable[tuple[Path, Any]], *others: Path | None) -> tuple[tuple[Path, Any], ...]:
    """The plain values that are none of those."""
    known = [path for path in others if path is not None]
    return tuple((path, value) for path, value in plain if not any(path[: len(one)] == one for one in known))


BOTH = (False, True)


def softmax_rows(weights: Tensor, widths: Sequence[int]) -> Tensor:
    """A softmax over each stretch of a vector."""
    if len(set(widths)) == 1:
        return weights.view(-1, widths[0]).softmax(-1).flatten()
    return torch.cat([row.softmax(0) for row in weights.split(list(widths))])
