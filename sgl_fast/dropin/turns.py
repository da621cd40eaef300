"""K models of one structure in one pass: they run in turns, a thread each, and meet at their cells.

A model's forward is a stranger's code, so it is not rewritten: it runs until it calls a cell, then the next model has
its turn. Only one thread runs at a time, always in the same order.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .compute import MEET, Request, compute
from .install import REPORT, accelerate
from .patched import KEY

DEVICES = ("cpu", "cuda")


class Abandoned(BaseException):
    """Ends the thread of a model whose neighbour failed."""


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

    def main(self, run: Callable[[], Any], modes: Sequence[Callable[[], Any]]) -> Any:
        self.wait()
        MEET.set(self.meet)
        with ExitStack() as stack:
            for mode in modes:
                stack.enter_context(mode())
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
        self.answer = None  # else it would be held while the model goes on
        self.request = self.requests.get()
        if self.request is None:
            self.future.result()


def modes() -> list[Callable[[], Any]]:
    """What enters the caller's autograd and autocast modes, which a new thread does not inherit."""
    return [
        partial(torch.inference_mode, torch.is_inference_mode_enabled()),
        partial(torch.set_grad_enabled, torch.is_grad_enabled()),
        *(partial(torch.autocast, d, torch.get_autocast_dtype(d)) for d in DEVICES if torch.is_autocast_enabled(d)),
    ]


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


class Stack(nn.Module):
    """stack(images) -> (K, N, J), differentiable in every model's own parameters.

    images (N, 3, H, W) shared by all, or (K, N, 3, H, W)
    more   further arguments of the models' forward, each a sequence of K
    A model that returns a tuple makes a tuple of stacked ones.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, images: Tensor, *more: Sequence[Any]) -> Any:
        K = len(self.models)
        if images.dim() not in (4, 5) or (images.dim() == 5 and images.shape[0] != K):
            raise ValueError(f"need images (N, 3, H, W) or ({K}, N, 3, H, W); got {tuple(images.shape)}")
        if any(len(values) != K for values in more):
            raise ValueError(f"need {K} of each further argument; got {[len(values) for values in more]}")
        inputs = images if images.dim() == 5 else [images] * K
        calls = zip(self.models, inputs, *more, strict=True)
        results = together([partial(model, *arguments) for model, *arguments in calls])
        return tree_map(lambda *parts: torch.stack(parts) if isinstance(parts[0], Tensor) else list(parts), *results)


def stack(models: Sequence[nn.Module]) -> Stack:
    """The models as one of K; each is accelerated if it is not yet. ValueError that names how two of them differ.

    >>> both = stack([model, other])
    >>> both(torch.rand(4, 3, 8, 8)).shape
    torch.Size([2, 4, 10])
    """
    models = list(models)
    if not models or len({id(m) for m in models}) != len(models):
        raise ValueError(f"need one or more different models; got {len(models)}, some of them the same")
    for model in models:
        if not isinstance(model, nn.Module) or REPORT not in model.__dict__:
            accelerate(model)
    for k, model in enumerate(models[1:], 1):
        if differs := difference(models[0], model):
            raise ValueError(f"need models of one structure; model {k} differs from model 0: {differs}")
    return Stack(models)


def difference(first: nn.Module, other: nn.Module) -> str | None:
    """How two models differ: the shape of a tensor, or the operations of an edge that is accelerated in both."""
    shapes = [{name: tuple(t.shape) for name, t in model.state_dict().items()} for model in (first, other)]
    for name in [*shapes[0], *shapes[1]]:
        ours, theirs = (one.get(name, "not there") for one in shapes)
        if ours != theirs:
            return f"{name} {theirs}, not {ours}"
    edges = [edges_of_cells(model) for model in (first, other)]
    for path in [path for path in edges[0] if path in edges[1]]:
        if edges[0][path] != edges[1][path]:
            return f"{path} has {edges[1][path]}, not {edges[0][path]}"
    return None


def edges_of_cells(model: nn.Module) -> dict[str, list[str]]:
    """The operations of every edge of the accelerated cells, by its path."""
    cells = [(name, vars(m)[KEY].match) for name, m in model.named_modules() if KEY in vars(m)]
    return {
        f"{name}.{edge.path}": [f"{c.op} (stride {c.stride})" for c in edge.candidates]
        for name, match in cells
        for edge in match.edges
    }
