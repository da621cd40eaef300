"""The doctor: what is missing is named, with the exact remedy; what computes wrongly is found."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from sgl_fast import doctor
from sgl_fast.backends import choice as backends
from sgl_fast.backends import device_code, nvrtc, reasons
from sgl_fast.backends.choice import compiled, why_not
from sgl_fast.backends.cuda import why_not_cuda


def driver(reason: str = "") -> Any:
    """An extension that says that of the driver."""
    return SimpleNamespace(cuda=SimpleNamespace(why_no_driver=lambda: reason))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A GPU that torch says is there; a request's parameter is its compute capability."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for function, value in {
        "is_available": True,
        "get_device_name": "GPU",
        "get_device_capability": getattr(request, "param", (7, 0)),
    }.items():
        monkeypatch.setattr(torch.cuda, function, lambda device=None, value=value: value)


def test_a_torch_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    reason = why_not_cuda(driver())
    assert reason is not None and "\n" not in reason
    assert "needs a torch with CUDA" in reason and reason.endswith("pip install torch")


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "needs an NVIDIA GPU and its driver" in str(why_not_cuda(driver()))


def test_no_driver(gpu: None) -> None:
    assert str(why_not_cuda(driver("no libcuda.so.1"))).endswith("NVIDIA's driver library: no libcuda.so.1")


@pytest.mark.parametrize("gpu", [(13, 0)], indirect=True)
def test_a_gpu_without_kernels(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_code, "_targets", lambda: frozenset({"sm_70"}))
    monkeypatch.setattr(nvrtc, "why_not_nvrtc", lambda: "there is no NVRTC")
    reason = str(why_not_cuda(driver()))
    assert "no kernels for this GPU of compute capability 13.0, and cannot compile them: there is no NVRTC" in reason
    monkeypatch.setattr(device_code, "_targets", lambda: frozenset({"sm_70", "compute_120"}))
    assert why_not_cuda(driver()) is None


@pytest.mark.usefixtures("extension")
def test_the_cuda_part_is_in_every_build() -> None:
    """It says why there is no driver, and refuses what is not on a GPU or not loaded."""
    cuda = compiled().cuda
    if reason := cuda.why_no_driver():
        assert reason.startswith("need a CUDA driver: libcuda.so.1")
        with pytest.raises(RuntimeError, match="need a CUDA driver"):
            cuda.row_norms(torch.ones(2, 3))
    assert not cuda.loaded(0) or torch.cuda.is_available()


@pytest.mark.usefixtures("extension")
def test_what_runs_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.main([]) == 0
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    machine = {"sgl_fast", "torch", "CPU", "memory", "disk", "GPU", "CUDA", "caches", "data", "variables"}
    assert machine | {"reference", "cpu", "triton", "cuda"} == set(said)
    assert "ready: gradients of a small net within" in said["cpu"] and compiled().isa() in said["CPU"]
    assert " no: " in said["triton"]
    assert doctor.main(["--backend", "cpu"]) == 0 and doctor.main(["--backend", "triton"]) == 1


def test_all_of_it_as_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With what was found of data, and where it was looked for."""
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
    monkeypatch.setenv("SGL_FAST_DATA", str(tmp_path))
    monkeypatch.setattr(doctor, "error_of", lambda name: 1e-6)
    assert doctor.main(["--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert f"cifar10 in {tmp_path}/cifar-10-python.tar.gz; " in said["data"]
    assert (
        f"no cifar100, fashion_mnist, imagenet in {tmp_path}" in said["data"] or "fashion_mnist in /usr" in said["data"]
    )
    assert f"SGL_FAST_DATA={tmp_path}" in said["variables"]
    assert said["backends"]["reference"] == {"well": True, "said": "ready"}


@pytest.mark.usefixtures("extension")
def test_a_backend_that_computes_wrongly(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cell = compiled().mixed_cell

    class Wrong(ModuleType):
        def __getattr__(self, name: str) -> Any:
            return getattr(good, name)

        def mixed_cell(self, *inputs: Any) -> Any:
            out, *saved = cell(*inputs)
            return out * 1.01, *saved

    good = compiled()
    monkeypatch.setattr(backends, "_found", Wrong("wrong"))
    assert doctor.main([]) == 1
    assert "WRONG: gradients of a small net within" in capsys.readouterr().out


@pytest.mark.usefixtures("extension")
def test_a_backend_that_breaks_is_said_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> float:
        raise RuntimeError("Failed to find C compiler. Please specify\nvia CC")

    monkeypatch.setattr(doctor, "error_of", broken)
    assert doctor.main([]) == 1
    said = capsys.readouterr().out
    assert "BROKEN: RuntimeError: Failed to find C compiler. Please specify\n" in said and "via CC" not in said


def test_a_missing_backend_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(reasons, "known", {})
    if why_not("cpu") is None:
        assert "needs a torch with CUDA" in str(why_not("cuda"))
        with pytest.raises(RuntimeError, match="needs a torch with CUDA"):
            compiled("cuda")
