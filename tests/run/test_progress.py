from __future__ import annotations

import io

import pytest

from sgl_fast.run.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_line_says_everything(clock: Clock) -> None:
    out = io.StringIO()
    progress = Progress(1000, 50, images_per_step=64, file=out, clock=clock)
    for step in (1, 2, 3):
        with progress.waiting():
            clock.now += 0.05
        clock.now += 0.15
        record = {"train_loss": [1.25, 2.0], "train_accuracy": [0.5, 0.123], "val_loss": None, "lr": 3.0}
        progress.update(step, 1, record)
    assert progress.line(3, 1, record).split("  ") == [
        "epoch 1/50",
        "step 3/1000",
        "200 ms",
        "320 images/s",
        "data 25%",
        "left 0:03:19",
        "train loss 1.250 2.000",
        "train accuracy 50.0% 12.3%",
        "val loss -",
    ]


def test_a_resumed_run_counts_time_from_where_it_resumed(clock: Clock) -> None:
    progress = Progress(1000, 50, start=900, file=io.StringIO(), clock=clock)
    clock.now += 10
    progress.update(910, 46, {})
    assert progress.line(910, 46, {}) == "epoch 46/50  step 910/1000  1000 ms  data 0%  left 0:01:30"


def test_a_log_gets_a_line_every_ten_seconds_and_the_last_one(clock: Clock) -> None:
    out = io.StringIO()
    with Progress(100, 1, file=out, clock=clock) as progress:
        for step in range(1, 26):
            clock.now += 1
            progress.update(step, 1, {"loss": float("nan")})
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["step 1/100", "step 11/100", "step 21/100", "step 25/100"]
    assert lines[-1].endswith("loss nan") and "\r" not in out.getvalue()


def test_the_final_step_is_shown_once(clock: Clock) -> None:
    out = io.StringIO()
    with Progress(2, 1, file=out, clock=clock) as progress:
        progress.update(1, 1, {})
        progress.update(2, 1, {})
        assert "step 2/2" in out.getvalue(), "the last step waits for nothing"
    assert len(out.getvalue().splitlines()) == 2


def test_a_terminal_gets_one_bar_that_lines_do_not_break(clock: Clock) -> None:
    out = Terminal()
    with Progress(10, 1, file=out, clock=clock) as progress:
        for step in range(1, 11):
            clock.now += 1
            progress.update(step, 1, {"train_loss": [0.5]})
            if step == 5:
                progress.write("skips: 3 of 8")
    lines = out.getvalue().split("\n")
    assert len(lines) == 3 and lines[2] == "", "the message, the bar, the end"
    assert lines[0].rpartition("\r")[2] == "skips: 3 of 8"
    assert "step 10/10" in lines[1].rpartition("\r")[2] and "train loss 0.500" in lines[1]


def test_quiet_prints_only_what_is_written(clock: Clock) -> None:
    for out in (io.StringIO(), Terminal()):
        with Progress(2, 1, quiet=True, file=out, clock=clock) as progress:
            progress.update(1, 1, {"loss": 1.0})
            progress.write("a warning")
            progress.update(2, 1, {"loss": 1.0})
        assert out.getvalue() == "a warning\n"


def test_nothing_is_shown_before_the_first_step(clock: Clock) -> None:
    out = io.StringIO()
    with Progress(2, 1, file=out, clock=clock):
        pass
    assert out.getvalue() == ""
