"""Kernels compiled where there is no GPU are those that a run on one asks for: none is compiled again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from compiled import printed

from sgl_fast import precompile
from sgl_fast.backends import nvrtc

SETTINGS = ["--space", "pc_darts", "--data", "embedded", "--channels", "16", "--layers", "1", "--nodes", "1"]
SETTINGS += ["--batch-size", "18", "--limit", "36", "--epochs", "2", "--arch-start", "1"]
# A search of both orders whose every launch goes Triton's own way to a driver that loads and runs nothing; all memory
# is zeros, so that every number is finite. Steps after the first one of a kind are captured, and replayed.
RUN = f"""
import sys
from types import SimpleNamespace
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
sys.path.insert(0, "tests")
from tape import Tape
from sgl_fast.backends.triton import launches_on_the_cpu
from sgl_fast.kernels.configurations import assumed
from sgl_fast.search import main
from sgl_fast.sgl.search import Search

launches = []
utils = SimpleNamespace(
    load_binary=lambda *args: (1, 1, 0, 0, 1024), get_device_properties=lambda device: {{"max_shared_mem": 1 << 20}}
)
driver.set_active(SimpleNamespace(
    utils=utils, get_current_device=lambda: 0, get_current_stream=lambda device: 0,
    get_current_target=lambda: GPUTarget("cuda", 90, 32),
    launcher_cls=lambda source, metadata: lambda *args: launches.append(source),
))
zeros = torch.Tensor.new_zeros
torch.Tensor.new_empty = lambda self, *size, **how: zeros(self, *size, **how)
torch.empty_like = torch.zeros_like
Search.recorder, Search.graphed = Tape, True
with assumed(90), launches_on_the_cpu():
    code = main([*{SETTINGS}, "--scale", "paper", "--device", "cpu", "--backend", "triton", "--figures", "none",
                 "--quiet", "--out", sys.argv[1]])
assert len(launches) > 100
sys.exit(code)
"""


def command(folder: Path, *words: str) -> str:
    """What it prints; its caches lie in the folder."""
    return printed(*words, TRITON_CACHE_DIR=str(folder / "triton"), SGL_FAST_CACHE=str(folder / "cuda"))


def test_a_run_finds_every_kernel(interpreted: None, tmp_path: Path) -> None:
    """And compiles the one that was left out, which shows that it asks."""
    folder = tmp_path / "triton"
    said = command(
        tmp_path, "-m", "sgl_fast.precompile", *SETTINGS, "--arch", "sm_90", "--backend", "triton", "--jobs", "2"
    )
    kept = precompile.kept_in(folder)
    assert len(kept) > 20 and f"{len(kept)} of {len(kept)} kernels new" in said
    (left_out,) = [path for path in kept if path.name == "hidden_grad_kernel.cubin"]
    shutil.rmtree(left_out.parent)
    for path in kept - {left_out}:
        os.utime(path, (0, 0))
    command(tmp_path, "-c", RUN, str(tmp_path / "run"))
    assert precompile.kept_in(folder) == kept
    assert [path for path in kept if path.stat().st_mtime] == [left_out]


BAD = [
    (["--arch", "sm_71"], "--arch: need some of sm_70, "),
    (["--arch", "90"], "got '90'"),
    ([], "--arch: need compute capabilities, as sm_90; torch finds no GPU"),
    (["--arch", "sm_90", "--backend", "cpu"], "--backend: need cuda or triton"),
    (["--arch", "sm_90", "--backend", "cuda", "--jobs", "0"], "--jobs: need at least 1; got 0"),
    (["--arch", "sm_90,sm_70", "--backend", "cuda", "--precision", "bfloat16"], "--precision: need another than bfl"),
    (["--arch", "sm_90", "--backend", "cuda", "--data", "nothing"], "unknown data set 'nothing'"),
    (["--arch", "sm_90", "--backend", "cuda", "--layers", "0"], "--layers: need"),
    (["--arch", "sm_90", "--backend", "triton"], "TRITON_INTERPRET=1 is set"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[said for _, said in BAD])
def test_bad_input_is_one_line(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(precompile, "present", list)
    assert precompile.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{precompile.PROG}: ") and said in error and error.count("\n") == 1


def test_what_does_not_compile_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that cannot be written, too; what else was asked for is compiled."""
    monkeypatch.setattr(precompile.device_code, "compiled_here", compiled_here)
    assert precompile.main(["--arch", "sm_70,sm_80,sm_90", "--backend", "cuda", "--data", "embedded"]) == 1
    said = capsys.readouterr()
    assert said.err == f"{precompile.PROG}: cuda, sm_70: no such GPU\n{precompile.PROG}: cuda, sm_80: cannot write\n"
    assert said.out.startswith("cuda    sm_90  ") and said.out.count("\n") == 1


def compiled_here(arch: int) -> tuple[int, int]:
    if arch == 70:
        raise RuntimeError("no such GPU")
    if arch == 80:
        raise OSError("cannot write")
    return 3, 4


def test_settings_are_those_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    """On a GPU: the paper's scale, unless another is said."""
    words = ["--arch", "sm_90", "--backend", "cuda", "--learners", "3", "--print-config"]
    assert precompile.main(words) == 0
    said = capsys.readouterr().out
    assert 'scale = "paper"' in said and "learners = 3" in said


def test_gpus_that_are_here_are_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0) if device else (7, 0))
    assert precompile.architectures_of("") == [70, 90]


def test_architectures_that_only_the_compiler_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "why_not_nvrtc", lambda: None)
    monkeypatch.setattr(nvrtc, "architectures", lambda: [50, 90, 140])
    assert precompile.architectures_of("sm_140,sm_70,sm_140") == [140, 70]
    with pytest.raises(ValueError, match="got 'sm_50'"):
        precompile.architectures_of("sm_50")
