"""The one command for a GPU, on a machine without one: what can start does, the rest says why not, all is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench import gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
def test_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu, "HALVES", {"both": {"environment": 60, "ceilings": 60, "nothing": 60}})
    assert gpu.main(["--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    records = json.loads((tmp_path / "gpu.json").read_text())
    assert records["environment"]["result"]["gpu"] == "none that torch can use"
    assert records["ceilings"]["error"] == "needs an NVIDIA GPU and its driver; torch finds none"
    assert "error" in records["nothing"] and "ceilings: needs an NVIDIA GPU" in said
    assert "none that torch can use" in (tmp_path / "gpu.md").read_text()


def test_a_part_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.run("environment", 0.01) == {"seconds": 0.01, "error": "not done after 0.01 s"}


def test_a_half_keeps_what_the_other_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "run", lambda part, limit: {"seconds": 1, "result": {"part": part}})
    assert gpu.main(["--half", "first", "--out", str(tmp_path)]) == 0
    assert gpu.main(["--half", "second", "--out", str(tmp_path)]) == 0
    assert list(json.loads((tmp_path / "gpu.json").read_text())) == list(gpu.FIRST | gpu.SECOND)
