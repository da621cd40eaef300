"""Models that run in turns, a thread each, and meet at their cells: every cell is computed once for all of them.

A model's forward is a stranger's code, so it is not rewritten: it runs until it calls a cell, then the next model has
its turn. Only one thread runs at a time, always in the same order.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
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
    """One model's thread; it runs between `step` and the next cell, in the caller's autograd modes."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self.run, self.modes = run, modes()
        self.go, self.back = threading.Semaphore(0), threading.Semaphore(0)
        self.request: Request | None = None
        self.answer: Tensor | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = self.abandoned = False
        context = contextvars.copy_context()
        self.thread = threading.Thread(target=context.run, args=(self.main,), daemon=True)
        self.thread.start()

    def step(self) -> None:
        """Lets the thread run until its next cell or its end."""
        self.go.release()
        self.back.acquire()
        if self.error is not None:
            raise self.error

    def main(self) -> None:
        self.go.acquire()
        _here.turn = self
        try:
            if not self.abandoned:
                with self.modes():
                    self.result = self.run()
        except Abandoned:
            pass
        except BaseException as error:  # raised again by `step`, in the caller's thread
            self.error = error
        self.done, self.request = True, None
        self.back.release()

    def meet(self, request: Request) -> Tensor:
        self.request = request
        self.back.release()
        self.go.acquire()
        if self.abandoned or self.answer is None:
            raise Abandoned
        answer, self.answer = self.answer, None
        return answer

    def abandon(self) -> None:
        self.abandoned = True
        self.go.release()
        self.thread.join()


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
    turns = [Turn(run) for run in runs]
    running = turns
    try:
        while running:
            for turn in running:
                turn.step()
            running = [turn for turn in running if not turn.done]
            for group in meetings(running):
                for turn, answer in zip(group, compute([t.request for t in group if t.request]), strict=True):
                    turn.answer = answer
    finally:
        for turn in turns:
            turn.abandon()
    return [turn.result for turn in turns]


def meetings(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Turns whose requests can be one."""
    groups: dict[Any, list[Turn]] = {}
    for turn in turns:
        if turn.request is not None:
            groups.setdefault(turn.request.key, []).append(turn)
    return list(groups.values())
