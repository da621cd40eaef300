"""How a cell's call carries its two states, the mixture of its edges and the rest, whatever the names and nesting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

Path = tuple[Any, ...]
FROM_WEIGHTS = ("nonzero", "positive", "largest")
OWN = "parameters of the cell itself"
PLAIN = (int, float, complex, bool, str, bytes, type(None))  # told by their values


@dataclass(frozen=True)
class Reading:
    """Paths into the arguments; softmax: whether the cell itself takes one of the ops' or the edges' weights.

    fixed      the plain values that were there when this reading was verified
    skip_rate  of an extra skip, where no argument carries it
    rule       which operations the original computes: all; of each edge those whose weight is not 0, is positive or is
               the largest one; the one that an index tensor names; those whose number, beside the weights, is not 0
    by         those weights, that tensor, or those numbers
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
    by: Path = ()


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


def tensors_of(value: Any) -> list[tuple[Path, Tensor]]:
    return [(path, leaf) for path, leaf in leaves(value) if isinstance(leaf, Tensor)]


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


def groups(value: Any, fits: Callable[[list[Any]], bool], path: Path = ()) -> Iterator[Path]:
    """The outermost parts, containers or leaves, whose leaves fit."""
    if fits([leaf for _, leaf in leaves(value)]):
        yield path
        return
    for key, item in items(value) or ():
        yield from groups(item, fits, (*path, key))


def is_weight(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() < 4 and value.is_floating_point()


def is_index(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() < 4 and value.dtype in (torch.int32, torch.int64)


def is_state(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 4


def within(path: Path, parts: Iterable[Path]) -> bool:
    return any(path[: len(part)] == part for part in parts)


def readings(
    arguments: Mapping[str, Any], widths: Sequence[int], aux_skip: bool, rates: Sequence[float] = (1.0,)
) -> list[Reading]:
    """Every way to read a call, likeliest first. ValueError names the first thing that does not fit.

    rates   of an extra skip, where no argument is it
    """

    def weights(size: int) -> list[Path]:
        return list(groups(arguments, lambda part: all(map(is_weight, part)) and sum(t.numel() for t in part) == size))

    found = list(leaves(arguments))
    states = [path for path, value in found if is_state(value)]
    if len(states) != 2:
        raise ValueError(f"need two states (N, C, H, W) among its arguments; got {len(states)}")
    ops, edges = weights(sum(widths)), weights(len(widths))
    if not ops:
        sizes = [tuple(t.shape) for _, t in tensors_of(arguments) if not is_state(t)]
        raise ValueError(f"need {sum(widths)} op weights of its {len(widths)} edges; got tensors {sizes}")
    indices = [path for path, value in found if is_index(value) and value.numel() == len(widths)]
    numbers = list(groups(arguments, lambda part: [*map(type, part)] == [float] * sum(widths)))
    plain = [(path, value) for path, value in found if isinstance(value, PLAIN)]
    for path, value in found:
        if not within(path, [*states, *ops, *edges, *indices]) and not isinstance(value, PLAIN):
            raise ValueError(f"argument {dotted(path)}: {type(value).__name__} is not understood")
    scalars = [path for path, value in plain if type(value) in (int, float) and not within(path, numbers)]
    skips = [*((path, 1.0) for path in scalars if aux_skip), *((None, rate) for rate in rates)]
    rules: list[tuple[str, Path]] = [*(("named", path) for path in indices), *(("numbers", path) for path in numbers)]
    rules += [("all", ()), *((rule, ()) for rule in FROM_WEIGHTS)]
    orders = [(states[0], states[1]), (states[1], states[0])]
    read = []
    for (rule, by), order, op, beta, (skip, rate), soft, beta_soft in product(
        rules, orders, ops, [*edges, None], skips, (False, True), (False, True)
    ):
        if beta != op and not (beta is None and beta_soft) and not (soft and rule != "all"):
            fixed = tuple(one for one in plain if not within(one[0], [by or op, skip or op]))
            read.append(Reading(order, op, beta, skip, soft, beta_soft, fixed, rate, rule, by or op))
    return read


def dotted(path: Path) -> str:
    return ".".join(map(str, path))


def softmax_rows(weights: Tensor, widths: Sequence[int]) -> Tensor:
    """A softmax over each stretch of a vector."""
    if len(set(widths)) == 1:
        return weights.view(-1, widths[0]).softmax(-1).flatten()
    return torch.cat([row.softmax(0) for row in weights.split(list(widths))])
