"""Proof, on small random inputs, that the fused cell computes what the model's own cell does, gradients too.

The meaning is checked in float64 with the reference, where a difference of rounding can neither hide nor feign one of
meaning; the backend is then checked against that in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .. import reference
from ..layout import Cell
from .arguments import Path, Reading, get, readings
from .borrow import no_trace
from .compute import MixedCell, backend_for, compute, fused, request
from .matching import Match
from .plan import Plan, make_plan
from .trial import Yield, bound, compare, trial

MEANING, ROUNDING = 1e-7, 1e-3
SEEDS = (0, 1, 2)

_PROVEN: set[tuple[Cell, str]] = set()  # what a backend was seen to compute rightly in this process

Found = list[tuple[Plan, Reading]]


class Refused(Exception):  # noqa: N818  (nothing went wrong)
    """The fused cell cannot stand for the model's; the message says why."""


def settle(
    match: Match, forward: Callable[..., Any], arguments: Mapping[str, Any], backend: str | None, verify: bool
) -> tuple[Plan, Reading, float | None]:
    """The plan and the reading of a cell, and the largest relative difference in float64. Raises Refused.

    forward     the cell's own, not bound
    arguments   of one real call: their nesting and shapes count, not their numbers
    """
    try:
        found = [
            (make_plan(match, channels_of(match, arguments, reading), aux_skip), reading)
            for aux_skip in aux_choices(match)
            for reading in readings(arguments, [len(e.candidates) for e in match.edges], aux_skip)
        ]
    except ValueError as error:
        raise Refused(str(error)) from error
    if not verify:
        return *found[0], None
    state: Tensor = get(arguments, found[0][1].states[1])
    with no_trace(state.device):
        verification = Verification(match, forward, arguments)
        plan, reading, difference = verification.meaning(found)
        verification.rounding(plan, reading, *backend_for(backend, state.device, torch.float32))
    return plan, reading, difference


def aux_choices(match: Match) -> Sequence[bool]:
    """Whether to read an extra skip on every edge: an identity leaves no trace in the tree."""
    if any(edge.aux for edge in match.edges):
        return (True,)
    return (False, True) if match.kind == "normal" else (False,)


def channels_of(match: Match, arguments: Mapping[str, Any], reading: Reading) -> int:
    """Channels of the states after preprocessing."""
    if match.preprocess:
        return int(match.preprocess.channels or 0)
    sizes = [m.out_channels for m in match.beside[1].modules() if isinstance(m, nn.Conv2d)] if match.beside else []
    return int(sizes[-1] if sizes else get(arguments, reading.states[1]).shape[1])


class Verification:
    """Runs the model's cell and the fused one on the same numbers."""

    def __init__(self, match: Match, forward: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        self.match, self.arguments = match, arguments
        self.forward = partial(bound, forward, match.module)
        self._theirs: dict[tuple[bool, int, Path | None], Yield] = {}

    def meaning(self, found: Found) -> tuple[Plan, Reading, float]:
        """The first plan and reading under which nothing differs."""
        failures = []
        for plan, reading in found:
            plan = replace(plan, kept=self.kept(plan, reading))
            worst, what = max(self.differences(plan, reading, reference.mixed_cell, torch.float64))
            if worst <= MEANING:
                return plan, reading, worst
            failures.append(what)
        raise Refused(f"verification: {failures[0]}")

    def rounding(self, plan: Plan, reading: Reading, backend: str, unfit: str | None) -> None:
        """Several draws, since in float32 an element within rounding of a kink may fall on its other side."""
        if unfit or backend == "reference" or (plan.cell, backend) in _PROVEN:
            return
        for seed in SEEDS:
            worst, what = max(self.differences(plan, reading, fused(backend), torch.float32, seed))
            if worst <= ROUNDING:
                _PROVEN.add((plan.cell, backend))
                return
        raise Refused(f"verification of backend {backend}: {what}")

    def differences(
        self, plan: Plan, reading: Reading, mixed_cell: MixedCell, dtype: torch.dtype, seed: int = 0
    ) -> list[tuple[float, str]]:
        """In training and evaluation mode; an error counts as infinitely different."""

        def run(arguments: dict[str, Any]) -> Tensor:
            return compute([request(plan, reading, arguments, "reference")], mixed_cell)[0]

        found = []
        for training in (True, False):
            theirs = self.theirs(training, seed, reading.skip_beta)
            try:
                ours = trial(self.match, self.arguments, run, dtype, training, seed, reading.skip_beta)
            except Exception as error:  # a reading that does not fit fails in any way, and is then no reading
                return [(float("inf"), f"{type(error).__name__}: {str(error):.120}")]
            worst, what = compare(theirs, ours)
            found.append((worst, f"{what} ({'training' if training else 'evaluation'} mode)"))
            if not worst <= ROUNDING:
                break
        return found

    def theirs(self, training: bool, seed: int, skip_beta: Path | None) -> Yield:
        key = training, seed, skip_beta
        if key not in self._theirs:
            try:
                self._theirs[key] = trial(self.match, self.arguments, self.forward, torch.float64, *key)
            except Exception as error:  # a stranger's code: whatever it raises is the reason
                raise Refused(f"its own forward on a trial: {type(error).__name__}: {str(error):.120}") from error
        return self._theirs[key]

    def kept(self, plan: Plan, reading: Reading) -> int:
        """Nodes whose states the cell returns."""
        out = self.theirs(True, SEEDS[0], reading.skip_beta)["output"]
        nodes, rest = divmod(out.shape[1], plan.cell.channels)
        return plan.cell.nodes if rest else min(nodes, plan.cell.nodes)
