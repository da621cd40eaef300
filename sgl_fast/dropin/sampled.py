"""Calls of which the original computes some operations only: those whose weight is not 0, or that an argument names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from .arguments import FROM_WEIGHTS, Reading, flat, get, leaves
from .plan import Choice, Plan

TINY = 1e-6  # no weight nearer to 0 was tried, and somebody's bound may lie there
RULES: dict[str, Callable[[float, Sequence[float]], bool]] = {
    "nonzero": lambda weight, _: weight != 0,
    "positive": lambda weight, _: weight > 0,
    "largest": lambda weight, row: weight == max(row),
    "numbers": lambda number, _: number != 0,
}


def plan_of_call(plan: Plan, reading: Reading, arguments: Mapping[str, Any]) -> Plan | str:
    """The plan of the operations that a call computes, or why the original must answer."""
    if reading.rule == "all":
        return plan
    widths, values = plan.match.widths, numbers_of(get(arguments, reading.by))
    if reading.rule == "named":
        if not all(0 <= i < width for i, width in zip(values, widths, strict=True)):
            return "an index of no operation"
        return plan.sampled(tuple((int(i),) for i in values))
    if not all(value == 0 or abs(value) >= TINY for value in values):
        return "an op weight nearer to 0 than was tried"
    if reading.rule in FROM_WEIGHTS and reading.betas and not flat(get(arguments, reading.betas)).all():
        return "an edge weight of exactly 0"
    computed = RULES[reading.rule]
    choice: Choice = tuple(tuple(i for i, v in enumerate(row) if computed(v, row)) for row in rows_of(values, widths))
    if reading.rule == "largest" and any(len(ops) > 1 for ops in choice):
        return "op weights of which two are the largest"
    return plan.sampled(choice) if all(choice) else "an edge none of whose operations is computed"


def numbers_of(value: Any) -> list[float]:
    """Of a tensor, or of nested containers of tensors and numbers."""
    found = (leaf.flatten().tolist() if isinstance(leaf, Tensor) else [leaf] for _, leaf in leaves(value))
    return [number for numbers in found for number in numbers]


def rows_of(values: Sequence[float], widths: Sequence[int]) -> Iterator[Sequence[float]]:
    start = 0
    for width in widths:
        yield values[start : start + width]
        start += width
