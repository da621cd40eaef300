"""Proof, on small random inputs, that the fused cell computes what the model's own cell does, gradients too.

The meaning is checked in float64 with the reference, where a difference of rounding can neither hide nor feign one of
meaning; the backend is then checked against that in float32.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..ops.mixed_cell import mixed_cell
from ..reference import mixed_cell as reference
from ..reference.cell import Cell
from .arguments import FROM_WEIGHTS, OWN, Reading, get, readings, replaced, tensors_of
from .borrow import apart
from .compute import MixedCell, backend_for, compute, request
from .matching import Match, arrangements, shape_problem
from .plan import Plan
from .trial import Refused, Setup, Yield, bound, compare, told, trial

MEANING, ROUNDING, AGAIN = 1e-7, 1e-3, 1e-6
SEEDS = (0, 1, 2)
RATES = 4  # numbers that may be the rate of an extra skip, at most

_PROVEN: set[tuple[Cell, str, bool]] = set()  # what a backend was seen to compute rightly in this process

Found = list[tuple[Plan, Reading]]
Forward = Callable[..., Any]


@dataclass
class Proof:
    """What was proven of a cell, and what it yielded then, so that it can be asked again.

    difference   the largest one in float64, relative; None where nothing was compared
    shapes       of the trial's arguments
    """

    plan: Plan
    reading: Reading
    difference: float | None = None
    shapes: Mapping[str, Any] = field(default_factory=dict)
    yielded: dict[Setup, Tensor] = field(default_factory=dict)

    def again(self, match: Match, forward: Forward, training: bool) -> str | None:
        """What the model's cell yields otherwise than it did, in the mode; None where nothing."""
        setup = next((s for s in self.yielded if s.training == training), None)
        if setup is None:
            return None
        device = next(iter(match.module.parameters())).device

        def run() -> str | None:
            try:
                now = told(Verification(match, forward, on(device, self.shapes)).theirs(setup))
            except Refused as refused:
                return str(refused)
            before = self.yielded[setup]
            if now.shape != before.shape:
                return "its parameters"
            differ = (now - before).abs() > AGAIN * (before[0] + 1e-3 * before[0].max())
            return "what it computes" if bool(differ.any()) else None

        return apart(run, device)


def prove(
    match: Match,
    forward: Forward,
    arguments: Mapping[str, Any],
    backend: str | None,
    verify: bool,
    rates: Sequence[float] = (),
) -> Proof:
    """How the fused cell computes a cell. Raises Refused.

    forward     the cell's own, not bound
    arguments   of one real call: their nesting and shapes count, not their numbers
    rates       numbers that the cell reads, one of which may be the rate of its extra skip
    """
    try:
        found = list(guesses(match, arguments, rates))
    except ValueError as error:
        raise Refused(str(error)) from error
    if not verify:
        return Proof(*found[0])
    state: Tensor = get(arguments, found[0][1].states[1])

    def run() -> Proof:
        given = {name: value for name, value in arguments.items() if name != OWN}
        verification = Verification(match, forward, given)
        proof = verification.meaning(found)
        verification.rounding(proof, *backend_for(backend, state.device, torch.float32))
        return proof

    return apart(run, state.device)


def guesses(match: Match, arguments: Mapping[str, Any], rates: Sequence[float]) -> Iterator[tuple[Plan, Reading]]:
    """Every plan and reading that fits the shapes, likeliest first. ValueError where there is none."""
    others = sorted({rate for rate in rates if rate not in (0.0, 1.0)})[:RATES]
    if any(edge.aux for edge in match.edges):
        choices: tuple[bool, ...] = (True,)
    else:  # an identity leaves no trace in the tree
        choices = (False, True) if match.kind == "normal" else (False,)
    for one in arrangements(match):
        plan_of = cache(partial(Plan, one))
        for aux_skip in choices if shape_problem(one) is None else ():
            for reading in readings(arguments, match.widths, aux_skip, [1.0, *others, 0.0] if aux_skip else [1.0]):
                yield plan_of(channels_of(one, arguments, reading), aux_skip), reading


def channels_of(match: Match, arguments: Mapping[str, Any], reading: Reading) -> int:
    """Channels of the states after preprocessing."""
    if match.preprocess:
        return int(match.preprocess.channels or 0)
    sizes = [m.out_channels for m in match.beside[1].modules() if isinstance(m, nn.Conv2d)] if match.beside else []
    return int(sizes[-1] if sizes else get(arguments, reading.states[1]).shape[1])


def on(device: torch.device, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors of the same shapes there, which take no memory; everything else as it is."""
    shapes = {p: torch.zeros((), dtype=t.dtype, device=device).expand(t.shape) for p, t in tensors_of(arguments)}
    return dict(replaced(arguments, shapes))


def setup_of(reading: Reading) -> Setup:
    """How a reading is tried."""
    numbers = reading.by if reading.rule == "numbers" else None
    return Setup(True, skip_beta=reading.skip_beta, sampled=reading.rule in FROM_WEIGHTS, numbers=numbers)


class Verification:
    """Runs the model's cell and the fused one on the same numbers.

    given   arguments of a call, without the cell's own parameters
    """

    def __init__(self, match: Match, forward: Forward, given: Mapping[str, Any]) -> None:
        self.match, self.forward, self.given = match, partial(bound, forward, match.module), given
        self.theirs = cache(self.run_theirs)

    def meaning(self, found: Found) -> Proof:
        """The first plan and reading under which nothing differs."""
        failures = []
        self.settled(Setup(True))
        names = {f"gradient of {name}" for name, _ in self.match.module.named_parameters()}
        for plan, reading in sorted(found, key=lambda one: one[1].rule in FROM_WEIGHTS):
            setup = setup_of(reading)
            try:
                theirs = self.theirs(setup)
                if setup.sampled and theirs.keys() >= names:
                    break  # weights of 0 leave no parameter without a gradient
                nodes, rest = divmod(theirs["output"].shape[1], plan.cell.channels)
                plan = replace(plan, kept=plan.cell.nodes if rest else min(nodes, plan.cell.nodes))
                worst, what = max(self.differences(plan, reading, reference.mixed_cell, setup))
            except Refused as error:
                if setup == Setup(True):
                    raise
                worst, what = float("inf"), str(error)  # those numbers are no rate of a skip, or no weights
            if worst <= MEANING:
                told_of = {one: told(self.theirs(one)) for one in (setup, replace(setup, training=False))}
                return Proof(plan, reading, worst, on(torch.device("meta"), self.given), told_of)
            failures.append((worst, what))
        said = next((what for worst, what in failures if worst < float("inf")), failures[0][1])
        raise Refused(f"verification: {said}")

    def settled(self, setup: Setup) -> None:
        """Refused where the model's cell draws random numbers: twice the same call is not the same then."""
        first = self.theirs(setup)["output"]
        for generator in (torch.manual_seed, random.seed, np.random.seed):
            generator(setup.seed + 1)
        if not torch.allclose(self.theirs(replace(setup, gradients=False))["output"], first):
            raise Refused("its forward draws random numbers (drop path? noise?); at a rate of 0 it can be taken")

    def rounding(self, proof: Proof, backend: str, unfit: str | None) -> None:
        """Several draws, since in float32 an element within rounding of a kink may fall on its other side."""
        plan, reading = proof.plan, proof.reading
        proven = plan.cell, backend, reading.rule == "all"
        if unfit or backend == "reference" or proven in _PROVEN:
            return
        for seed in SEEDS:
            setup = replace(setup_of(reading), dtype=torch.float32, seed=seed)
            worst, what = max(self.differences(plan, reading, partial(mixed_cell, backend=backend), setup))
            if worst <= ROUNDING:
                _PROVEN.add(proven)
                return
        raise Refused(f"verification of backend {backend}: {what}")

    def differences(self, plan: Plan, reading: Reading, cell: MixedCell, setup: Setup) -> list[tuple[float, str]]:
        """In training and evaluation mode; an error counts as infinitely different."""

        def run(arguments: dict[str, Any]) -> Tensor:
            computed = plan.of_call(reading, arguments)
            if isinstance(computed, str):
                raise Refused(computed)
            return compute([request(computed, reading, arguments, "reference")], cell)[0]

        found = []
        for training in (True, False):
            gradients = training or not (plan.tracked and plan.biased)  # with those the original answers
            setup = replace(setup, training=training, gradients=gradients)
            theirs = self.theirs(replace(setup, dtype=torch.float64))
            try:
                ours = trial(self.match, self.given, run, setup)
            except Exception as error:  # a reading that does not fit fails in any way, and is then no reading
                return [(float("inf"), f"{type(error).__name__}: {str(error):.120}")]
            worst, what = compare(theirs, ours)
            found.append((worst, f"{what} ({'training' if training else 'evaluation'} mode)"))
            if not worst <= ROUNDING:
                break
        return found

    def run_theirs(self, setup: Setup) -> Yield:
        try:
            return trial(self.match, self.given, self.forward, setup)
        except Refused:
            raise
        except Exception as error:  # a stranger's code: whatever it raises is the reason
            raise Refused(f"its own forward on a trial: {type(error).__name__}: {str(error):.120}") from error
