from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from sgl_fast.signals import Stop, stop_requested

# A loop that stops between two steps, with a forked worker that must still end at SIGTERM. It speaks first, since
# CPython drops a signal that comes before its fork is done.
LOOP = """
import os, sys, time
from sgl_fast.signals import stop_requested
with stop_requested() as stop:
    worker = os.fork()
    if worker == 0:
        print("worker", flush=True)
        time.sleep(20)
        os._exit(7)
    while stop.signal is None:
        time.sleep(0.01)
    os.kill(worker, 15)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == -15
    print("saved", flush=True)
sys.exit(stop.exit_code)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_and_the_step_goes_on(number: signal.Signals, code: int) -> None:
    with stop_requested() as stop:
        assert (stop.signal, stop.exit_code) == (None, 0)
        os.kill(os.getpid(), number)
        assert (stop.signal, stop.exit_code) == (number, code)


def test_only_a_second_sigint_interrupts() -> None:
    with stop_requested() as stop:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.exit_code == 143, "the first signal decides"


def test_the_old_handlers_come_back() -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(RuntimeError), stop_requested():
        assert signal.getsignal(signal.SIGINT) != before[0]
        raise RuntimeError
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_gets_a_stop_without_handlers() -> None:
    seen: list[Stop] = []

    def body() -> None:
        with stop_requested() as stop:
            seen.append(stop)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen and seen[0].signal is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_process_ends_with_the_shell_s_code(number: signal.Signals, code: int) -> None:
    with subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.PIPE, text=True) as loop:
        assert loop.stdout is not None
        loop.stdout.readline()
        loop.send_signal(number)
        assert loop.stdout.read() == "saved\n"
    assert loop.returncode == code
