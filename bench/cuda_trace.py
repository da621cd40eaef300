"""Runs the CUDA kernels of a call from their PTX, without a GPU, and counts what each block does (csrc/tests/trace).

The launches are the host's own, through the stand-in for the driver; kernels are NVRTC's PTX for the oldest
architecture that it knows. Images all do the same: one is run, and once more as the launch's last, which finishes
statistics.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from sgl_fast.backends import device_code, nvrtc

from . import gpus
from .report import ROOT

SOURCE, LIBRARY = ROOT / "csrc" / "tests" / "trace", ROOT / "build" / "trace.so"
FLAGS = ["-std=c++17", "-O2", "-fwrapv", "-fPIC", "-shared", "-w"]
# Of a grid: the axis of images, or of groups of images. Of kernels that are not here some blocks are run for all.
IMAGES = {"convolve": 1, "combine": 0, "node_sums": 0, "dgrad": 1, "wgrad": 1, "add_shares": 1, "alpha_beta_grad": 0}
TABLE = {"convolve": 1, "dgrad": 2, "wgrad": 2, "alpha_beta_grad": 2}  # the parameter that is a table of jobs
SOME = 4
OLDEST = 70
COUNTS = ["slots", "shuffles", "barriers", "loads", "loading", "l2_sectors", "dram_sectors"]
LATENCIES = ["alu", "fp64", "sfu", "shared", "l1", "l2", "dram", "shuffle", "barrier", "branch"]
UNITS, NUM_GPUS = 8, 3


class LaunchStruct(ctypes.Structure):
    _fields_ = (("grid", 3 * ctypes.c_uint), *((n, ctypes.c_uint) for n in ("threads", "shared")), ("l1", ctypes.c_int))


class GpuStruct(ctypes.Structure):
    _fields_ = (*((n, ctypes.c_float) for n in (*LATENCIES, "issue")), ("unit", UNITS * ctypes.c_float))

    @classmethod
    def of(cls, gpu: gpus.Gpu) -> GpuStruct:
        latencies = [getattr(gpu, name) for name in LATENCIES]
        return cls(*latencies, gpus.ISSUE, (UNITS * ctypes.c_float)(*gpu.units))


class CountsStruct(ctypes.Structure):
    _fields_ = (
        *((n, ctypes.c_double) for n in COUNTS),
        ("units", UNITS * ctypes.c_double),
        ("cycles", NUM_GPUS * ctypes.c_double),
    )


class Block(NamedTuple):
    """Of a block, all its warps: instructions of machine code; loads of global memory, and the cycles that these take;
    sectors of 32 bytes; instructions or wavefronts by unit; cycles alone on a multiprocessor, by GPU."""

    slots: float
    shuffles: float
    barriers: float
    loads: float
    loading: float
    l2_sectors: float
    dram_sectors: float
    units: tuple[float, ...]
    cycles: tuple[float, ...]

    @classmethod
    def of(cls, counts: Any) -> Block:
        plain = {name: getattr(counts, name) for name in COUNTS}
        return cls(**plain, units=tuple(counts.units), cycles=tuple(counts.cycles))


class Launch(NamedTuple):
    """blocks: of one image, in the order of the grid; last: of the last image, [] if none waits for the others; axis:
    of the grid, along which images lie, None if they do not."""

    kernel: str
    grid: tuple[int, int, int]
    threads: int
    shared: int
    blocks: list[Block]
    last: list[Block]
    axis: int | None

    @property
    def images(self) -> int:
        return 1 if self.axis is None else self.grid[self.axis]


@cache
def library() -> Any:
    """Compiled if its sources have changed, and told the kernels' PTX."""
    newest = max(path.stat().st_mtime for path in SOURCE.iterdir())
    if not LIBRARY.exists() or LIBRARY.stat().st_mtime < newest:
        LIBRARY.parent.mkdir(exist_ok=True)
        fresh = LIBRARY.with_suffix(f".{os.getpid()}")  # of several processes each builds its own
        subprocess.run(["g++", *FLAGS, str(SOURCE / "trace.cpp"), "-o", str(fresh)], check=True)
        fresh.replace(LIBRARY)
    found = ctypes.CDLL(str(LIBRARY))
    found.trace_said.restype = ctypes.c_char_p
    found.trace_load.restype = found.trace_run.restype = ctypes.c_bool
    for unit in device_code.units():
        load(found, ptx_of(unit))
    return found


@cache
def ptx_of(unit: str) -> bytes:
    """For the oldest architecture that NVRTC compiles for."""
    target = f"compute_{max(OLDEST, min(nvrtc.architectures()))}"
    return nvrtc.compile_code(unit, target, device_code.SOURCES)[0]


def load(library: Any, ptx: bytes) -> None:
    if not library.trace_load(ptx):
        raise RuntimeError(library.trace_said().decode())


def stem(kernel: str) -> str:
    return kernel.partition("_kernel")[0]


class Trace:
    """The launches that a driver is told of; each kind is run once. writes: all blocks of all are, and write."""

    def __init__(self, writes: bool = False) -> None:
        self.launches: list[Launch] = []
        self._known: dict[tuple[object, ...], Launch] = {}
        self._writes = writes

    def __call__(self, name: bytes, grid: Sequence[int], threads: int, shared: int, parameters: Sequence[int]) -> None:
        launch = Launch(
            name.decode(), (grid[0], grid[1], grid[2]), threads, shared, [], [], IMAGES.get(stem(name.decode()))
        )
        others = tuple(n for axis, n in enumerate(launch.grid) if axis != launch.axis)
        key = (launch.kernel, others, shared, *self._contents(launch, parameters))
        if self._writes or key not in self._known:
            self._known[key] = self._run(launch, parameters)
        known = self._known[key]
        self.launches.append(launch._replace(blocks=known.blocks, last=known.last))

    def _contents(self, launch: Launch, parameters: Sequence[int]) -> Iterator[object]:
        """Of the parameters: a table by its address, one for each content; other addresses by whether they are."""
        sizes = (16 * ctypes.c_int)()
        for i in range(library().trace_parameters(launch.kernel.encode(), sizes)):
            raw = ctypes.string_at(parameters[i], sizes[i])
            if i == 0 and launch.axis is not None:
                raw = bytes(4) + raw[4:]  # V of a cell, by which there are more images
            words = [raw[j : j + 8] for j in range(0, len(raw), 8)]
            yield raw if TABLE.get(stem(launch.kernel)) == i else tuple(b"" if is_address(w) else w for w in words)

    def _run(self, launch: Launch, parameters: Sequence[int]) -> Launch:
        sizes = [range(n) for n in launch.grid]
        if launch.axis is not None and not self._writes:
            sizes[launch.axis] = range(1)
        places = [(x, y, z) for z, y, x in product(*reversed(sizes))]
        if launch.axis is None and not self._writes:
            places = places[:: max(1, len(places) // SOME)][:SOME]
        flat = (3 * len(places) * ctypes.c_uint)(*(n for place in places for n in place))
        counts = (2 * len(places) * CountsStruct)()
        sizes_of = LaunchStruct(
            (3 * ctypes.c_uint)(*launch.grid), launch.threads, launch.shared, l1_sectors(launch.shared)
        )
        structs = (NUM_GPUS * GpuStruct)(*map(GpuStruct.of, gpus.GPUS))
        name = launch.kernel.encode()
        if not library().trace_run(
            name, ctypes.byref(sizes_of), structs, parameters, flat, len(places), self._writes, counts
        ):
            raise RuntimeError(library().trace_said().decode())
        blocks = [Block.of(one) for one in counts]
        last = blocks[len(places) :]
        return launch._replace(blocks=blocks[: len(places)], last=last if last[0].slots else [])


def is_address(word: bytes) -> bool:
    """Of the host, as far as numbers tell."""
    return len(word) == 8 and 0x50 <= int.from_bytes(word, "little") >> 40 < 0x80


def l1_sectors(shared: int) -> int:
    """Of a block on the GPU with the smallest cache, beside another block."""
    least = min(gpu.l1_bytes for gpu in gpus.GPUS)
    return max(4 << 10, least // 2 - shared) // 32


@contextmanager
def tracing(stand_in: ctypes.CDLL, trace: Trace) -> Iterator[None]:
    """The driver's stand-in tells `trace` of its launches."""
    sizes, addresses = ctypes.POINTER(ctypes.c_uint), ctypes.POINTER(ctypes.c_void_p)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_char_p, sizes, ctypes.c_uint, ctypes.c_uint, addresses)
    errors: list[BaseException] = []

    def told(*launch: Any) -> None:
        try:
            trace(*launch)
        except BaseException as error:  # ctypes would print it and go on
            errors.append(error)

    hook = kind(told)
    place = ctypes.c_void_p.in_dll(stand_in, "sgl_fast_on_launch")
    place.value = ctypes.cast(hook, ctypes.c_void_p).value
    try:
        yield
    finally:
        place.value = None
    if errors:
        raise errors[0]
