"""What an accelerated cell carries with it: its match, what was proven, and when the original must answer a call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import Any

from torch import nn

from .arguments import PLAIN, get, leaves
from .calls import misfit, surroundings, unplain
from .code import foreign
from .compute import Request, backend_for, request
from .matching import Match
from .reach import original_type
from .report import KEPT, CellReport
from .trial import Refused, arguments_of
from .verify import Proof, prove
from .watch import Watch

OUTCOMES = 64  # kept of a cell whose settings change
PAUSE, SAVED = 32, 8  # calls that earn one more verification of a cell, and how many may be saved up
PACE = 500  # calls after which a cell is asked again what it computes, if that takes no more than
SHARE = 0.01  # of the time


@dataclass
class Outcome:
    """What was settled for a cell with some settings and plain arguments: a proof, or the reason why there is none."""

    settings: str
    fixed: tuple[tuple[Any, Any], ...]
    proof: Proof | None = None
    reason: str = ""

    def fits(self, settings: str, arguments: Mapping[str, Any]) -> bool:
        try:
            return settings == self.settings and all(get(arguments, path) == value for path, value in self.fixed)
        except (LookupError, TypeError):
            return False


@dataclass
class Attached:
    """lost   why the cell was given back to the original for good"""

    match: Match
    report: CellReport
    backend: str | None
    verify: bool
    outcomes: list[Outcome] = field(default_factory=list)
    credit: int = PAUSE * SAVED
    lost: str = ""
    training: bool | None = None
    calls: int = 0
    asked: float = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """A copy looks for itself."""
        return {name: value for name, value in vars(self).items() if name != "watch"}

    @cached_property
    def watch(self) -> Watch:
        """ValueError where what the cell reads cannot be followed."""
        return Watch(self.match.module)

    def request(self, cell: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Request | None:
        """A request for the fused cell, or None where the original must answer: the report says why."""
        made = self.lost or surroundings() or self.make(cell, forward, args, kwargs)
        if isinstance(made, Request):
            self.report.calls += 1
            return made
        self.report.originals += 1
        self.report.last = made
        return None

    def make(self, cell: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Request | str:
        self.credit = min(self.credit + 1, PAUSE * SAVED)
        arguments = arguments_of(self.match, forward, args, kwargs)
        try:
            if trouble := self.watch.trouble(cell) or unplain(value for _, value in leaves(arguments)):
                return trouble
            outcome = self.outcome(self.watch.settings(), forward, arguments)
        except ValueError as error:
            return str(error)
        if (proof := outcome.proof) is None:
            return outcome.reason
        if self.due() and (changed := self.ask_again(proof, forward)):
            return changed
        plan = proof.plan.of_call(proof.reading, arguments)
        if isinstance(plan, str):
            return plan
        reason = misfit(plan, proof.reading, arguments, self.modes())
        if reason is None:
            state = get(arguments, proof.reading.states[1])
            backend, reason = backend_for(self.backend, state.device, state.dtype)
        return request(plan, proof.reading, arguments, backend) if reason is None else reason

    def modes(self) -> set[bool]:
        """Whether the cell's own modules train, where their code asks."""
        if "training" not in self.watch.reads:
            return set()
        return {m.training for m in self.watch.modules if foreign(original_type(m).__module__)}

    def outcome(self, settings: str, forward: Callable[..., Any], arguments: Mapping[str, Any]) -> Outcome:
        """What is settled for these settings."""
        for known in reversed(self.outcomes):
            if known.fits(settings, arguments):
                return known
        if self.credit < PAUSE:
            return Outcome(settings, (), reason=f"its settings change too often: {self.watch.changed}")
        return self.settle(forward, arguments)

    def settle(self, forward: Callable[..., Any], arguments: Mapping[str, Any]) -> Outcome:
        """Verifies the cell as it is set now."""
        start = perf_counter()
        outcome = Outcome("", tuple((path, value) for path, value in leaves(arguments) if isinstance(value, PLAIN)))
        try:
            outcome.settings = self.watch.settings()
            rates = list(self.watch.numbers.values())
            proof = prove(self.match, forward, arguments, self.backend, self.verify, rates)
            if self.watch.settings() != outcome.settings:
                raise Refused(f"its forward changes what it reads: {self.watch.changed}")
            outcome.proof, outcome.fixed = proof, proof.reading.fixed
        except (Refused, ValueError) as error:
            outcome.reason = str(error)
        self.report.seconds += perf_counter() - start
        self.credit -= PAUSE
        return self.keep(outcome)

    def keep(self, outcome: Outcome) -> Outcome:
        if outcome.proof is not None:
            self.report.accept(outcome.proof.difference, any(outcome.proof.plan.skips))
        elif not any(known.proof for known in self.outcomes):
            self.report.status, self.report.reason = KEPT, outcome.reason
        self.outcomes = [*self.outcomes[1 - OUTCOMES :], outcome]
        return outcome

    def due(self) -> bool:
        """Whether to ask the cell again: after a switch of train() and eval(), and at a pace that is not felt."""
        self.calls += 1
        switched, self.training = self.training not in (None, self.match.module.training), self.match.module.training
        if not self.verify or not (switched or self.calls >= PACE):
            return False
        if switched and self.credit >= 2 * PAUSE:
            self.credit -= PAUSE
            return True
        return perf_counter() - self.asked > self.report.seconds_again / SHARE

    def ask_again(self, proof: Proof, forward: Callable[..., Any]) -> str | None:
        """Gives the cell back where it computes something else by now, though nothing that is watched has changed."""
        start = perf_counter()
        changed = proof.again(self.match, forward, self.match.module.training)
        self.calls, self.asked = 0, perf_counter()
        self.report.seconds_again = self.asked - start
        self.report.seconds += self.report.seconds_again
        if changed:
            self.lost = f"given back: it changed unseen since it was verified ({changed})"
            self.report.status, self.report.reason = KEPT, self.lost
            warnings.warn(f"{self.report.path}: {self.lost}", stacklevel=5)
        return self.lost or None
