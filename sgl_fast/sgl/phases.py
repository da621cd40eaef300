"""The kinds of steps that a search has, as data. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Phase:
    """What one step moves.

    learner     "w": W, and V where it is not frozen; "v": V alone, without pseudo-labels
    architect   whose architecture the learner has, and moves: "architect" (A) or "architect_v" (B)
    frozen      the teachers are V and B as they are
    arch_first  A moves first, by its own first-order term at the current W, as in the released code
    options     of the step, in place of the search's
    """

    learner: str = "w"
    architect: str = "architect"
    frozen: bool = False
    arch_first: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


ALONE: dict[str, Any] = {"lam": 0.0, "human_labels": True}
PHASES = {
    "joint": Phase(),  # Algorithm 1: V, W, A
    "released": Phase(arch_first=True, options={"order": 1}),  # A, V, W
    "pretrain": Phase(learner="v", options=ALONE),
    "teachers": Phase(learner="v", architect="architect_v", options=ALONE),  # eq (13)
    "students": Phase(frozen=True, options={"teacher": "frozen"}),  # eq (14)
}
