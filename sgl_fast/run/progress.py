"""What a run says while it runs: a bar and a table of epochs on a terminal, plain lines now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from tqdm import tqdm

from .speed import Speed

BAR_EVERY, LINE_EVERY = 0.1, 10.0  # seconds between two drawings
WIDE = 90  # columns from which a bar has room for the share of the data


class _Bar(tqdm):  # type: ignore[misc]  # untyped
    """epoch: what stands before the bar; speed: what stands after it, given the columns."""

    monitor_interval = 0  # no thread: we refresh it ourselves, and data workers fork
    epoch = ""
    speed: Callable[[int], str] | None = None

    @property
    def format_dict(self) -> dict[str, Any]:
        known: dict[str, Any] = super().format_dict
        return {**known, "epoch": self.epoch, "speed": self.speed(known["ncols"] or WIDE) if self.speed else ""}


class Progress:
    """Epoch, progress, ms a step, images/s, share of time spent on data, time left, the last validation.

    steps, epochs     of the whole run; start is the step it resumes at
    images_per_step, before, clock   of `Speed`
    quiet             no bar, no table and no progress lines; `write` still prints
    result            what the last epoch came to, at the end of a line
    A context manager.
    """

    def __init__(
        self,
        steps: int,
        epochs: int,
        images_per_step: int,
        start: int = 0,
        quiet: bool = False,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
        before: Mapping[str, float] | None = None,
    ) -> None:
        self.steps, self.epochs, self.result = steps, epochs, ""
        self.speed = Speed(images_per_step, before, clock)
        self._file = sys.stderr if file is None else file
        self._clock, self._quiet = clock, quiet
        self._start = start, clock()
        self._step, self._epoch, self._record = start, 0, dict[str, Any]()
        self._shown_at: float | None = None
        self._unshown = False
        self._widths: dict[str, int] = {}
        self._bar: _Bar | None = None
        if not quiet and self._file.isatty():
            layout = "{epoch} |{bar}| {percentage:3.0f}%  {speed}"
            self._bar = _Bar(total=steps, initial=start, file=self._file, dynamic_ncols=True, bar_format=layout)
            self._bar.speed = lambda columns: "  ".join(self._speeds(columns >= WIDE))

    def update(self, step: int, epoch: int, record: Mapping[str, Any]) -> None:
        """After step `step` (counted from 1) of epoch `epoch` (from 1): show it, if it is time to.

        record   its train_loss, a number or a list of one a learner, stands in the lines of a log
        """
        self._step, self._epoch, self._record, self._unshown = step, epoch, dict(record), not self._quiet
        every = LINE_EVERY if self._bar is None else BAR_EVERY
        if self._shown_at is None or self._clock() - self._shown_at >= every or step >= self.steps:
            self._show()

    def line(self) -> str:
        """The text of the last update, for a log; speeds are over the last `speed.WINDOW` steps."""
        loss = self._record.get("train_loss")
        losses = [] if loss is None else [f"train loss {spread(loss, '{:.3f}')}"]
        head = [f"epoch {self._epoch}/{self.epochs}", f"step {self._step}/{self.steps}"]
        return "  ".join([*head, *self._speeds(True), *losses])

    def row(self, cells: Mapping[str, str]) -> None:
        """A line of the table of epochs, cells by the names of their columns; the names stand above the first line."""
        if self._quiet:
            return
        if list(self._widths) != list(cells):
            self._widths = {name: max(len(name), len(cell)) for name, cell in cells.items()}
            self.write("  ".join(name.rjust(width) for name, width in self._widths.items()))
        self.write("  ".join(cell.rjust(self._widths[name]) for name, cell in cells.items()))

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

    def _speeds(self, wide: bool) -> list[str]:
        a_step, data = self.speed.recent()
        parts = []
        if a_step:
            parts += [f"{1000 * a_step:.{0 if a_step >= 0.1 else 1}f} ms", f"{self._images(a_step)} images/s"]
            parts += [f"data {data:.0%}"] if wide else []
        if self._step > self._start[0]:  # over the whole session: validation between the epochs is part of it
            start, begin = self._start
            seconds = (self.steps - self._step) * (self._clock() - begin) / (self._step - start)
            parts.append(f"left {tqdm.format_interval(seconds)}")
        return [*parts, self.result] if self.result else parts

    def _images(self, a_step: float) -> str:
        return f"{self.speed.images_per_step / a_step:.0f}"

    def _show(self) -> None:
        if not self._unshown:
            return
        if self._bar is None:
            print(self.line(), file=self._file, flush=True)
        else:
            self._bar.n, self._bar.epoch = self._step, f"epoch {self._epoch}/{self.epochs}"
            self._bar.refresh()
        self._unshown, self._shown_at = False, self._clock()


def spread(values: Sequence[float] | float, form: str) -> str:
    """A number, the numbers of two learners, or, of more, the least and the largest."""
    numbers = [values] if isinstance(values, (int, float)) else list(values)
    if len(numbers) < 3:
        return " ".join(map(form.format, numbers))
    return f"{form.format(min(numbers))} to {form.format(max(numbers))}"
