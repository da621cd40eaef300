"""The doctor and the toolkit: what is missing is named, with the exact remedy; what computes wrongly is found."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from sgl_fast import doctor
from sgl_fast.backends import choice as backends
from sgl_fast.backends import toolkit
from sgl_fast.backends.choice import compiled, why_not
from sgl_fast.backends.cuda import why_not_cuda


def fake_nvcc(folder: Path, release: str, archs: str) -> Path:
    """A compiler of that version that knows those architectures."""
    path = folder / "bin" / "nvcc"
    path.parent.mkdir(parents=True)
    answer = f'case $1 in --version) echo "Cuda compilation tools, release {release}, V{release}.1";;'
    path.write_text(f"#!/bin/sh\n{answer} *) printf '{archs}';; esac\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CUDA_HOME, with nothing in it; no other toolkit is found."""
    folder = tmp_path / "toolkit"
    monkeypatch.setenv("CUDA_HOME", str(folder))
    monkeypatch.delenv("CUDA_PATH", raising=False)
    which = shutil.which
    inside = lambda name, path="": which(name, path=path) if str(folder) in path else None  # noqa: E731
    monkeypatch.setattr(toolkit.shutil, "which", inside)
    return folder


def cuda_part(reason: str = "") -> Any:
    """An extension whose CUDA kernels say that."""
    return SimpleNamespace(cuda=SimpleNamespace(why_not=lambda: reason))


def gpu(monkeypatch: pytest.MonkeyPatch, name: str, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for function, value in {
        "is_available": True,
        "init": None,
        "get_device_name": name,
        "get_device_capability": capability,
    }.items():
        monkeypatch.setattr(torch.cuda, function, lambda value=value: value)


def test_the_compiler_of_cuda_home(home: Path) -> None:
    assert toolkit.nvcc() is None
    missing = "there is no nvcc in CUDA_HOME, /usr/local/cuda or PATH; torch's CUDA is 13.0"
    assert toolkit.why_not_build("13.0") == missing
    path = fake_nvcc(home, "12.8", "compute_70\\ncompute_75\\ncompute_80\\ncompute_90\\n")
    assert toolkit.nvcc() == str(path)
    assert toolkit.why_not_build("12.6") is None
    assert toolkit.why_not_build("13.0") == f"{path} is of CUDA 12.8, and torch's CUDA is 13.0"
    assert toolkit.why_not_build(None) == "this torch is built without CUDA"
    assert toolkit.architectures(str(path)) == "7.0;8.0;9.0+PTX"


def test_a_compiler_without_volta(home: Path) -> None:
    path = fake_nvcc(home, "13.0", "compute_75\\ncompute_80\\ncompute_90\\ncompute_100\\n")
    assert toolkit.architectures(str(path)) == "7.5;8.0;9.0+PTX"


def test_a_torch_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    reason = why_not_cuda(cuda_part())
    assert reason is not None and "\n" not in reason
    assert "needs a torch with CUDA" in reason and "pip install torch (for a V100: torch 2.10 with CUDA 12.8" in reason


def test_a_build_without_nvcc(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    reason = why_not_cuda(SimpleNamespace())  # type: ignore[arg-type]
    assert reason is not None and "there is no nvcc in CUDA_HOME" in reason
    assert "install the CUDA 12.8 toolkit (for a V100:" in reason
    assert reason.endswith("then pip install --no-build-isolation . in the sources, with SGL_FAST_CUDA=1")
    fake_nvcc(home, "12.8", "compute_70\\n")
    reason = why_not_cuda(SimpleNamespace())  # type: ignore[arg-type]
    assert reason is not None and "it was left out: there is an nvcc for it now" in reason


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "needs an NVIDIA GPU and its driver" in str(why_not_cuda(cuda_part()))


def test_a_build_for_other_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, "Tesla V100", (7, 0))
    assert why_not_cuda(cuda_part()) is None
    reason = str(why_not_cuda(cuda_part("no kernel image is available")))
    assert "not built for this Tesla V100 of compute capability 7.0 (no kernel image is available)" in reason
    assert "torch 2.10 with CUDA 12.8 (pip install torch==2.10.0) and the nvcc of CUDA 12.8, then" in reason
    gpu(monkeypatch, "GPU to come", (13, 0))
    reason = str(why_not_cuda(cuda_part("no kernel image is available")))
    assert "V100" not in reason and reason.endswith("with TORCH_CUDA_ARCH_LIST=13.0 and SGL_FAST_CUDA=1")


@pytest.mark.usefixtures("extension")
def test_this_build_has_what_its_machine_can_build() -> None:
    """Where there is an nvcc for this torch the extension has CUDA kernels, which load and refuse other tensors."""
    extension = compiled()
    asked = os.environ.get("SGL_FAST_CUDA") != "0"
    assert hasattr(extension, "cuda") == (asked and toolkit.why_not_build(torch.version.cuda) is None)
    if hasattr(extension, "cuda"):
        with pytest.raises(RuntimeError, match="need tensors on cuda; got one on cpu"):
            extension.cuda.row_norms(torch.ones(2, 3))


@pytest.mark.usefixtures("extension")
def test_what_runs_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.main([]) == 0
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert {"sgl_fast", "torch", "GPU", "nvcc", "reference", "cpu", "triton", "cuda"} == set(said)
    assert "ready: gradients of a small net within" in said["cpu"] and compiled().isa() in said["cpu"]
    assert " no: " in said["triton"]
    assert doctor.main(["--backend", "cpu"]) == 0 and doctor.main(["--backend", "triton"]) == 1


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


def test_a_missing_backend_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(backends, "_cuda", {})
    if why_not("cpu") is None:
        assert "needs a torch with CUDA" in str(why_not("cuda"))
        with pytest.raises(RuntimeError, match="needs a torch with CUDA"):
            compiled("cuda")
