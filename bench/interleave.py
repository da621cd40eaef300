"""Ours and a baseline in turn, in one process: A B A B ..., so that both meet the same machine."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch

from .settings import Settings

Call = Callable[[], Any]
Limits = tuple[float | None, float | None]
NONE: Limits = (None, None)
SAMPLE = 0.02  # seconds that one sample lasts at least
BUDGET = 10.0  # seconds of pairs that a row aims at
PAIRS = (3, 15)


@dataclass(frozen=True)
class Row:
    """One line of the table; a ratio is the baseline's time over ours.

    target      the ratio that is aimed at
    fail_below  the ratio below which the benchmark fails
    flops, moved   floating-point operations, and bytes to and from memory, of one call of ours; 0 where not counted
    """

    name: str
    shape: str
    baseline: str = "eager"
    target: float | None = None
    fail_below: float | None = None
    flops: float = 0.0
    moved: float = 0.0


class Interleave:
    """Runs one row within pytest-benchmark, which times ours."""

    def __init__(self, benchmark: Any, settings: Settings, device: str = "cpu") -> None:
        self.benchmark, self.settings, self.device = benchmark, settings, device

    def __call__(self, row: Row, ours: Call, baseline: Call, parts: int = 1) -> float:
        """The median over the pairs of baseline / ours, recorded; AssertionError if it is below row.fail_below.

        parts: the baseline's time counts so many times
        """
        calls = [self.calls(one) for one in (ours, baseline)]
        times: tuple[list[float], list[float]] = ([], [])

        def sample(which: int) -> None:
            times[which].append(timed((ours, baseline)[which], calls[which][0]))

        rounds = self.pairs(sum(max(SAMPLE, seconds) for _, seconds in calls))
        self.benchmark.pedantic(lambda: sample(0), setup=lambda: sample(1), rounds=rounds)
        ratios = [parts * b / a for a, b in zip(*times, strict=True)]
        self.record(row, statistics.median(times[0]), parts * statistics.median(times[1]), ratios)
        ratio = statistics.median(ratios)
        if row.fail_below is not None and not self.settings.short:
            said = f"{row.name}, {row.shape}: need {row.fail_below} times the speed of {row.baseline}; got {ratio:.2f}"
            assert ratio >= row.fail_below, said
        return ratio

    def calls(self, one: Call) -> tuple[int, float]:
        """How many calls make a sample, and the seconds of one call; warms up."""
        seconds = timed(one, 1)
        if self.settings.short:
            return 1, seconds
        if seconds < 1:
            seconds = timed(one, 1)
        return max(1, math.ceil(SAMPLE / seconds)), seconds

    def pairs(self, seconds: float) -> int:
        """How many pairs of that length."""
        return self.settings.pick(min(max(int(BUDGET / seconds), PAIRS[0]), PAIRS[1]), 1)

    def record(self, row: Row, seconds: float, baseline_seconds: float, ratios: list[float]) -> None:
        self.benchmark.extra_info.update(
            vars(row),
            kind="ratio",
            device=self.device,
            seconds=seconds,
            baseline_seconds=baseline_seconds,
            ratio=statistics.median(ratios),
            ratios=[min(ratios), max(ratios)],
            gflop_per_s=row.flops / seconds / 1e9 or None,
            gb_per_s=row.moved / seconds / 1e9 or None,
        )


def timed(one: Call, calls: int) -> float:
    """Seconds a call; waits for a GPU, if there is one."""
    wait()
    start = perf_counter()
    for _ in range(calls):
        one()
    wait()
    return (perf_counter() - start) / calls


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
