"""Models that run in turns, a thread each, and meet at their cells: every cell is computed once for all of them.

A model's forward is a stranger's code, so it is not rewritten: it runs until it calls a cell, then the next model has
its turn. Only one thread runs at a time, always in the same order.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from .compute import Request, compute

_here = threading.local()


class Abandoned(BaseException):
    """Ends the thread of a model whose neighbour failed."""


def submit(request: Request) -> Tensor:
    """The cell's output: computed at once, or with the requests of the models beside this one."""
    turn: Turn | None = getattr(_here, "turn", None)
    return compute([request])[0] if turn is None else turn.meet(request)


class Turn:
    """One model's thread, which runs between `step` and the next cell, in the caller's autograd modes.

    answer    to the cell that waits; anything starts the thread, None ends it
    request   of that cell, None when the model is through
    """

    def __init__(self, threads: Executor, run: Callable[[], Any]) -> None:
        self.answer: Any = ()
        self.request: Request | None = None
        self.answers: SimpleQueue[Any] = SimpleQueue()
        self.requests: SimpleQueue[Request | None] = SimpleQueue()
        self.future = threads.submit(contextvars.copy_context().run, self.main, run, modes())
        self.future.add_done_callback(lambda _: self.requests.put(None))

    def main(self, run: Callable[[], Any], modes: Callable[[], ExitStack]) -> Any:
        self.wait()
        _here.turn = self
        with modes():
            return run()

    def wait(self) -> Any:
        if (answer := self.answers.get()) is None:
            raise Abandoned
        return answer

    def meet(self, request: Request) -> Tensor:
        self.requests.put(request)
        answer: Tensor = self.wait()
        return answer

    def step(self) -> None:
        """Lets the thread run until its next cell or its end, whose error it raises."""
        self.answers.put(self.answer)
        self.request = self.requests.get()
        if self.request is None:
            self.future.result()


def modes() -> Callable[[], ExitStack]:
    """Enters the caller's autograd and autocast modes, which a new thread does not inherit."""
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    casts = {d: torch.get_autocast_dtype(d) for d in ("cpu", "cuda") if torch.is_autocast_enabled(d)}

    def enter() -> ExitStack:
        stack = ExitStack()
        stack.enter_context(torch.inference_mode(inference))
        stack.enter_context(torch.set_grad_enabled(grad))
        for device, dtype in casts.items():
            stack.enter_context(torch.autocast(device, dtype))
        return stack

    return enter


def together(runs: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of the runs; cells that they reach together are computed as one."""
    with ThreadPoolExecutor(len(runs)) as threads:
        turns = running = [Turn(threads, run) for run in runs]
        try:
            while running:
                for turn in running:
                    turn.step()
                groups: dict[Any, list[Turn]] = {}  # of requests that can be one
                for turn in running:
                    if turn.request is not None:
                        groups.setdefault(turn.request.key, []).append(turn)
                running = [turn for turn in running if turn.request is not None]
                for group in groups.values():
                    for turn, answer in zip(group, compute([t.request for t in group if t.request]), strict=True):
                        turn.answer = answer
        finally:
            for turn in turns:
                turn.answers.put(None)
    return [turn.future.result() for turn in turns]
