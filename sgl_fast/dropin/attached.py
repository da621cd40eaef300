"""What an accelerated cell carries with it: its match, what was settled, and when the original must answer a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .arguments import OWN, PLAIN, Reading, bind, get, leaves
from .compute import Request, backend_for, request
from .matching import Match
from .plan import Plan
from .report import ACCELERATED, KEPT, CellReport
from .trial import own, signature_of
from .verify import Refused, settle
from .watch import Watch

OUTCOMES = 64  # kept of a cell whose settings change
PAUSE, SAVED = 32, 8  # calls that earn one more verification of a cell, and how many may be saved up


@dataclass
class Outcome:
    """What was settled for a cell with some settings; a plan and a reading, or the reason why not."""

    settings: tuple[Any, ...]
    plan: Plan | None = None
    reading: Reading | None = None
    fixed: tuple[Any, ...] = ()
    reason: str = ""

    def fits(self, settings: tuple[Any, ...], arguments: Mapping[str, Any]) -> bool:
        try:
            fixed = self.reading.fixed if self.reading else self.fixed
            return settings == self.settings and all(get(arguments, path) == value for path, value in fixed)
        except (LookupError, TypeError):
            return False


@dataclass
class Attached:
    """watch   None until the first look at the cell"""

    match: Match
    report: CellReport
    backend: str | None
    verify: bool
    watch: Watch | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    credit: int = PAUSE * SAVED

    @property
    def watched(self) -> Watch:
        if self.watch is None:
            self.watch = Watch(self.match.module)
        return self.watch

    def request(self, cell: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Request | None:
        """A request for the fused cell, or None where the original must answer: the report says why."""
        self.credit = min(self.credit + 1, PAUSE * SAVED)
        arguments = {**bind(signature_of(forward), args, kwargs), OWN: own(self.match)}
        made = self.watched.trouble(cell) or self.make(forward, arguments)
        if isinstance(made, Request):
            return made
        self.report.originals += 1
        self.report.last = made
        return None

    def make(self, forward: Callable[..., Any], arguments: Mapping[str, Any]) -> Request | str:
        outcome = self.outcome(forward, arguments)
        if outcome.plan is None or outcome.reading is None:
            return outcome.reason
        plan, reading = outcome.plan, outcome.reading
        reason = misfit(plan, reading, arguments)
        if reason is None:
            state = get(arguments, reading.states[1])
            backend, reason = backend_for(self.backend, state.device, state.dtype)
        return request(plan, reading, arguments, backend) if reason is None else reason

    def outcome(self, forward: Callable[..., Any], arguments: Mapping[str, Any]) -> Outcome:
        """What is settled for the settings of now."""
        settings = self.watched.settings()
        for known in reversed(self.outcomes):
            if known.fits(settings, arguments):
                return known
        if self.credit < PAUSE:
            return Outcome(settings, reason="its settings change too often")
        return self.settle(forward, arguments)

    def settle(self, forward: Callable[..., Any], arguments: Mapping[str, Any]) -> Outcome:
        """Verifies the cell as it is set now."""
        fixed = tuple((path, value) for path, value in leaves(arguments) if isinstance(value, PLAIN))
        outcome = Outcome(self.watched.settings(), fixed=fixed)
        try:
            plan, reading, difference = settle(self.match, forward, arguments, self.backend, self.verify)
            outcome.plan, outcome.reading = plan, reading
            self.report.status, self.report.reason, self.report.verified = ACCELERATED, "", difference
        except Refused as error:
            outcome.reason = str(error)
            if not any(known.plan for known in self.outcomes):
                self.report.status, self.report.reason = KEPT, str(error)
        self.outcomes = [*self.outcomes[1 - OUTCOMES :], outcome]
        self.credit -= PAUSE
        return outcome


def misfit(plan: Plan, reading: Reading, arguments: Mapping[str, Any]) -> str | None:
    """Why no fused cell can take a call that is understood."""
    s0, s1 = (get(arguments, path) for path in reading.states)
    if not all(isinstance(s, Tensor) and s.dim() == 4 for s in (s0, s1)):
        return "states that are no (N, C, H, W)"
    if torch.is_autocast_enabled(s1.device.type):
        return "autocast"
    dtypes = {t.dtype for t in (s0, s1, *plan.parameters())}
    if len(dtypes) > 1:
        return f"states and weights of several dtypes: {', '.join(sorted(map(str, dtypes)))}"
    if len({norm.training for norm in plan.norms}) > 1:
        return "some of its batch norms train, others do not"
    rates = {skip.p if skip is not None and skip.training else 0.0 for skip in plan.skips}
    if len(rates) > 1 or 1.0 in rates:
        return f"dropout of its skips: {sorted(rates)}"
    if plan.norms and plan.norms[0].training and s1[:, 0].numel() <= (4 if plan.cell.kind == "reduce" else 1):
        return "one value a channel"
    return wrong_sizes(plan, s0, s1)


def wrong_sizes(plan: Plan, s0: Tensor, s1: Tensor) -> str | None:
    if plan.preprocess:
        return None
    factor = 2 if plan.cell.shrink0 else 1
    even = plan.cell.kind == "normal" or not (s1.shape[2] % 2 or s1.shape[3] % 2)
    if not even or s0.shape[2:] != torch.Size(factor * n for n in s1.shape[2:]):
        return f"sizes {tuple(s0.shape[2:])} and {tuple(s1.shape[2:])} of its states"
    return None
