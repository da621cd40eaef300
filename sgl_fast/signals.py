"""SIGINT and SIGTERM as a question that the loop asks between two steps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """signal  None, or the number of the first SIGINT or SIGTERM that came."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._interrupts = 0
        self._owner = os.getpid()

    @property
    def exit_code(self) -> int:
        """128 + signal, as a shell reports it (130 SIGINT, 143 SIGTERM); 0 where none came."""
        return 0 if self.signal is None else 128 + self.signal

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM and os.getpid() != self._owner:
            # A forked data worker inherits this handler, but its parent means to end it.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self.signal is None:
            self.signal = number
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            raise KeyboardInterrupt


@contextmanager
def stop_requested() -> Iterator[Stop]:
    """Within the block SIGINT and SIGTERM only set `signal`; the loop looks at it, saves and leaves.

    A second SIGINT raises KeyboardInterrupt at once. The old handlers come back at the end. Outside the main thread,
    where Python allows no handlers, `signal` stays None.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    old = {number: signal.signal(number, stop._handle) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
