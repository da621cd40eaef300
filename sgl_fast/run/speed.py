"""How long steps take and what a run has used: numbers that no other run repeats, under one key. No torch at import."""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

MEASURED = "measured"  # all that is under other keys of a record repeats to the bit
WINDOW = 50  # steps that the speeds shown are taken over


class Speed:
    """Times of steps. What goes on between epochs (validation, pictures, a checkpoint) belongs to the run, to no step.

    images_per_step   images of all learners and splits that one step reads
    before            what the run's last record measured, where it is resumed
    clock             gives seconds
    """

    def __init__(
        self, images_per_step: int, before: Mapping[str, float] | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        self.images_per_step, self._clock = images_per_step, clock or time.perf_counter
        self._before = {name: (before or {}).get(name, 0.0) for name in ("seconds", "cpu_seconds")}
        self._start = self._began = self._clock()
        self._cpu_start, self._waited = time.process_time(), 0.0
        self._steps: deque[tuple[float, float]] = deque(maxlen=WINDOW)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the fetch of a batch: the time inside counts as waiting for data."""
        begin = self._clock()
        try:
            yield
        finally:
            self._waited += self._clock() - begin

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Around what belongs to no step."""
        try:
            yield
        finally:
            self._began, self._waited = self._clock(), 0.0

    def step(self) -> None:
        """A step ends now."""
        now = self._clock()
        self._steps.append((max(now - self._began, 1e-9), self._waited))
        self._began, self._waited = now, 0.0

    def recent(self, count: int = WINDOW) -> tuple[float, float]:
        """Seconds a step, and the share of them that waits for data, over the last steps; (0, 0) before the first."""
        steps = list(self._steps)[-count:]
        if not steps:
            return 0.0, 0.0
        taken, waited = map(sum, zip(*steps, strict=True))
        return taken / len(steps), waited / taken

    def measured(self, count: int = WINDOW) -> dict[str, float]:
        """For a record: `totals`, and speeds of the last so many steps, if there was one."""
        taken, share = self.recent(count)
        if not taken:
            return self.totals()
        speeds = {"ms_per_step": round(1e3 * taken, 2), "images_per_second": round(self.images_per_step / taken, 1)}
        return {**self.totals(), **speeds, "data_share": round(share, 3)}

    def totals(self) -> dict[str, float]:
        """Seconds, and CPU seconds of this process's threads, that the run took so far, all its sessions together."""
        seconds, cpu = self._clock() - self._start, time.process_time() - self._cpu_start
        spent = {"seconds": seconds, "cpu_seconds": cpu}
        return {name: round(self._before[name] + value, 3) for name, value in spent.items()}


def peak_memory(device: str) -> int:
    """Bytes: of tensors on a CUDA device, else of this process, at most so far."""
    import torch

    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measured_before(records: list[dict[str, Any]]) -> dict[str, float]:
    """What the last record of a run measured."""
    found: dict[str, float] = records[-1].get(MEASURED, {}) if records else {}
    return found
