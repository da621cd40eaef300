"""The command line: a search to its end, a resumed one equal to the bit, refusals in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sgl_fast.genotype import Genotype
from sgl_fast.search import main

TINY = ["--data", "embedded", "--channels", "4", "--layers", "1", "--nodes", "1", "--batch-size", "4", "--limit", "12"]
SMALL = [*TINY, "--epochs", "2", "--quiet"]


def state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


@pytest.mark.parametrize("name", ["darts", "darts_minus", "pc_darts"])
def test_a_search_ends_with_a_genotype(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main([*SMALL, "--space", name, "--out", str(out)]) == 0
    assert len(Genotype.from_json((out / "best.json").read_text()).normal) == 2
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == list(range(1, 7))
    assert len(records[-1]["validation_accuracy"]) == 2
    assert all((out / f"{picture}.png").exists() for picture in ("alphas", "cells", "curves"))
    said = capsys.readouterr().out
    assert "multiply-adds" in said and f"--genotype {out / 'best.json'}" in said


def test_killed_and_resumed_is_the_uninterrupted_run(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main([*SMALL, "--out", str(whole)]) == 0
    command = [sys.executable, "-m", "sgl_fast.search", *SMALL, "--out", str(cut)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (cut / "checkpoint.pt").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert main([*SMALL, "--out", str(cut), "--resume"]) == 0
    for name, tensor in state(whole)["architect"]["arch"].items():
        assert torch.equal(tensor, state(cut)["architect"]["arch"][name])
    assert (whole / "metrics.jsonl").read_bytes() == (cut / "metrics.jsonl").read_bytes()


BAD = [
    ["--space", "nas"],
    ["--space", "p_darts"],
    ["--algorithm", "magic"],
    ["--scale", "huge"],
    ["--learners", "0"],
    ["--learners", "two"],
    ["--channels", "6"],
    ["--layers", "0"],
    ["--nodes", "-1"],
    ["--batch-size", "1"],
    ["--lr", "0"],
    ["--lam", "-1"],
    ["--r", "0"],
    ["--order", "3"],
    ["--method", "guess"],
    ["--epochs", "0"],
    ["--data", "mnist"],
    ["--data", "cifar10", "--root", "/nowhere"],
    ["--resume"],
    ["--unknown"],
]


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_a_bad_command_line_is_one_line_and_exit_2(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main([*arguments, "--out", str(tmp_path / "run")])
    except SystemExit as end:
        code = end.code  # type: ignore[assignment]
    assert code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("python -m sgl_fast.search: ")


def test_a_second_run_in_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "run")]
    assert main([*SMALL, *out]) == 0
    assert main([*SMALL, *out]) == 2
    assert "already holds a run" in capsys.readouterr().err
