"""What an accelerated cell carries with it: its match, what was proven, and when the original must answer a call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from torch import nn

from .arguments import OWN, PLAIN, bind, get, leaves
from .calls import misfit, surroundings, unplain
from .code import foreign
from .compute import Request, backend_for, request
from .matching import Match
from .reach import original_type
from .report import KEPT, CellReport
from .sampled import plan_of_call
from .trial import Refused, own, signature_of
from .verify import Proof, prove
from .watch import Watch

OUTCOMES = 64  # kept of a cell whose settings change
PAUSE, SAVED = 32, 8  # calls that earn one more verification of a cell, and how many may be saved up
PACE = 500  # calls after which a cell is asked again what it computes, if that takes no more than
SHARE = 0.01  # of the time


@dataclass
class Outcome:
    """What was settled for a cell with some settings: a proof, or the reason why there is none."""

    settings: str
    proof: Proof | None = None
    fixed: tuple[Any, ...] = ()
    reason: str = ""

    def fits(self, settings: str, arguments: Mapping[str, Any]) -> bool:
        try:
            fixed = self.proof.reading.fixed if self.proof else self.fixed
            return settings == self.settings and all(get(arguments, path) == value for path, value in fixed)
        except (LookupError, TypeError):
            return False


@dataclass
class Attached:
    """watch   None until the first look at the cell
    lost       why the cell was given back to the original for good
    """

    match: Match
    report: CellReport
    backend: str | None
    verify: bool
    watch: Watch | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    credit: int = PAUSE * SAVED
    lost: str = ""
    training: bool | None = None
    calls: int = 0
    asked: float = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """A copy looks for itself."""
        return {**self.__dict__, "watch": None}

    @property
    def watched(self) -> Watch:
        if self.watch is None:
            self.watch = Watch(self.match.module)
        return self.watch

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
        try:
            if trouble := self.watched.trouble(cell):
                return trouble
        except ValueError as error:
            return str(error)
        arguments = {**bind(signature_of(forward), args, kwargs), OWN: own(self.match)}
        if odd := unplain(value for _, value in leaves(arguments)):
            return odd
        outcome = self.outcome(forward, arguments)
        proof = outcome.proof
        if proof is None:
            return outcome.reason
        if self.due() and (changed := self.ask_again(proof, forward)):
            return changed
        plan = plan_of_call(proof.plan, proof.reading, arguments)
        if isinstance(plan, str):
            return plan
        reason = misfit(plan, proof.reading, arguments, self.modes())
        if reason is None:
            state = get(arguments, proof.reading.states[1])
            backend, reason = backend_for(self.backend, state.device, state.dtype)
        return request(plan, proof.reading, arguments, backend) if reason is None else reason

    def modes(self) -> set[bool]:
        """Whether the cell's own modules train, where their code asks."""
        if "training" not in self.watched.reads:
            return set()
        return {m.training for m in self.watched.modules if foreign(original_type(m).__module__)}

    def outcome(self, forward: Callable[..., Any], arguments: Mapping[str, Any]) -> Outcome:
        """What is settled for the settings of now."""
        try:
            settings = self.watched.settings()
        except ValueError as error:
            return Outcome("", reason=str(error))
        for known in reversed(self.outcomes):
            if known.fits(settings, arguments):
                return known
        if self.credit < PAUSE:
            return Outcome(settings, reason=f"its settings change too often: {self.watched.changed}")
        return self.settle(forward, arguments)

    def settle(self, forward: Callable[..., Any], arguments: Mapping[str, Any]) -> Outcome:
        """Verifies the cell as it is set now."""
        fixed = tuple((path, value) for path, value in leaves(arguments) if isinstance(value, PLAIN))
        outcome = Outcome("", fixed=fixed)
        start = perf_counter()
        try:
            watch = self.watched
            outcome.settings = watch.settings()
            rates = list(watch.numbers.values())
            outcome.proof = prove(self.match, forward, arguments, self.backend, self.verify, rates)
            if watch.settings() != outcome.settings:
                raise Refused(f"its forward changes what it reads: {watch.changed}")
            self.report.accept(outcome.proof.difference, any(outcome.proof.plan.skips))
        except (Refused, ValueError) as error:
            outcome.proof, outcome.reason = None, str(error)
            if not any(known.proof for known in self.outcomes):
                self.report.status, self.report.reason = KEPT, str(error)
        self.report.seconds += perf_counter() - start
        self.outcomes = [*self.outcomes[1 - OUTCOMES :], outcome]
        self.credit -= PAUSE
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
