from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

import pytest

from sgl_fast.run.epoch_table import search_row
from sgl_fast.run.progress import Progress, spread
from sgl_fast.run.speed import MEASURED, Speed, measured_before


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def on_terminal(columns: int, use: Callable[[TextIO], None]) -> str:
    """What a terminal of so many columns gets."""
    reading, writing = os.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(writing, "w", encoding="utf-8") as terminal:
        use(terminal)
    got = b""
    with suppress(OSError):  # how a terminal ends
        while part := os.read(reading, 1 << 16):
            got += part
    os.close(reading)
    return got.decode().replace("\r\n", "\n")


def search_of(clock: Clock, out: TextIO | None, steps: int = 12_345) -> Progress:
    """A long run of two learners after three steps of 0.2 s, a quarter of them for data, and an epoch."""
    progress = Progress(steps, 50, images_per_step=2400, file=out, clock=clock)
    for step in (1, 2, 3):
        with progress.speed.waiting():
            clock.now += 0.05
        clock.now += 0.15
        progress.speed.step()
        progress.update(step, 17, {"train_loss": [1.25, 2.0], "lr": 3.0})
    return progress


RECORD = {"epoch": 17, "best_learner": 1, "validation_loss": [12.25, 10.125], "validation_accuracy": [0.125, 1.0]}
RECORD |= {"skips": [{"normal": 8, "reduce": 2}, {"normal": 0, "reduce": 8}]}


def test_a_line_of_a_log_says_everything(clock: Clock) -> None:
    progress = search_of(clock, io.StringIO(), 1000)
    progress.result = "val 59.1%"
    assert progress.line().split("  ") == [
        "epoch 17/50",
        "step 3/1000",
        "200 ms",
        "12000 images/s",
        "data 25%",
        "left 03:19",
        "val 59.1%",
        "train loss 1.250 2.000",
    ]


@pytest.mark.parametrize("columns", [80, 100])
def test_a_terminal_shows_all_of_it_in_one_line(columns: int, clock: Clock) -> None:
    """And the table of epochs above it, in 80 columns; the bar has some."""

    def use(terminal: TextIO) -> None:
        with search_of(clock, terminal) as progress:
            progress.row(search_row(RECORD, [12.5, 11.75], progress))
            clock.now += 0.2
            progress.speed.step()
            progress.update(4, 18, {})

    lines = [line.rpartition("\r")[2] for line in on_terminal(columns, use).split("\n")]
    names, row, bar, end = lines
    assert end == "" and len(bar) <= columns and max(len(names), len(row)) <= 80
    assert names.split() == ["epoch", "train", "loss", "val", "loss", "val", "accuracy", "skips", "best", "ms", "time"]
    assert re.sub(" +", " ", row) == "17/50 12.500 11.750 12.250 10.125 12.5 100.0 % 8 0 1 200 00:00"
    assert len(names) == len(row)
    found = re.fullmatch(r"epoch 18/50 \|(.+)\|   0%  200 ms  12000 images/s  (.*)left 41:08  val 100.0%", bar)
    assert found and len(found[1]) >= 8 and found[2] == ("data 19%  " if columns > 90 else "")


def test_a_resumed_run_counts_time_from_where_it_resumed(clock: Clock) -> None:
    """Its speeds; its seconds go on."""
    progress = Progress(1000, 50, 1, start=900, file=io.StringIO(), clock=clock, before={"seconds": 60.0})
    clock.now += 10
    progress.speed.step()
    progress.update(910, 46, {})
    assert progress.line() == "epoch 46/50  step 910/1000  10000 ms  0 images/s  data 0%  left 01:30"
    assert progress.speed.totals()["seconds"] == 70


def test_what_goes_on_between_epochs_is_no_steps_time(clock: Clock) -> None:
    speed = Speed(30, clock=clock)
    for _ in range(2):
        with speed.waiting():
            clock.now += 0.1
        clock.now += 0.2
        speed.step()
        with speed.apart():
            clock.now += 5
    measured = speed.measured()
    assert measured.pop("cpu_seconds") >= 0
    assert measured == {"seconds": 10.6, "ms_per_step": 300.0, "images_per_second": 100.0, "data_share": 0.333}
    assert measured_before([{MEASURED: measured}]) == measured and measured_before([{}]) == measured_before([]) == {}
    assert "ms_per_step" not in Speed(30, measured, clock).measured(), "a resumed run whose epoch had ended"


def test_a_log_gets_a_line_every_ten_seconds_and_the_last_one(clock: Clock) -> None:
    out = io.StringIO()
    with Progress(100, 1, 1, file=out, clock=clock) as progress:
        for step in range(1, 26):
            clock.now += 1
            progress.update(step, 1, {"train_loss": float("nan")})
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["step 1/100", "step 11/100", "step 21/100", "step 25/100"]
    assert lines[-1].endswith("loss nan") and "\r" not in out.getvalue()


def test_the_final_step_is_shown_once(clock: Clock) -> None:
    out = io.StringIO()
    with Progress(2, 1, 1, file=out, clock=clock) as progress:
        progress.update(1, 1, {})
        progress.update(2, 1, {})
        assert "step 2/2" in out.getvalue(), "the last step waits for nothing"
    assert len(out.getvalue().splitlines()) == 2


def test_quiet_prints_only_what_is_written(clock: Clock) -> None:
    def use(out: TextIO) -> None:
        with Progress(2, 1, 1, quiet=True, file=out, clock=clock) as progress:
            progress.update(1, 1, {"train_loss": 1.0})
            progress.row({"epoch": "1/1"})
            progress.write("a warning")
            progress.update(2, 1, {"train_loss": 1.0})

    out = io.StringIO()
    use(out)
    assert out.getvalue() == on_terminal(80, use) == "a warning\n"


def test_nothing_is_shown_before_the_first_step(clock: Clock) -> None:
    out = io.StringIO()
    with Progress(2, 1, 1, file=out, clock=clock):
        pass
    assert out.getvalue() == ""


def test_many_learners_are_their_range() -> None:
    assert spread(0.5, "{:.1f}") == "0.5" and spread([1, 2], "{}") == "1 2"
    assert spread([3, 1, 2], "{}") == "1 to 3"
