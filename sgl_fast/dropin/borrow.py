"""A module's tensors, switches and attributes exchanged for a while, so that trying it out leaves no trace."""

from __future__ import annotations

import contextvars
import copy
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from .arguments import PLAIN

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
STARTS = ("_global_forward", "_global_backward")
GLOBAL_HOOKS = [name for name in vars(torch_module) if name.startswith(STARTS) and name.endswith("_hooks")]
CONTAINERS = (list, dict, set, deque)
_TORCHS = set(nn.Module().__dict__) - {"_parameters", "_buffers", "_modules"}
T = TypeVar("T")


def apart(run: Callable[[], T], device: torch.device) -> T:
    """run() outside of all that the caller has entered: hooks of saved tensors, modes, torch.func, autocast, no_grad.

    Those belong to a thread, so it gets a fresh one. Global hooks and states of random numbers are put back.
    """

    def main() -> T:
        with untouched(device):
            return run()

    with ThreadPoolExecutor(1) as thread:  # whose end is awaited, interrupted or not: what is borrowed is given back
        return thread.submit(contextvars.copy_context().run, main).result()


@contextmanager
def untouched(device: torch.device) -> Iterator[None]:
    """One thread: the tensors of a trial are so small that handing them out takes longer than computing them."""
    hooks = {name: getattr(torch_module, name) for name in GLOBAL_HOOKS}
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())
        stack.callback(vars(torch_module).update, hooks)
        if device.type == "cuda":
            stack.enter_context(torch.cuda.device(device))
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        vars(torch_module).update({name: type(table)() for name, table in hooks.items()})
        torch.set_num_threads(1)
        yield


class Snapshot:
    """What the attributes of all modules hold now, and the lists, dictionaries and sets in them."""

    def __init__(self, module: nn.Module) -> None:
        self.held: list[tuple[str, Any, Any]] = []
        for name, m in module.named_modules():
            inner = [(k, v) for k, v in vars(m).items() if isinstance(v, CONTAINERS) and k not in _TORCHS]
            places = [(name, vars(m)), *((f"{name}.{key}", value) for key, value in inner)]
            self.held += [(place, value, copy.copy(value)) for place, value in places]

    def written(self) -> str | None:
        """The first place that is not as it was."""
        for place, now, before in self.held:
            if (key := difference(now, before)) is not None:
                return (f"{place}.{key}" if isinstance(now, dict) else place).lstrip(".")
        return None

    def restore(self) -> None:
        for _, now, before in self.held:
            if difference(now, before) is not None:
                if not isinstance(now, dict) or list(now) != list(before):  # else its keys stay shared with its like
                    now.clear()
                (now.extend if isinstance(now, (list, deque)) else now.update)(before)


def difference(now: Any, before: Any) -> str | None:
    """The first key or index at which two containers hold other objects, None where they are alike."""

    def entries(value: Any) -> Any:
        if isinstance(value, dict):
            return value.items()
        return enumerate(sorted(value, key=id) if isinstance(value, set) else value)

    for a, b in zip_longest(entries(now), entries(before)):
        if a is None or b is None or a[0] != b[0] or not same(a[1], b[1]):
            return str((a or b)[0])
    return None


def same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and type(a) in PLAIN and bool(a == b))


@contextmanager
def borrowed(
    module: nn.Module, training: bool, dtype: torch.dtype | None = None, generator: torch.Generator | None = None
) -> Iterator[tuple[dict[str, Tensor], Snapshot]]:
    """Copies stand in for all parameters and buffers; no dropout, no hooks. Yields the copies by name.

    dtype       of floating-point copies; None to keep it
    generator   of random numbers for them, in the range of a fresh network; None to keep the numbers
    """
    before = Snapshot(module)
    copies: dict[int, Tensor] = {}
    given: dict[str, Tensor] = {}
    try:
        for path, m in module.named_modules():
            m.training = training
            vars(m).update({name: type(getattr(m, name))() for name in HOOKS})
            if isinstance(m, nn.Dropout):
                m.p = 0.0
            for table in (m._parameters, m._buffers):
                for key, tensor in [(k, t) for k, t in table.items() if t is not None]:
                    name = f"{path}.{key}".lstrip(".")
                    if id(tensor) not in copies:
                        given[name] = copies[id(tensor)] = stand_in(name, tensor, dtype, generator)
                    table[key] = copies[id(tensor)]
        yield given, Snapshot(module)
    finally:
        before.restore()


def stand_in(name: str, tensor: Tensor, dtype: torch.dtype | None, generator: torch.Generator | None) -> Tensor:
    copy = tensor.detach().clone()
    if not copy.is_floating_point():
        return copy
    if generator is not None:
        draw = torch.randn(copy.shape, generator=generator, dtype=torch.float32)
        fan_in = math.prod(copy.shape[1:]) or 1
        copy = (draw.abs() + 0.5 if name.endswith("running_var") else draw * fan_in**-0.5).to(copy.device)
    copy = copy.to(dtype or tensor.dtype)
    return nn.Parameter(copy) if isinstance(tensor, nn.Parameter) else copy
