"""What a GPU run times and counts, on the CPU and small: rows, ratios, floors, errors in lines."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.gpu import floor as gpu_floor
from bench.gpu import kernels as gpu_kernels
from bench.gpu import load as gpu_load
from bench.gpu import passes as gpu_passes
from bench.gpu import steps as gpu_steps
from bench.gpu import timing as gpu_timing
from bench.gpu.floor import Ceilings, Counted
from bench.gpu.passes import Size
from bench.gpu.timing import Broken, tried
from bench.processes import Done
from sgl_fast.nets.supernet import Supernet
from sgl_fast.spaces import SPACES, space

TINY: dict[str, int] = {"channels": 4, "layers": 3, "nodes": 2}
SMALL = Size(V=2, N=2, side=8, changes=TINY)
NOMINAL = Ceilings(3e12, 50e12, 350e12, 700e12)


def failing(text: str = "out of\nluck") -> Any:
    raise ValueError(text)


def test_an_error_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tried("cuda", lambda: 3) == 3
    assert tried("cuda", failing) == "ValueError: out of"
    assert tried("cuda", partial(failing, "")) == "ValueError"
    monkeypatch.setattr(gpu_timing, "wait", failing)
    with pytest.raises(Broken, match="cuda broke the device: ValueError: out of") as broken:
        tried("cuda", failing)
    assert broken.value.contender == "cuda"


def test_times_in_turn() -> None:
    called: list[str] = []
    calls: dict[str, Any] = {"eager": lambda: called.append("a"), "cuda in a graph": failing}
    *_, last = gpu_timing.in_turn(calls, 2)
    assert isinstance(last["eager"], float) and last["cuda in a graph"] == "ValueError: out of"
    rows = dict(gpu_timing.compared(calls, {"eager": {"MiB at the peak": 3.0}, "cuda in a graph": {}}))
    assert rows["eager"] == {"ms": rows["eager"]["ms"], "to eager": 1.0, "MiB at the peak": 3.0}  # type: ignore[index]


@pytest.mark.usefixtures("extension")
def test_passes() -> None:
    found = dict(gpu_passes.timed_passes(["eager", "reference", "cpu", "nothing"], "pc_darts", SMALL, "cpu"))
    assert all({"ms", "to eager"} <= found[name].keys() for name in ("eager", "reference", "cpu"))
    assert found["nothing"].startswith("ValueError: unknown backend 'nothing'")
    if not torch.cuda.is_available():
        assert found["cpu in a graph"] == "RuntimeError: a CUDA graph needs a GPU"


@pytest.mark.parametrize("name", SPACES)
def test_a_pass_of_every_space(name: str) -> None:
    """Eager and ours have the same gradients in number and size."""
    side = 64 if name == "pc_darts_imagenet" else 8
    size = Size(V=1, N=2, side=side, changes=TINY)
    eager, ours = (gpu_passes.pass_of(name, one, size, "cpu")() for one in ("eager", "reference"))
    assert sum(g.numel() for g in eager) == sum(g.numel() for g in ours)
    assert Size.of(name).side == (224 if name == "pc_darts_imagenet" else 32)


@pytest.mark.parametrize("algorithm", ["released", "best"])
@pytest.mark.parametrize("contender", ["eager", "reference"])
def test_steps(algorithm: str, contender: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_steps, "WARM", 1)
    row = gpu_steps.step_row(algorithm, contender, False, "cpu", N=2, side=8, **{**TINY, "nodes": 1})
    assert row.keys() == {"ms"} and row["ms"] > 0


def test_the_floor() -> None:
    """At nominal ceilings: products of DARTS at 350 TFLOP/s, what PC-DARTS keeps at 3 TB/s."""
    net = Supernet(space("pc_darts"))
    kept = 440e6 * 2 * 2 / 3e12
    assert gpu_floor.least_ms(net, 100, NOMINAL) == pytest.approx(1e3 * kept, rel=0.05)
    slow = NOMINAL._replace(float32=1e12, tf32=2e12)
    assert gpu_floor.least_ms(net, 100, slow) == pytest.approx(1e3 * 6 * 56.6e6 * 100 / 2e12, rel=0.05)
    assert gpu_floor.least_ms(Supernet(space("pc_darts_imagenet")), 64, NOMINAL) > 0
    assert min(gpu_floor.ceilings("cpu", 2**16, 32)) > 0


def test_the_counted_floor() -> None:
    found = gpu_floor.counted("pc_darts", 2, 50, NOMINAL)
    assert {"convolve_kernel", "dgrad_kernel"} <= found.keys()
    assert sum(one.launches for one in found.values()) < 300
    assert all(one.ms >= 0.999 * one.gigabytes / 3 for one in found.values())


EVENTS = [
    ("void sgl_fast::(anonymous namespace)::convolve_kernel<1>(sgl_fast::CellView, float*)", 3, 0.5),
    ("void sgl_fast::(anonymous namespace)::convolve_kernel<4>(sgl_fast::CellView, float*)", 5, 1.0),
    ("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>(int)", 2, 0.25),
    ("Memset (Device)", 1, 0.25),
    ("combine_kernel", 1, 2.0),
]


def test_kernels_of_a_profile() -> None:
    kernels = gpu_kernels.merged(EVENTS)
    names = ["combine_kernel", "convolve_kernel", "vectorized_elementwise_kernel", "Memset"]
    assert [k.name for k in kernels] == names and kernels[1] == ("convolve_kernel", 8, 1.5)
    rows = dict(gpu_kernels.rows_of(kernels, {"convolve_kernel": Counted(8, 1.5, 0.75)}))
    assert rows["all"] == {"launches": 12, "ms": 4.0, "share": 1.0}
    assert rows["convolve_kernel"]["of the floor"] == 0.5 and "of the floor" not in rows["combine_kernel"]


@pytest.mark.usefixtures("extension")
def test_what_the_tools_watch(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_load.main(["small", "cpu", "--device", "cpu"]) == 0
    assert gpu_load.DONE in capsys.readouterr().out
    gpu_load.whole("cpu", "cpu", SMALL)


LINE = "epoch 3/3  step 120/120  41 ms  3659 images/s  data 12%  left 0:00:00  train loss 1.1 1.2"


def test_a_search_is_told(tmp_path: Path) -> None:
    def go(command: list[str], limit: float) -> Done:
        folder = Path(command[-1])
        folder.mkdir()
        (folder / "metrics.jsonl").write_text('{"step": 119}\n{"step": 120, "val_loss": [1.5], "alphas": [0.1]}\n')
        return Done(0, "", f"backend cuda\n{LINE}\n", 21.04)

    assert dict(gpu_steps.searched("cuda", [], 40, go)) == {
        "cuda, exit code": 0,
        "cuda, seconds": 21.0,
        "cuda, progress": "120 of 120 steps, 41 ms a step, 24.4 steps/s, data 12%",
        "cuda, last record": '{"step": 120, "val_loss": [1.5]}',
    }
    late = dict(gpu_steps.searched("cuda", [], 40, lambda command, limit: Done(None, "", "", 40.0)))
    assert late["cuda, exit code"] == "not done after 40 s" and late["cuda, progress"] == "no progress line"
    assert dict(gpu_steps.searched("cuda", [], 4, lambda *_: Done(2, "", "--device: no cuda", 1)))["cuda, said"]


def test_parts_go_on_after_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of steps, compiled passes and profiles, as if there were a GPU."""
    for module in (gpu_steps, gpu_passes, gpu_kernels):
        monkeypatch.setattr(module, "need_gpu", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")

    def step_row(algorithm: str, contender: str, graph: bool) -> dict[str, float]:
        return failing("no graph") if graph else {"ms": 100.0 if contender == "eager" else 25.0}

    monkeypatch.setattr(gpu_steps, "step_row", step_row)
    assert list(gpu_steps.steps(["cuda", "eager"], "best")) == [
        ("GPU", "NVIDIA H100"),
        ("cuda", {"ms": 25.0}),
        ("cuda in a graph", "ValueError: no graph"),
        ("eager", {"ms": 100.0}),
        ("cuda", {"ms": 25.0, "to eager": 4.0}),
        ("eager", {"ms": 100.0, "to eager": 1.0}),
    ]
    monkeypatch.setattr(gpu_passes, "timed_passes", lambda contenders, name, size: [(contenders[-1], size.changes)])
    assert ("nodes 4, torch.compile", {"layers": 3, "nodes": 4}) in list(gpu_passes.compiled(["eager"]))
    kernels = {"cuda": gpu_kernels.merged(EVENTS)}
    monkeypatch.setattr(gpu_kernels, "ceilings", lambda: NOMINAL)
    monkeypatch.setattr(gpu_kernels, "profiled", lambda name, contender, size: kernels[contender])
    found = dict(gpu_kernels.profile(["eager", "cuda"]))
    assert found["eager"] == "KeyError: 'eager'" and found["cuda, all"]["launches"] == 12


def test_memory_is_what_a_call_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    for name, value in {"memory_allocated": 1, "memory_reserved": 2, "max_memory_allocated": 4}.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value * 2**20)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 8 * 2**20)
    called: list[int] = []
    call, row = gpu_timing.watched(lambda: lambda: called.append(1), calls=3)
    assert row == {"MiB at the peak": 3.0, "MiB reserved": 6.0} and len(called) == 3
