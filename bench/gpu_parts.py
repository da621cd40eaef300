"""The parts of a GPU run; see `gpu`. Each returns what JSON can say."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch

import sgl_fast
from sgl_fast.backend import BACKENDS, use_backend, why_not

from .report import ROOT

Result = dict[str, Any]
Call = Callable[[], Any]
DEVICE = "cuda"
SPACES = ("pc_darts", "darts")
V, N, ROUNDS = 2, 50, 5
GPU_BACKENDS = ("reference", "cuda", "triton")


def environment() -> Result:
    found: Result = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda of torch": str(torch.version.cuda),
        "backends": {name: why_not(name) or "ready" for name in BACKENDS},
    }
    try:
        import triton

        found["triton"] = triton.__version__
    except ImportError:
        found["triton"] = "none"
    if torch.cuda.is_available():
        p = torch.cuda.get_device_properties(0)
        found["gpu"] = f"{p.name}, sm_{p.major}{p.minor}, {p.multi_processor_count} multiprocessors"
        found["memory, GiB"] = p.total_memory / 2**30
    else:
        found["gpu"] = "none that torch can use"
    return found


def need_gpu() -> None:
    if not torch.cuda.is_available():
        raise SystemExit("needs an NVIDIA GPU and its driver; torch finds none")


def milliseconds(call: Call, repeats: int = 10) -> float:
    """Of one call, by events around several; after a call that is not counted."""
    call()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / repeats


def ceilings() -> Result:
    """What the GPU reaches at best: copies and products of matrices."""
    need_gpu()
    x = torch.empty(2**26, device=DEVICE)
    y = torch.empty_like(x)
    found: Result = {"copy, GB/s": 2 * x.nbytes / milliseconds(lambda: y.copy_(x)) / 1e6}
    side = 8192
    for name, dtype, tf32 in (
        ("float32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("float16", torch.half, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a = torch.randn(side, side, device=DEVICE, dtype=dtype)
        found[f"product {name}, TFLOP/s"] = 2 * side**3 / milliseconds(lambda a=a: a @ a) / 1e9  # type: ignore[misc]
    return found


def build() -> Result:
    """The extension with CUDA, where there is an nvcc; and what the doctor says."""
    need_gpu()
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    built = subprocess.run(command, cwd=ROOT, env=os.environ | {"SGL_FAST_CUDA": "1"}, capture_output=True, text=True)
    doctor = subprocess.run([sys.executable, "-m", "sgl_fast.doctor"], cwd=ROOT, capture_output=True, text=True)
    said = "" if built.returncode == 0 else (built.stdout + built.stderr)[-1500:]
    return {"exit code": built.returncode, "said": said, "doctor": doctor.stdout + doctor.stderr[-1500:]}


def tests() -> Result:
    """The tests on the device, of both backends."""
    need_gpu()
    return pytest(["tests/test_gpu.py"])


def pytest(arguments: list[str], before: tuple[str, ...] = ()) -> Result:
    command = [*before, sys.executable, "-m", "pytest", "-q", "--tb=short", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return {"exit code": done.returncode, "said": (done.stdout + done.stderr)[-4000:]}


def pass_of(name: str, backend: str) -> Call:
    """Forward and backward with all gradients, at the published size."""
    net = sgl_fast.Supernet(sgl_fast.space(name))
    draw = torch.Generator().manual_seed(0)
    weights = net.init_weights(V, draw).to(DEVICE).requires_grad_()
    arch = net.init_arch(V, draw).map(lambda t: t.to(DEVICE).requires_grad_())
    images = torch.randn(N, 3, 32, 32, generator=draw).to(DEVICE)
    leaves = [weights, *arch.tensors()]

    def call() -> Any:
        return torch.autograd.grad(net(weights, arch, images, backend=backend).square().mean(), leaves)

    return call


def graphed(call: Call) -> Call:
    """The call as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def tried(make: Callable[[], Any]) -> Any:
    """What it returns, or its error in a line."""
    try:
        return make()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error).strip() else ''}"


def passes() -> Result:
    """Of two virtual learners, 50 images, by every backend, launched and as a graph; in turn, medians."""
    need_gpu()
    found: Result = {}
    for name in SPACES:
        calls: dict[str, Call] = {}
        for backend in GPU_BACKENDS:
            for kind, dress in (("", lambda call: call), (" in a graph", graphed)):
                made = tried(lambda b=backend, d=dress, n=name: d(pass_of(n, b)))  # type: ignore[misc]
                if callable(made):
                    calls[f"{backend}{kind}"] = made
                else:
                    found[f"{name}, {backend}{kind}"] = made
        times: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for label, call in calls.items():
                times.setdefault(label, []).append(milliseconds(call, 3))
        found |= {f"{name}, {label}, ms": statistics.median(each) for label, each in times.items()}
        torch.cuda.empty_cache()
    return found


def steps() -> Result:
    """Of a search, K = 2, 50 images, by every backend."""
    need_gpu()
    found: Result = {}
    for algorithm in ("released", "best"):
        for backend in GPU_BACKENDS:
            found[f"pc_darts, {algorithm}, {backend}, ms"] = tried(lambda a=algorithm, b=backend: step_of(a, b))  # type: ignore[misc]
    return found


def step_of(algorithm: str, backend: str) -> float:
    net = sgl_fast.Supernet(sgl_fast.space("pc_darts"))
    config = sgl_fast.Config.preset("pc_darts", learners=2, arch_start=0, pretrain_epochs=0, algorithm=algorithm)
    search = sgl_fast.Search(net, config, device=DEVICE)
    images = torch.randn(3, N, 3, 32, 32, device=DEVICE)
    labels = torch.randint(10, (2, N), device=DEVICE)
    batch = sgl_fast.Batch(images[0], labels[0], images[1], images[2], labels[1])
    with use_backend(backend):
        return milliseconds(lambda: search.step(batch), 2)


def profile() -> Result:
    """Kernels of a PC-DARTS pass: how many, and those that take most."""
    need_gpu()
    found: Result = {}
    for backend in GPU_BACKENDS:
        found[backend] = tried(lambda b=backend: profiled(pass_of("pc_darts", b)))  # type: ignore[misc]
    return found


def profiled(call: Call) -> Result:
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    call()
    torch.cuda.synchronize()
    with profiler(activities=[ProfilerActivity.CUDA]) as log:
        call()
        torch.cuda.synchronize()
    kernels = sorted(log.key_averages(), key=lambda k: -k.device_time_total)
    top = {k.key[:90]: f"{k.count} x, {k.device_time_total / 1e3:.3f} ms" for k in kernels[:12]}
    total = sum(k.device_time_total for k in kernels) / 1e3
    return {"kernels": sum(k.count for k in kernels), "ms on the device": total, **top}


def sanitizer() -> Result:
    """Memory and races of the CUDA kernels, where compute-sanitizer is at hand."""
    need_gpu()
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        raise SystemExit("needs compute-sanitizer in PATH")
    checks, small = ("memcheck", "racecheck"), "flat or pseudo or masks or augmented"
    return {
        c: pytest(
            ["tests/test_gpu.py", "-k", small],
            (tool, "--tool", c, "--error-exitcode", "9"),
        )
        for c in checks
    }


PARTS = (environment, ceilings, build, tests, passes, steps, profile, sanitizer)

if __name__ == "__main__":
    print(json.dumps(next(part for part in PARTS if part.__name__ == sys.argv[1])()))
