from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sgl_fast.run.signals import Stop, stop_requested

# A loop that stops between two steps, with a forked worker that must still end at SIGTERM. It speaks first, since
# CPython drops a signal that comes before its fork is done.
LOOP = """
import os, sys, time
from sgl_fast.run.signals import stop_requested
with stop_requested() as stop:
    worker = os.fork()
    if worker == 0:
        print("worker", flush=True)
        time.sleep(600)
        os._exit(7)
    while stop.signal is None:
        time.sleep(0.01)
    os.kill(worker, 15)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == -15
    print("saved", flush=True)
sys.exit(128 + stop.signal)
"""


ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
# A step that Python cannot interrupt, and a handler that waits for its end.
STEP = """
import ctypes, sys
from sgl_fast.run import signals
seconds, signals.PATIENCE, signals.ONE = map(float, sys.argv[1:])
with signals.stop_requested() as stop:
    print("step", flush=True)
    for _ in range(3):  # a signal ends one of them
        ctypes.CDLL(None).usleep(int(seconds * 1e6))
print("saved", stop.signal, flush=True)
"""


@pytest.mark.parametrize("number", ALL)
def test_a_signal_is_noted_and_the_step_goes_on(number: signal.Signals) -> None:
    with stop_requested() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal == number


@contextmanager
def step(
    seconds: float, patience: float = 600, one: float = 0.05, prefix: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    command = [*prefix, sys.executable, "-c", STEP, *map(str, (seconds, patience, one))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "step\n"
        yield process
        process.kill()


@pytest.mark.parametrize(("first", "second"), list(zip(ALL, [*ALL[1:], ALL[0]], strict=True)) + [(ALL[0], ALL[0])])
def test_a_second_signal_ends_a_step_at_once(first: signal.Signals, second: signal.Signals) -> None:
    """However late the process comes to see the first one: here the same one twice is two at any time."""
    with step(60, one=0) as process:
        process.send_signal(first)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(second)
        said = process.communicate()
    assert process.returncode == 128 + first
    assert said == ("", f"ended by {first.name}: a second signal; --resume goes on from the last checkpoint\n")


def test_sigterm_ends_a_step_that_is_too_long() -> None:
    with step(60, patience=0.2) as process:
        process.send_signal(signal.SIGTERM)
        said = process.communicate()
    assert process.returncode == 143
    assert said[1].startswith("ended by SIGTERM: the step goes on after 0.2 seconds")


def test_other_signals_wait_for_the_step() -> None:
    """A scheduler's warning comes minutes before the end; and the same one twice at a time, here a long one, is one."""
    with step(2, patience=0.1, one=600) as process:
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.01)
        process.send_signal(signal.SIGUSR1)
        assert process.communicate() == (f"saved {signal.SIGUSR1.value}\n", "")
    assert process.returncode == 0


def test_what_was_ignored_stays_ignored() -> None:
    """As nohup starts a run."""
    with step(0.2, prefix=("nohup",)) as process:
        process.send_signal(signal.SIGHUP)
        assert process.communicate()[0] == "saved None\n"


def test_the_old_handlers_come_back() -> None:
    before = [signal.getsignal(n) for n in ALL]
    with pytest.raises(RuntimeError), stop_requested():
        assert signal.getsignal(signal.SIGINT) != before[0]
        raise RuntimeError
    assert [signal.getsignal(n) for n in ALL] == before


def test_another_thread_gets_a_stop_without_handlers() -> None:
    seen: list[Stop] = []

    def body() -> None:
        with stop_requested() as stop:
            seen.append(stop)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen and seen[0].signal is None


@pytest.mark.parametrize("number", ALL)
def test_a_process_ends_with_the_shell_s_code(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.PIPE, text=True) as loop:
        assert loop.stdout is not None
        loop.stdout.readline()
        loop.send_signal(number)
        assert loop.stdout.read() == "saved\n"
    assert loop.returncode == 128 + number
