"""Which backend is in force: asked for, best of this machine, or refused with the reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import draws, small

import sgl_fast
from sgl_fast.backends import choice as backends
from sgl_fast.backends import extension as extension_parts
from sgl_fast.backends import measured
from sgl_fast.backends.choice import asked_for, choose, compiled, explain, use_backend, why_not
from sgl_fast.ops import flat_update
from sgl_fast.ops.flat_update import row_norms
from sgl_fast.ops.registry import Operator

pytestmark = pytest.mark.usefixtures("nothing_asked")


@pytest.fixture
def nothing_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SGL_FAST_BACKEND", "SGL_FAST_ISA"):
        monkeypatch.delenv(name, raising=False)
    for name in ("TABLE", "_names"):
        monkeypatch.setattr(measured, name, {})
    monkeypatch.setattr(backends, "_fastest", {})


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No extension, as in a pure-Python install."""
    monkeypatch.setattr(extension_parts, "LIBRARY", tmp_path / "libsgl_fast.so")
    monkeypatch.setattr(backends, "_found", None)


@pytest.mark.usefixtures("extension")
def test_the_best_that_can_run() -> None:
    assert choose() == choose("auto") == choose(None, torch.device("cpu"), torch.float32) == "cpu"
    assert choose(None, "cpu", torch.float64) == "reference"
    assert choose(None, torch.device("cuda", 0), torch.float32) == "reference"


@pytest.mark.usefixtures("extension")
def test_what_is_asked_for_is_done_or_refused() -> None:
    x = torch.ones(2, 3)
    assert choose("reference") == "reference"
    with pytest.raises(ValueError, match="'cpu' needs float32 tensors on the CPU; got torch.float64 on cpu"):
        row_norms(x.double(), backend="cpu")
    with pytest.raises(ValueError, match="'cpu' needs float32 tensors on the CPU; got torch.float32 on meta"):
        row_norms(x.to("meta"), backend="cpu")
    with use_backend("cpu"), pytest.raises(ValueError, match="'cpu' needs float32"):
        row_norms(x.double())


def test_cuda_tensors_take_cuda_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "why_not", lambda name, device=None: None)
    assert choose(None, "cuda:1", torch.float32) == choose("cuda", torch.device("cuda", 0), torch.float32) == "cuda"
    assert choose(None, "cuda", torch.float64) == "reference"
    monkeypatch.setattr(backends, "why_not", lambda name, device=None: "no nvcc" if name == "cuda" else None)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert choose(None, "cuda", torch.float32) == choose("triton", "cuda", torch.float32) == "triton"
    monkeypatch.setattr(backends, "why_not", lambda name, device=None: None)
    with pytest.raises(ValueError, match="'triton' needs float32 tensors on a CUDA device; got torch.float32 on cpu"):
        choose("triton", "cpu", torch.float32)
    with pytest.raises(ValueError, match="'cuda' needs float32 tensors on a CUDA device; got torch.float32 on cpu"):
        choose("cuda", "cpu", torch.float32)
    with pytest.raises(ValueError, match="'cpu' needs float32 tensors on the CPU; got torch.float32 on cuda:0"):
        choose("cpu", "cuda:0", torch.float32)


@pytest.mark.usefixtures("extension")
def test_argument_then_setting_then_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGL_FAST_BACKEND", "reference")
    assert choose() == "reference"
    with use_backend("cpu"):
        assert choose() == "cpu" and choose("reference") == "reference"
        with use_backend("auto"):
            assert asked_for() is None and choose() == "cpu"
        assert asked_for() == "cpu"
    assert choose() == "reference"
    assert asked_for("auto") is None
    monkeypatch.setenv("SGL_FAST_BACKEND", "auto")
    assert asked_for() is None


@pytest.mark.usefixtures("extension")
def test_the_kernel_of_the_backend_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither backend is the other in disguise."""
    x = torch.tensor([[3.0, 4.0]])
    called: list[str] = []
    kernels = (lambda rows, name=name: called.append(name) for name in [field.name for field in fields(Operator)])
    monkeypatch.setattr(flat_update, "_row_norms", Operator(*kernels))
    for backend in ("cpu", "reference", None):
        row_norms(x, backend)
    assert called == ["compiled", "reference", "compiled"]


@pytest.mark.usefixtures("missing")
def test_without_the_extension() -> None:
    reason = why_not("cpu")
    assert reason is not None and "\n" not in reason
    assert "compiled extension, which is not installed: pip install ." in reason
    assert choose() == "reference"
    assert row_norms(torch.tensor([[3.0, 4.0]])) == 5
    for refused in (lambda: use_backend("cpu"), lambda: choose("cpu"), compiled):
        with pytest.raises(RuntimeError) as error:
            refused()
        assert str(error.value) == reason
    with pytest.raises(RuntimeError, match="which is not installed"):
        flat_update._row_norms.compiled(torch.ones(1, 2))


def test_a_library_that_does_not_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "libsgl_fast.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(extension_parts, "LIBRARY", broken)
    monkeypatch.setattr(backends, "_found", None)
    reason = why_not("cpu")
    assert reason is not None and "\n" not in reason
    assert f"does not load ({broken}: " in reason and reason.endswith(
        "): pip install . in the sources, with a C++17 compiler"
    )


@pytest.mark.usefixtures("extension")
def test_a_wheel_without_a_part_for_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sgl_fast._C", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Nowhere(), *sys.meta_path])
    monkeypatch.setattr(backends, "_found", None)
    version = ".".join(map(str, sys.version_info[:2]))
    assert f"which has no part for Python {version} here: pip install . in the sources" in str(why_not("cpu"))
    assert choose() == "reference"


class Nowhere:
    """Finds no module sgl_fast._C."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "sgl_fast._C":
            raise ModuleNotFoundError(name)


@pytest.mark.usefixtures("extension")
@pytest.mark.parametrize("value", ["sse9", "AVX2"])
def test_an_unknown_instruction_set_is_an_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGL_FAST_ISA", value)
    with pytest.raises(RuntimeError, match=f"^need SGL_FAST_ISA to be plain, avx2 or avx512; got {value}$"):
        row_norms(torch.ones(1, 2))


@pytest.mark.usefixtures("extension")
def test_instruction_sets_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    best = compiled().isa()
    order = ["plain", "avx2", "avx512"]
    for name in order:
        monkeypatch.setenv("SGL_FAST_ISA", name)
        if order.index(name) <= order.index(best):
            assert compiled().isa() == name
        else:
            with pytest.raises(RuntimeError, match=f"^SGL_FAST_ISA is {name}, which this processor does not have$"):
                compiled().isa()


@pytest.mark.usefixtures("extension")
def test_exact_needs_the_reference() -> None:
    net = small("darts")
    w, arch, images = draws(net, 2)
    y = torch.tensor([0, 1, 2])
    batch = sgl_fast.Batch(images[0], y, images[0], images[1], y)
    inputs = {"net": net, "w": w, "v": w, "arch": arch, "batch": batch, "xi_w": 0.1, "xi_v": 0.1, "method": "exact"}
    with pytest.raises(ValueError, match="method 'exact' needs backend 'reference'; got 'cpu'"):
        sgl_fast.hypergradient(**inputs, backend="cpu")
    with use_backend("cpu"), pytest.raises(ValueError, match="method 'exact' needs backend 'reference'; got 'cpu'"):
        sgl_fast.hypergradient(**inputs)
    assert sgl_fast.hypergradient(**inputs).flat().isfinite().all()


THREADS = """
import os, torch
from sgl_fast.ops.flat_update import row_norms
from sgl_fast.ops.registry import Operator
from sgl_fast.backends.triton import interpreted
count = lambda: len(os.listdir("/proc/self/task"))
torch.set_num_threads(3)
before = count()
row_norms(torch.ones(4, 100_000), backend="cpu")
ours = count()
torch.ones(1_000_000).exp()
print(ours - before, count() - ours)
"""


@pytest.mark.usefixtures("extension")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts the threads in /proc")
def test_the_threads_are_torchs() -> None:
    """Our kernel starts torch's own two helpers; a kernel of torch then finds them there."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", THREADS], cwd=root, env=environment, capture_output=True, timeout=120)
    assert done.stdout.split() == [b"2", b"0"], done


def test_the_choice_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(backends, "why_not", lambda name, device=None: "no nvcc" if name == "cuda" else None)
    assert explain("cuda:0") == "triton, the best that can run; no nvcc"
    assert explain("cpu") == "cpu, the best that can run"
    with use_backend("reference"):
        assert explain("cuda:0") == "reference, as asked"
    monkeypatch.setattr(backends, "why_not", lambda name, device=None: None if name == "reference" else f"no {name}")
    assert explain("cuda") == "reference, the best that can run; no cuda; no triton"


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Milliseconds by backend of the GPU that torch seems to have; every backend can run."""
    steps: dict[str, float] = {}
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(measured, "TABLE", {"NVIDIA H100": steps})
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    monkeypatch.setattr(backends, "why_not", lambda name, device=None: None)
    return steps


def test_the_fastest_where_it_was_measured(planted: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    planted |= {"cuda": 16.04, "triton": 14.2}
    assert choose(None, "cuda") == choose(None, torch.device("cuda", 0), torch.float32) == "triton"
    assert choose(None, "cuda", torch.float64) == "reference"
    assert choose("cuda", "cuda") == "cuda" and choose() == "cpu"
    assert explain("cuda") == "triton, measured 14.2 ms a step on NVIDIA H100 against cuda 16.0"
    assert explain("cpu") == "cpu, the best that can run"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: pytest.fail("asked for once"))
    monkeypatch.setattr(backends, "why_not", lambda name, device=None: pytest.fail("asked for once"))
    assert choose(None, "cuda") == "triton"


def test_the_fastest_that_can_run(planted: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    planted |= {"triton": 14.2, "cuda": 12.0}
    monkeypatch.setattr(backends, "why_not", lambda name, device=None: "no nvcc" if name == "cuda" else None)
    assert explain("cuda") == "triton, measured 14.2 ms a step on NVIDIA H100 against cuda 12.0; no nvcc"
    del planted["cuda"]
    monkeypatch.setattr(backends, "why_not", lambda name, device=None: None)
    assert choose(None, "cuda:1") == "triton"
    assert explain("cuda:1") == "triton, measured 14.2 ms a step on NVIDIA H100"


def test_a_gpu_that_was_not_measured(planted: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    planted |= {"triton": 14.2, "cuda": 16.0}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    assert explain("cuda") == "cuda, the best that can run"
    monkeypatch.setattr(measured, "_names", {})

    def no_driver(device: str) -> str:
        raise RuntimeError("Found no NVIDIA driver on your system")

    monkeypatch.setattr(torch.cuda, "get_device_name", no_driver)
    assert choose(None, "cuda") == "cuda"


def test_the_measured_table_names_backends() -> None:
    table = json.loads(measured.PATH.read_text(encoding="utf-8"))
    assert all(set(steps) <= {"cuda", "triton"} and min(steps.values()) > 0 for steps in table.values())
