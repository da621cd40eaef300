"""Launches planned once and repeated: kernels, grids and arguments, in which slots stand for what differs by call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor


@contextmanager
def device_guard(tensor: Tensor) -> Iterator[None]:
    """Triton launches on the device in force: that of the tensor, until the end."""
    if tensor.device.type != "cuda":
        yield
        return
    with torch.cuda.device(tensor.device):
        yield


def storage_dtype(precision: str) -> torch.dtype:
    """Of the activations that a forward saves for its backward."""
    return {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision, torch.float32)


# All that a thread can have: else ptxas puts some into a stack, so that more blocks run at once.
REGISTERS = {"maxnreg": 255}


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def power_of_two(n: int) -> int:
    """The least power of two that is not less."""
    return 1 << max(n - 1, 0).bit_length()


def block_size(n: int, most: int) -> int:
    """A power of two to take n at a time by, at most so many."""
    return min(power_of_two(n), most)


class Slot:
    """Stands for a tensor or a number of a call, by its name."""

    def __init__(self, name: str) -> None:
        self.name = name


def has_slots(argument: Any) -> bool:
    return isinstance(argument, Slot) or (isinstance(argument, tuple) and any(map(has_slots, argument)))


def filled(argument: Any, values: Mapping[str, Any]) -> Any:
    """An argument, or a structure of some, with the values in place of its slots."""
    if isinstance(argument, Slot):
        return values[argument.name]
    if isinstance(argument, tuple):
        return type(argument)(*[filled(part, values) for part in argument])
    return argument


class Launch(NamedTuple):
    start: Any  # kernel[grid]
    constant: dict[str, Any]
    shared: list[tuple[str, int]]  # names of arguments with slots, and which of the plan's they are


class LaunchPlan:
    """A list of launches. Arguments with slots are filled once a call, however many launches share them."""

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self._arguments: dict[int, tuple[int, Any]] = {}  # by id: its number, and itself
        self.buffers: dict[str, int] = {}

    def add(self, kernel: Any, grid: tuple[int, ...], options: dict[str, int], **arguments: Any) -> None:
        constant, shared = dict(options), []
        for name, argument in arguments.items():
            if has_slots(argument):
                shared.append((name, self._arguments.setdefault(id(argument), (len(self._arguments), argument))[0]))
            else:
                constant[name] = argument
        self.launches.append(Launch(kernel[grid], constant, shared))

    def buffer(self, name: str, count: int) -> Slot:
        """A slot for memory that a launch leaves to later ones: the most that any of them asks for."""
        self.buffers[name] = max(count, self.buffers.get(name, 0))
        return Slot(name)

    def run(self, like: Tensor, values: Mapping[str, Any]) -> None:
        """values: of slots; buffers are made like that tensor"""
        values = {**values, **{name: like.new_empty(count) for name, count in self.buffers.items()}}
        arguments = [filled(argument, values) for _, argument in self._arguments.values()]
        for start, constant, shared in self.launches:
            start(**constant, **{name: arguments[number] for name, number in shared})
