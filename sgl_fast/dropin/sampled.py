"""Calls of which the original computes some operations only: those whose weight is not 0, or that an argument names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .arguments import FROM_WEIGHTS, Reading, flat, get, leaves
from .plan import Choice, Plan

TINY = 1e-6  # no weight nearer to 0 was tried, and somebody's bound may lie there
RULES: dict[str, Callable[[Sequence[float]], list[int]]] = {
    "nonzero": lambda row: [i for i, weight in enumerate(row) if weight != 0],
    "positive": lambda row: [i for i, weight in enumerate(row) if weight > 0],
    "largest": lambda row: [i for i, weight in enumerate(row) if weight == max(row)],
}


def plan_of_call(plan: Plan, reading: Reading, arguments: Mapping[str, Any]) -> Plan | str:
    """The plan of the operations that a call computes, or why the original must answer."""
    if reading.rule == "all":
        return plan
    if reading.rule == "named":
        assert reading.by is not None
        choice: Choice = tuple((int(i),) for i in get(arguments, reading.by).flatten().tolist())
        if not all(0 <= i < width for (i,), width in zip(choice, plan.widths, strict=True)):
            return "an index of no operation"
        return plan.sampled(choice)
    with torch.no_grad():
        if reading.rule in FROM_WEIGHTS:
            values = flat(get(arguments, reading.ops)).tolist()
            if reading.betas is not None and not bool(flat(get(arguments, reading.betas)).all()):
                return "an edge weight of exactly 0"
        else:
            assert reading.by is not None
            values = [value for _, value in leaves(get(arguments, reading.by))]
    if not all(value == 0 or abs(value) >= TINY for value in values):
        return "an op weight nearer to 0 than was tried"
    choice = tuple(tuple(RULES.get(reading.rule, RULES["nonzero"])(row)) for row in rows_of(values, plan.widths))
    if reading.rule == "largest" and any(len(ops) > 1 for ops in choice):
        return "op weights of which two are the largest"
    return plan.sampled(choice) if all(choice) else "an edge none of whose operations is computed"


def rows_of(values: Sequence[float], widths: Sequence[int]) -> Iterator[Sequence[float]]:
    start = 0
    for width in widths:
        yield values[start : start + width]
        start += width


def sample(weights: Tensor, sizes: Sequence[int] | int, rows: Iterator[int], generator: torch.Generator) -> Tensor:
    """Weights of which some are 0: all but one of a row, at times an exact 1, or one with a tiny and a negative one."""
    found = []
    pieces = weights.flatten().split(sizes if isinstance(sizes, int) else list(sizes))
    for number, row in zip(rows, pieces, strict=False):
        order, row = torch.randperm(len(row), generator=generator).tolist(), row.clone()
        if len(row) > 1:
            row[order[1:] if number % 2 else order[:1]] = 0.0
        if number % 4 == 1:
            row[order[0]] = 1.0
        if len(row) > 3 and not number % 2:
            row[order[1]], row[order[2]] = 2 * TINY, -row[order[2]]
        found.append(row)
    return torch.cat(found).view_as(weights)
