"""Methods that are DARTS, and know when to stop: DARTS+ (Liang et al., 2019) and R-DARTS (Zela et al., 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..spaces import KINDS, OPERATIONS, Space
from .base import Relaxation


class DartsPlus(Relaxation):
    """Stops when a learner's normal cell has two skips, or no ranking of convolutions has changed for 10 epochs."""

    remembers = ("skips", "alphas_normal", "alphas_reduce")
    skips = 2
    stable = 10  # epochs

    def stop(self, history: Sequence[Mapping[str, Any]], space: Space) -> str | None:
        for k, count in enumerate(history[-1]["skips"]):
            if count["normal"] >= self.skips:
                return f"the normal cell of learner {k} has {count['normal']} skips"
        ranked = [ranking(record, space) for record in history[-self.stable - 1 :]]
        unchanged = len(ranked) > self.stable and all(one == ranked[0] for one in ranked)
        return f"no ranking of operations changed for {self.stable} epochs" if unchanged else None


def ranking(record: Mapping[str, Any], space: Space) -> list[list[str]]:
    """Of every learner and edge, the operations that have weights, the most probable first."""
    found = []
    for kind in KINDS:
        for learner in record[f"alphas_{kind}"]:
            for ops, row in zip(space.ops(kind), learner, strict=True):
                ranked = sorted(zip(row, ops, strict=True), reverse=True)
                found.append([op for _, op in ranked if OPERATIONS[op].halves])
    return found


class RDarts(Relaxation):
    """More L2 on the weights (--weight-decay 27e-4), and DARTS-ES: stops when the validation loss becomes sharp in A.

    The largest eigenvalue of its Hessian in A, a mean of five epochs, is more than 1.3 times what it was four epochs
    before; the genotypes are those of the epoch in the middle of the earlier five, and none of the first ten epochs.
    Of several learners the first one of which it holds decides. The loss is without the decay of A, which the authors'
    code adds to it, and from below 0 no eigenvalue rises 1.3-fold, which theirs does not look at.
    """

    curvature = True
    remembers = ("hessian_eigenvalue", "genotypes")
    window, apart, factor = 5, 4, 1.3
    back = apart + window // 2
    first = 10  # the earliest epoch whose genotypes may be the result, from 0 on

    def stop(self, history: Sequence[Mapping[str, Any]], space: Space) -> str | None:
        if len(history) <= self.first + self.back:
            return None
        rows = [record["hessian_eigenvalue"] for record in history]
        now, then = (
            [sum(c) / self.window for c in zip(*part, strict=True)]
            for part in (rows[-self.window :], rows[-self.window - self.apart : -self.apart])
        )
        for k, (new, old) in enumerate(zip(now, then, strict=True)):
            if old > 0 and new > self.factor * old:
                return f"the largest eigenvalue of the Hessian of learner {k} rose from {old:.3g} to {new:.3g}"
        return None
