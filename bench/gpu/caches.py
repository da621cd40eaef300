"""The kernels that `make gpu` needs, compiled before its clock starts: python -m bench.gpu.caches [--arch sm_90].

Without --arch for the GPUs here; with it on any machine, so that a GPU that is lent by the minute compiles nothing.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import pytest
import torch

from sgl_fast.precompile import architectures_of, cores, cuda, triton

from ..processes import ROOT
from .folders import use_folders

TESTS = ROOT / "tests" / "bench" / "test_gpu.py"


def launches(arch: int) -> Counter[Any]:
    """Triton's, of all parts of `bench.gpu`, caught on CPU tensors."""
    from sgl_fast.kernels.ahead import caught

    found = tested(arch) + searched(arch)
    for run in runs():
        with caught(arch) as some, zeros():
            run()
        found.update(some)
    return found


@contextmanager
def zeros() -> Iterator[None]:
    """What no kernel computes is 0: a finite number, with which every part goes on to its end."""
    like = mock.patch("torch.empty_like", torch.zeros_like)
    with mock.patch("torch.Tensor.new_empty", torch.Tensor.new_zeros), like:
        yield


def searched(arch: int) -> Counter[Any]:
    """Of the part `search`."""
    from sgl_fast.data import open_dataset
    from sgl_fast.run.run_launches import launches_of_run
    from sgl_fast.run.search_settings import settings_of

    settings = settings_of({"space": "pc_darts", "data": "embedded", "epochs": 3, "arch_start": 0}, "cuda")
    return launches_of_run(settings, open_dataset("embedded", None, image_size=settings["image_size"]), arch)


def runs() -> Iterator[Callable[[], Any]]:
    """Passes and steps, of as few images as have the same kernels; what the tools watch; the doctor's small net."""
    from sgl_fast.doctor import error_of
    from sgl_fast.run.run_launches import few_alike
    from sgl_fast.spaces import SPACES

    from .load import small
    from .passes import Size, pass_of
    from .steps import N, step_of

    def one_pass(name: str, size: Size) -> None:
        pass_of(name, "triton", replace(size, N=few_alike(size.N)), "cpu")()

    def one_step(algorithm: str) -> None:
        step_of(algorithm, "triton", False, "cpu", few_alike(N))()

    yield from (partial(one_pass, name, Size.of(name)) for name in SPACES)
    yield from (partial(one_step, algorithm) for algorithm in ("best", "released"))
    yield partial(small, "triton", "cpu")
    yield partial(error_of, "triton")


def tested(arch: int, which: str = "triton") -> Counter[Any]:
    """Of tests/bench/test_gpu.py, which takes the CPU for its GPU; its graphs are tapes. Its tests need not pass.

    which   of them, as pytest's -k
    """
    from sgl_fast.kernels import augment, flat_update, mixed_cell, pseudo_label, skip_dropout  # noqa: F401  (compiled)
    from sgl_fast.kernels.ahead import caught

    sys.path.insert(0, str(ROOT / "tests"))
    from tape import Tape

    class CpuIsTheGpu:
        def pytest_collection_modifyitems(self, items: list[Any]) -> None:
            for module in {item.module for item in items}:
                module.DEVICE = "cpu"

    here = mock.patch("torch.cuda.is_available", lambda: True), mock.patch("sgl_fast.sgl.search.Search.recorder", Tape)
    words = [str(TESTS), "-k", which, "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:benchmark", "-q"]
    with caught(arch) as found, zeros(), here[0], here[1], redirect_stdout(io.StringIO()):
        pytest.main(words, [CpuIsTheGpu()])
    return found


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 all is compiled, 1 something is not, 2 bad arguments."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.caches", description=__doc__)
    parser.add_argument("--arch", default="", help="sm_70,sm_90 and so on")
    args = parser.parse_args(argv)
    use_folders()
    try:
        architectures = architectures_of(args.arch)
    except ValueError as error:
        parser.error(str(error))
    complaints = cuda(architectures)
    complaints += triton([(launch, arch) for arch in architectures for launch in launches(arch)], cores())
    print("\n".join(complaints), file=sys.stderr)
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main())
