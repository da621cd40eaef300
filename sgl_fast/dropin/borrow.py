"""A module's tensors, switches and attributes exchanged for a while, so that trying it out leaves no trace."""

from __future__ import annotations

import contextvars
import copy
import math
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from operator import is_
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
GLOBAL_HOOKS = [name for name in vars(torch_module) if name.startswith(("_global_forward", "_global_backward"))]
GLOBAL_HOOKS = [name for name in GLOBAL_HOOKS if name.endswith("_hooks")]
PLAIN = (int, float, complex, bool, str, bytes, type(None))
CONTAINERS = (list, dict, set, deque)
_TORCHS = set(nn.Module().__dict__)
T = TypeVar("T")


def apart(run: Callable[[], T], device: torch.device) -> T:
    """run() outside of all that the caller has entered: hooks of saved tensors, modes, torch.func, autocast, no_grad.

    Those belong to a thread, so it gets a fresh one. Global hooks and states of random numbers are put back.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def main() -> None:
        try:
            with untouched(device):
                results.append(run())
        except BaseException as error:  # raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(main,))
    thread.start()
    interrupted: BaseException | None = None
    while thread.is_alive():
        try:
            thread.join()
        except BaseException as error:  # what is borrowed has to be given back first
            interrupted = error
    if interrupted or errors:
        raise interrupted or errors[0]
    return results[0]


@contextmanager
def untouched(device: torch.device) -> Iterator[None]:
    """One thread: the tensors of a trial are so small that handing them out takes longer than computing them."""
    threads = torch.get_num_threads()
    states = random.getstate(), np.random.get_state()
    hooks = {name: getattr(torch_module, name) for name in GLOBAL_HOOKS}
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, threads)
        torch.set_num_threads(1)
        stack.callback(lambda: (random.setstate(states[0]), np.random.set_state(states[1])))
        for name, table in hooks.items():
            stack.callback(setattr, torch_module, name, table)
            setattr(torch_module, name, type(table)())
        if device.type == "cuda":
            stack.enter_context(torch.cuda.device(device))
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        yield


class Attributes:
    """Attributes of all modules but torch's own, to be put back; lists, dictionaries and sets in them, too."""

    def __init__(self, module: nn.Module) -> None:
        strangers = [(name, m) for name, m in module.named_modules() if not type(m).__module__.startswith("torch.")]
        self.tables = [(name, m.__dict__, dict(m.__dict__)) for name, m in strangers]
        self.held = [
            (f"{name}.{key}".lstrip("."), value, copy.copy(value))
            for name, table, _ in self.tables
            for key, value in table.items()
            if isinstance(value, CONTAINERS) and key not in _TORCHS
        ]

    def written(self) -> str | None:
        """The first attribute that is not as it was."""
        for name, now, before in self.tables:
            for key in now.keys() | before.keys():
                a, b = now.get(key), before.get(key)
                if a is not b and not (type(a) in PLAIN and type(a) is type(b) and a == b):
                    return f"{name}.{key}".lstrip(".")
        return next((place for place, value, before in self.held if not _alike(value, before)), None)

    def restore(self) -> None:
        for _, now, before in self.tables:
            now.clear()
            now.update(before)
        for _, held, was in self.held:
            if not _alike(held, was):
                held.clear()
                (held.extend if isinstance(held, (list, deque)) else held.update)(was)


def _alike(value: Any, before: Any) -> bool:
    """Whether two containers hold the same objects."""
    if isinstance(value, dict):
        return list(value) == list(before) and all(value[key] is before[key] for key in value)
    return len(value) == len(before) and (isinstance(value, set) or all(map(is_, value, before)))


@contextmanager
def borrowed(module: nn.Module, training: bool, make: Copy) -> Iterator[tuple[dict[str, Tensor], Attributes]]:
    """Copies stand in for all parameters and buffers; no dropout, no hooks. Yields the copies by name."""
    places = [
        (table, key, tensor, f"{name}.{key}" if name else key)
        for name, m in module.named_modules()
        for table in (m._parameters, m._buffers)
        for key, tensor in table.items()
        if tensor is not None
    ]
    flags = [(m, m.training) for m in module.modules()]
    drops = [(m, m.p) for m in module.modules() if isinstance(m, nn.Dropout)]
    hooks = [(m, name, getattr(m, name)) for m in module.modules() for name in HOOKS if getattr(m, name)]
    copies: dict[int, Tensor] = {}
    given: dict[str, Tensor] = {}
    try:
        for table, key, tensor, name in places:
            if id(tensor) not in copies:
                given[name] = copies[id(tensor)] = make(name, tensor)
            table[key] = copies[id(tensor)]
        for m, _ in flags:
            m.training = training
        for m, _ in drops:
            m.p = 0.0
        for m, name, table in hooks:
            m.__dict__[name] = type(table)()
        attributes = Attributes(module)
        try:
            yield given, attributes
        finally:
            attributes.restore()
    finally:
        for table, key, tensor, _ in places:
            table[key] = tensor
        for m, flag in flags:
            m.training = flag
        for m, p in drops:
            m.p = p
        for m, name, table in hooks:
            m.__dict__[name] = table


class Copy:
    """Makes the stand-ins: of the same numbers, or of random ones in the range of a fresh network.

    dtype       of floating-point tensors; None to keep it
    generator   of the random numbers, drawn in float32
    """

    def __init__(self, dtype: torch.dtype | None = None, generator: torch.Generator | None = None) -> None:
        self.dtype, self.generator = dtype, generator

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        copy = tensor.detach().clone()
        if not copy.is_floating_point():
            return copy
        if self.generator is not None:
            draw = torch.randn(copy.shape, generator=self.generator, dtype=torch.float32)
            fan_in = math.prod(copy.shape[1:]) or 1
            copy = (draw.abs() + 0.5 if name.endswith("running_var") else draw * fan_in**-0.5).to(copy.device)
        copy = copy.to(self.dtype or tensor.dtype)
        return nn.Parameter(copy) if isinstance(tensor, nn.Parameter) else copy
