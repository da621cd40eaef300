"""Launches of Triton's kernels, caught before they run; and their kernels, compiled and kept where there is no GPU."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from ..backends.choice import use_backend
from ..backends.triton import launches_on_the_cpu
from .configurations import assumed

TYPES = {
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.uint8: "u8",
    torch.int32: "i32",
    torch.int64: "i64",
}
DTYPES = {f"*{name}": dtype for dtype, name in TYPES.items()}
# An argument of each type: as a multiple of 16, and as another one.
NUMBERS: dict[str, tuple[Any, Any]] = {
    "i32": (16, 2),
    "i64": (2**40, 2**40 + 2),
    "fp32": (0.5, 0.5),
    "u1": (True, True),
}

Place = tuple[int, ...]  # of an argument, or of a field of one


class Launch(NamedTuple):
    """A kernel with all that it is specialised for: what Triton compiles one by one."""

    module: str
    kernel: str
    signature: tuple[tuple[str, Any], ...]  # a structure where the argument is one
    constants: tuple[tuple[Place, Any], ...]
    aligned: tuple[Place, ...]
    options: tuple[tuple[str, int], ...]


class Found(NamedTuple):
    """Places of a kernel's arguments: of constants, with their values; of multiples of 16."""

    constants: dict[Place, Any]
    aligned: list[Place]


class Pointer:
    """As a tensor's, to memory that nobody has."""

    def __init__(self, dtype: torch.dtype, address: int) -> None:
        self.dtype, self._address = dtype, address

    def data_ptr(self) -> int:
        return self._address


class NoGpu:
    """Triton's driver of a GPU that is not there, as far as compiling asks for one. arch: 70 for sm_70"""

    def __init__(self, arch: int) -> None:
        self.arch = arch

    def get_current_device(self) -> int:
        return self.arch  # kernels are kept by device

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.arch, 32)


@contextmanager
def handled(by: Callable[..., Any]) -> Iterator[None]:
    """Every launch goes to by(kernel, its own run, arguments, options with the grid)."""
    from triton.runtime.jit import JITFunction

    before = JITFunction.run

    def run(self: Any, *args: Any, warmup: bool = False, **options: Any) -> Any:
        return by(self, lambda: before(self, *args, warmup=warmup, **options), args, options)

    JITFunction.run = run
    try:
        yield
    finally:
        JITFunction.run = before


@contextmanager
def caught(arch: int) -> Iterator[Counter[Launch]]:
    """Launches as on that architecture, of backend triton on CPU tensors; none of them runs."""
    found: Counter[Launch] = Counter()
    counted = handled(lambda kernel, run, args, options: found.update([launch_of(kernel, args, options)]))
    with counted, assumed(arch), launches_on_the_cpu(), use_backend("triton"):
        yield found


def launch_of(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Launch:
    names = [param.name for param in function.params]
    given = {**dict(zip(names, args, strict=False)), **options}
    signature: list[tuple[str, Any]] = []
    found = Found({}, [])
    for number, param in enumerate(function.params):
        value = given[param.name]
        if param.is_constexpr:
            found.constants[(number,)] = value
        kind = "constexpr" if param.is_constexpr else kinds_of(value, (number,), param.do_not_specialize, found)
        signature.append((param.name, kind))
    chosen = tuple((name, value) for name, value in options.items() if name not in ("grid", *names))
    parts = tuple(signature), tuple(found.constants.items()), tuple(found.aligned), chosen
    return Launch(function.fn.__module__, function.fn.__name__, *parts)


def kinds_of(value: Any, place: Place, plain: bool, found: Found) -> Any:
    """Triton's names of an argument's types, in its structure; plain: it is not specialised."""
    if isinstance(value, tuple):
        return type(value)(*(kinds_of(part, (*place, i), plain, found) for i, part in enumerate(value)))
    if value is None or (type(value) is int and value == 1 and not plain):
        found.constants[place] = value
        return "constexpr"
    kind, divisible = kind_of(value)
    if divisible and not plain:
        found.aligned.append(place)
    return kind


def kind_of(value: Any) -> tuple[str, bool]:
    """Triton's name of an argument's type, and whether it is a multiple of 16."""
    if isinstance(value, torch.Tensor):  # a GPU's memory begins at one, whichever a CPU's does
        return f"*{TYPES[value.dtype]}", int(value.storage_offset()) * value.itemsize % 16 == 0
    if isinstance(value, bool):
        return "u1", False
    if isinstance(value, int):
        return "i32" if -(2**31) <= value < 2**31 else "i64", value % 16 == 0
    return "fp32", False


def arguments_of(launch: Launch) -> dict[str, Any]:
    """Arguments that a kernel is compiled for as for those of the launch, by name."""
    constants, aligned = dict(launch.constants), set(launch.aligned)

    def argument(kind: Any, place: Place) -> Any:
        if isinstance(kind, tuple):
            return type(kind)(*(argument(part, (*place, i)) for i, part in enumerate(kind)))
        if kind == "constexpr":
            return constants[place]
        if kind in DTYPES:
            return Pointer(DTYPES[kind], 16 if place in aligned else 4)
        return NUMBERS[kind][place not in aligned]

    return {name: argument(kind, (number,)) for number, (name, kind) in enumerate(launch.signature)}


def compile_launch(launch: Launch, arch: int) -> Any:
    """What Triton makes of a launch, by its own way to one, but for the launch; it keeps it as it does on a GPU.

    Its driver is that of no GPU afterwards: this is for processes that compile alone.
    """
    from triton.runtime import driver

    driver.set_active(NoGpu(arch))
    function = getattr(importlib.import_module(launch.module), launch.kernel)
    return function.run(grid=(1,), warmup=True, **arguments_of(launch), **dict(launch.options))


def attempt(job: tuple[Launch, int]) -> str | None:
    """Of a process of a pool: None where it compiles, else what the compiler says, in a line."""
    try:
        compile_launch(*job)
    except Exception as error:
        said = " ".join(str(error).split())[:2000]
        return f"{job[0].kernel} on sm_{job[1]}: {type(error).__name__}: {said}"
    return None
