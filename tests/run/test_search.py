"""The command line: a search to its end, a resumed one equal to the bit, refusals in one line."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from states import repeatable

from sgl_fast.genotype.genotype import Genotype
from sgl_fast.run import stages
from sgl_fast.run.search_settings import settings_of
from sgl_fast.run.speed import MEASURED
from sgl_fast.search import main, open_data
from sgl_fast.sgl import memory
from sgl_fast.sgl.search import Search

TINY = ["--data", "embedded", "--channels", "4", "--layers", "1", "--nodes", "1", "--batch-size", "4", "--limit", "12"]
SMALL = [*TINY, "--epochs", "2", "--order", "2", "--quiet"]


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
    assert [[Genotype(**g).to_json() for g in r["genotypes"]] for r in records[2::3]][-1] == [
        Genotype(**g).to_json() for g in json.loads((out / "genotype.json").read_text())
    ]
    check_epoch(records[-1], name)
    assert all((out / f"{name}.{form}").exists() for name in ("alphas", "cells", "curves") for form in ("png", "svg"))
    page = (out / "report.html").read_text()
    assert "done; epoch 2 of 2" in page and page.count("<svg") >= 4 and f"{records[-1]['parameters'][0]:,}" in page
    said = capsys.readouterr().out
    assert "multiply-adds" in said and f"--genotype {out}" in said


def check_epoch(record: dict[str, Any], name: str) -> None:
    """What the line of an epoch's end says beside losses: architectures, rates, what was measured."""
    for kind in ("normal", "reduce"):
        assert torch.tensor(record[f"alphas_{kind}"]).sum(-1) == pytest.approx(torch.ones(2, 2).numpy(), abs=1e-6)
        assert (f"betas_{kind}" in record) == (name == "pc_darts")
        for shares in record.get(f"betas_{kind}", []):
            assert sum(shares) == pytest.approx(1), "of the one node"
    assert 0 < record["lr_w"] == record["lr_v"] < 0.1 and record["arch_lr"] > 0
    assert min(record["hypergradient_norm"]) > 0 and min(record["implicit_share"]) > 0
    measured = record[MEASURED]
    assert measured["seconds"] > 6 * measured["ms_per_step"] / 2e3 > 0
    assert measured["images_per_second"] == pytest.approx(3 * 4 / measured["ms_per_step"] * 1e3, rel=0.1)
    assert 0 <= measured["data_share"] < 1 and measured["cpu_seconds"] > 0 and measured["peak_memory"] > 1e7


BAD = [
    ["--space", "nas"],
    ["--ablation", "everything"],
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
    ["--ablation", "no_human_labels", "--learners", "1"],
    ["--memory", "0.000001"],
    ["--device", "tpu"],
    ["--backend", "tpu"],
    ["--backend", "cuda"],
    ["--precision", "float16"],
    ["--precision", "bfloat16"],
    ["--precision", "tf32"],
    ["--precision", "float16", "--frozen-precision", "same", "--algorithm", "paper"],
    ["--precision", "float64"],
    ["--config", "/nowhere.toml"],
    ["--data", "embedded", "--unlabeled", "/nowhere"],
    ["--max-skips", "-1"],
    ["--channels", "1000000000"],
    ["--channels", "4096", "--layers", "100"],
    ["--layers", "100000"],
    ["--nodes", "100000"],
    ["--learners", "100000000000"],
    ["--epochs", "1000000000"],
    ["--batch-size", "100000000"],
    ["--image-size", "100000"],
    ["--seed", "10000000000000000000000"],
    ["--ops", "conv"],
    ["--ops", "none,none"],
    ["--ops", ""],
    ["--space", "p_darts", "--ops", "none,skip_connect,sep_conv_3x3,sep_conv_5x5,dil_conv_3x3"],
]


def test_operations_are_chosen_on_the_command_line(tmp_path: Path) -> None:
    """Genotypes, alphas and a second call that goes on have these alone, in this order."""
    out, ops = tmp_path / "run", ["sep_conv_3x3", "skip_connect", "none"]
    assert main([*TINY, "--epochs", "1", "--ops", ",".join(ops), "--out", str(out), "--quiet"]) == 0
    for genotype in json.loads((out / "genotype.json").read_text()):
        assert {op for op, _ in [*genotype["normal"], *genotype["reduce"]]} <= set(ops)
    assert json.loads((out / "config.json").read_text())["ops"] == ",".join(ops)
    assert torch.load(out / "checkpoint.pt")["search"]["architect"]["arch"]["alphas_normal"].shape[-1] == len(ops)
    assert main(["--resume", "--out", str(out), "--quiet"]) == 0


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_a_bad_command_line_is_one_line_and_exit_2(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main([*TINY, *arguments, "--out", str(tmp_path / "run")])
    except SystemExit as end:
        code = end.code  # type: ignore[assignment]
    assert code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("python -m sgl_fast.search: ")


def test_p_darts_goes_through_its_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the second stage and resumed, it is the uninterrupted run; every learner keeps its own operations."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    tiny = [*TINY, "--space", "p_darts", "--order", "2", "--epochs", "1", "--quiet"]
    assert main([*tiny, "--out", str(whole)]) == 0
    end = state(whole)
    assert end["stage"] == 2
    assert [len(ops) for learner in end["edge_ops"] for ops in learner["normal"]] == [3] * 4
    assert end["edge_ops"][0] != end["edge_ops"][1]
    with monkeypatch.context() as patch:
        stop_in_stage_two(patch)
        assert main([*tiny, "--out", str(cut)]) == 143
    assert state(cut)["stage"] == 1 and state(cut)["run"]["step"] == 5
    assert main([*tiny, "--out", str(cut), "--resume"]) == 0
    assert torch.equal(end["search"]["w"], state(cut)["search"]["w"])
    assert repeatable(whole / "metrics.jsonl") == repeatable(cut / "metrics.jsonl")


def stop_in_stage_two(patch: pytest.MonkeyPatch) -> None:
    """A SIGTERM in its second step."""
    step = Search.step

    def stopped(self: Search, batch: Any) -> Any:
        if len(self.space.ops("normal")[0]) == 5 and self.steps == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    patch.setattr(Search, "step", stopped)


@pytest.mark.parametrize("options", [["--algorithm", "released"], ["--ablation", "separate"], ["--algorithm", "paper"]])
def test_the_other_algorithms_run(options: list[str], tmp_path: Path) -> None:
    assert main([*TINY, "--epochs", "3", "--quiet", *options, "--out", str(tmp_path / "run")]) == 0


def test_a_file_of_options_and_a_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line goes before the file; a small budget chunks the virtual learners and changes no number."""
    options = tmp_path / "options.toml"
    options.write_text('lr = 0.2\nmemory = 0.02\nspace = "pc_darts"\nepochs = 1\n')
    runs = {}
    for name, more in {"chunked": ["--config", str(options)], "whole": ["--lr", "0.2"]}.items():
        assert main([*SMALL, *more, "--out", str(tmp_path / name)]) == 0
        runs[name] = state(tmp_path / name)["search"]["architect"]["arch"]
    config = json.loads((tmp_path / "chunked" / "config.json").read_text())
    assert (config["config"]["lr"], config["config"]["epochs"], config["memory"]) == (0.2, 2, 0.02)
    torch.testing.assert_close(runs["chunked"]["alphas_reduce"], runs["whole"]["alphas_reduce"], rtol=1e-2, atol=1e-4)
    options.write_text("speed = 9\n")
    assert main(["--config", str(options)]) == 2
    assert "'speed' is no option" in capsys.readouterr().err


def test_a_resumed_run_keeps_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "run")]
    assert main([*SMALL, *out]) == 0
    assert main([*SMALL, *out, "--resume", "--lr", "0.7"]) == 2
    assert "--lr 0.7: the run to resume has" in capsys.readouterr().err


def test_a_second_run_in_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "run")]
    assert main([*SMALL, *out]) == 0
    assert main([*SMALL, *out]) == 2
    assert "already holds a run" in capsys.readouterr().err


@pytest.mark.parametrize(("free", "chunk"), [(None, None), (1e6, 3), (2.5e5, 1)])
def test_a_gpu_that_is_nearly_full_takes_virtual_learners_in_chunks(
    free: float | None, chunk: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five of 200 kB at a time, two of which are the teachers'; a device that says nothing takes all."""
    monkeypatch.setattr(stages, "free_budget", lambda device: free)
    monkeypatch.setattr(memory, "saved_bytes", lambda *_: 200_000)
    settings = settings_of({"data": "embedded", "channels": 4, "layers": 1, "batch_size": 4, "limit": 12}, "cpu")
    assert stages.Stages(settings, open_data(settings), "cpu").search.config.chunk == chunk
