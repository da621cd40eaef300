"""The stand-in for the CUDA driver, whose kernels are simulated threads on the CPU (csrc/tests/sim/libcuda.cpp)."""

from __future__ import annotations

import ctypes
import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
LIBRARY = ROOT / "build" / "simulated" / "libcuda.so"
SOURCES = [CSRC / "tests" / "sim" / name for name in ("libcuda.cpp", "cudasim.cpp")]
FLAGS = ["-std=c++17", "-O2", "-g0", "-DCUDASIM", "-fPIC", "-shared", "-w"]


@contextmanager
def alone() -> Iterator[None]:
    """Processes that compile wait for each other."""
    LIBRARY.parent.mkdir(parents=True, exist_ok=True)
    with (LIBRARY.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build() -> None:
    """Compiles it if what it is made of has changed."""
    with alone():
        newest = max(path.stat().st_mtime for folder in ("cuda", "tests/sim") for path in (CSRC / folder).iterdir())
        if LIBRARY.exists() and LIBRARY.stat().st_mtime > newest:
            return
        fresh = LIBRARY.with_suffix(".new")
        subprocess.run(["g++", *FLAGS, *map(str, SOURCES), "-o", str(fresh)], check=True)
        fresh.replace(LIBRARY)


class StandIn:
    """What tests tell it and ask of it."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(str(LIBRARY))
        self.library.sgl_fast_launched.restype = ctypes.c_char_p

    def launched(self) -> list[tuple[str, int, int]]:
        """Since the last call: each launch's kernel, blocks, bytes of dynamic shared memory."""
        rows = (line.split() for line in self.library.sgl_fast_launched().decode().splitlines())
        return [(kernel, int(blocks), int(shared)) for kernel, blocks, shared in rows]

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Kernels are counted from zero and do not run; results are 0."""
        self.launched()
        self.library.sgl_fast_count(True)
        try:
            yield
        finally:
            self.library.sgl_fast_count(False)

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """What is forbidden while a graph is captured is an error."""
        self.library.sgl_fast_capture(True)
        try:
            yield
        finally:
            self.library.sgl_fast_capture(False)


@cache
def stand_in() -> StandIn:
    """It takes the driver's place in this process, which must have none yet; its kernels are loaded."""
    from sgl_fast.backends.choice import compiled

    build()
    os.environ["SGL_FAST_LIBCUDA"] = str(LIBRARY)
    compiled().cuda.load(0, [b"simulated"])
    return StandIn()
