"""What a run says while it runs: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

BAR_EVERY, LINE_EVERY = 0.1, 10.0  # seconds between two drawings
WINDOW = 50  # updates that the speeds are taken over


class _Bar(tqdm):  # type: ignore[misc]  # untyped
    monitor_interval = 0  # no thread: we refresh it ourselves, and data workers fork


class Progress:
    """Epoch, step, ms a step, images/s, share of time spent on data, time left, losses and accuracies per learner.

    steps, epochs     of the whole run; start is the step it resumes at
    images_per_step   images of all learners and splits that one step reads; None leaves images/s out
    quiet             no bar and no progress lines; `write` still prints
    A context manager. `clock` gives seconds.
    """

    def __init__(
        self,
        steps: int,
        epochs: int,
        images_per_step: int | None = None,
        start: int = 0,
        quiet: bool = False,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.steps, self.epochs, self.images_per_step = steps, epochs, images_per_step
        self._file = sys.stderr if file is None else file
        self._clock = clock
        self._quiet = quiet
        self._start = start, clock()
        self._waited = 0.0
        self._window: deque[tuple[int, float, float]] = deque([(start, clock(), 0.0)], WINDOW + 1)
        self._shown_at: float | None = None
        self._unshown: tuple[int, int, Mapping[str, Any]] | None = None
        self._bar: _Bar | None = None
        if not quiet and self._file.isatty():
            layout = "{desc} |{bar}|"
            self._bar = _Bar(total=steps, initial=start, file=self._file, dynamic_ncols=True, bar_format=layout)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the fetch of a batch: the time inside counts as waiting for data."""
        begin = self._clock()
        try:
            yield
        finally:
            self._waited += self._clock() - begin

    def update(self, step: int, epoch: int, record: Mapping[str, Any]) -> None:
        """After step `step` (counted from 1) of epoch `epoch` (from 1): show it, if it is time to.

        record   its keys with loss or accuracy are shown; a list has a value per learner; accuracies are fractions
        """
        now = self._clock()
        self._window.append((step, now, self._waited))
        if self._quiet:
            return
        every = LINE_EVERY if self._bar is None else BAR_EVERY
        self._unshown = step, epoch, record
        if self._shown_at is None or now - self._shown_at >= every or step >= self.steps:
            self._show()

    def line(self, step: int, epoch: int, record: Mapping[str, Any]) -> str:
        """The text of one update; speeds are over the last `WINDOW` updates, ms are those of one step."""
        (first, begin, waited), (_, now, waited_now) = self._window[0], self._window[-1]
        parts = [f"epoch {epoch}/{self.epochs}", f"step {step}/{self.steps}"]
        if step > first and now > begin:
            a_step = (now - begin) / (step - first)
            parts.append(f"{1000 * a_step:.{0 if a_step >= 0.1 else 1}f} ms")
            if self.images_per_step is not None:
                parts.append(f"{self.images_per_step / a_step:.0f} images/s")
            parts.append(f"data {(waited_now - waited) / (now - begin):.0%}")
            parts.append(f"left {_duration(self._seconds_left(step, now))}")
        return "  ".join(parts + _values(record))

    def write(self, line: str) -> None:
        """Print a line of its own, above the bar where there is one. Quiet runs print it too."""
        if self._bar is None:
            print(line, file=self._file, flush=True)
        else:
            _Bar.write(line, file=self._file)

    def close(self) -> None:
        """Show the last step, whenever it was, and leave the bar on the screen."""
        self._show()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _seconds_left(self, step: int, now: float) -> float:
        # Over the whole session, not the window: validation between the epochs is part of it.
        start, begin = self._start
        return (self.steps - step) * (now - begin) / (step - start)

    def _show(self) -> None:
        if self._unshown is None:
            return
        text = self.line(*self._unshown)
        if self._bar is None:
            print(text, file=self._file, flush=True)
        else:
            self._bar.n = self._unshown[0]
            self._bar.set_description_str(text, refresh=False)
            self._bar.refresh()
        self._unshown, self._shown_at = None, self._clock()


def _values(record: Mapping[str, Any]) -> list[str]:
    parts = []
    for key, value in record.items():
        if not ("loss" in key or "accuracy" in key):
            continue
        form = "{:.1%}" if "accuracy" in key else "{:.3f}"
        values = value if isinstance(value, (list, tuple)) else [value]
        parts.append(" ".join([key.replace("_", " "), *("-" if v is None else form.format(v) for v in values)]))
    return parts


def _duration(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}"
