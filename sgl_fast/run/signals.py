"""Signals that end a run, as a question that the loop asks between two steps."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# An interrupt, an end, a terminal that closes, and a scheduler's warning (sbatch --signal=USR1@300).
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
PATIENCE = 30.0  # seconds that a SIGTERM leaves: schedulers kill after as many
ONE = 0.05  # seconds within which the same signal twice is one: timeout(1) sends its own to process and group


class Stop:
    """signal  None, or the number of the first one that came."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number


@contextmanager
def stop_requested() -> Iterator[Stop]:
    """Within the block a signal only sets `signal`; the loop looks at it, saves and leaves.

    A second one ends the process at once, and so does a SIGTERM after PATIENCE seconds, wherever the step is: files
    are as the last checkpoint left them. Signals that were ignored (nohup) stay so. The old handlers come back at the
    end. Outside the main thread, where Python allows no handlers, `signal` stays None.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    old = {number: signal.signal(number, stop._handle) for number in numbers}
    # Python runs handlers between two of its own instructions, which a step may be far from; the bytes come at once.
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    _children.append((writer.fileno(), numbers))
    watcher = threading.Thread(target=_watch, args=(reader, numbers), daemon=True)
    watcher.start()
    try:
        yield stop
    finally:
        _children.pop()
        signal.set_wakeup_fd(before)
        for number, handler in old.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        writer.close()
        watcher.join()
        reader.close()


def _watch(reader: socket.socket, numbers: list[signal.Signals]) -> None:
    """Ends the process at the second signal, and some time after a SIGTERM; returns when the other end closes."""
    first, last = None, 0.0
    while True:
        try:
            received = reader.recv(1)
        except TimeoutError:
            _end(signal.SIGTERM, f"the step goes on after {PATIENCE:g} seconds")
        if not received:
            return
        number, now = received[0], time.monotonic()
        if number not in numbers or (number == first and now - last < ONE):
            continue
        if first is not None:
            _end(first, "a second signal")
        first, last = number, now
        if first == signal.SIGTERM:
            reader.settimeout(PATIENCE)


def _end(number: int, reason: str) -> None:
    text = f"ended by {signal.Signals(number).name}: {reason}; --resume goes on from the last checkpoint\n"
    with suppress(OSError):
        os.write(2, text.encode())
    os._exit(128 + number)


_children: list[tuple[int, list[signal.Signals]]] = []


def _in_child() -> None:
    # A data worker inherits handlers and descriptor, but its parent means to end it.
    for _, numbers in _children:
        signal.set_wakeup_fd(-1)
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
    _children.clear()


os.register_at_fork(after_in_child=_in_child)
