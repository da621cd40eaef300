"""Tables and figures of the paper at the tiny scale, from the command to the files."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from statistics import mean, stdev
from types import SimpleNamespace
from typing import Any

import pytest
from killed import kill

from sgl_fast.reproduce import main, paper
from sgl_fast.reproduce.launch import Local, slurm
from sgl_fast.reproduce.results import Estimate
from sgl_fast.reproduce.tables import number, told

ROOT = Path(__file__).parents[2]
CHEAP = {
    "table2": r"^DARTS\(1st\) \+ SGL",
    "table3": r"GDAS|3.3 to 3.7|^DARTS\(1st\) \+ SGL",
    "table4": "SGL-DARTS-1st",
    "table5": r"CIFAR-10\)",
    "table6": r"Joint \(CIFAR-10\)",
    "table7": r"With human labels \(CIFAR-10\)",
    "figure3": "lam = 0, cifar10$",
    "figure4": "K = 1, cifar10$",
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where items share their searches."""
    return tmp_path_factory.mktemp("reproduced")


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


@pytest.mark.parametrize("name", CHEAP)
def test_an_item_is_reproduced(name: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--out", str(out), "--seeds", "1", "--rows", CHEAP[name]]) == 0
    said = capsys.readouterr()
    rows = rows_of(out / f"{name}.csv")
    assert rows and all(float(row["error"]) > 0 and row["error_count"] == "1" for row in rows)
    assert (out / f"{name}.md").read_text().strip() == said.out.strip()
    assert all(row["method"] in said.out for row in rows) and "nothing is comparable with the paper" in said.out
    assert (out / f"{name}.svg").exists() == name.startswith("figure")
    if name in ("table2", "table3"):
        printed = next(r for r in paper.item(name).rows if r.method == "DARTS-1st + SGL")
        assert f"| {printed.error} |" in said.out and any(row["paper_error"] == str(printed.error.mean) for row in rows)

    words = [name, "--out", str(out), "--seeds", "1", "--rows", CHEAP[name]]
    assert main([*words, "--device", "cpu"]) == 0
    assert "0 to do" in capsys.readouterr().err


def test_an_item_of_another_algorithm_needs_another_folder(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["table4", "--out", str(out), "--seeds", "1", "--rows", CHEAP["table4"]]
    assert main(words) == 0
    before = (out / "table4.csv").read_text()
    capsys.readouterr()
    assert main([*words, "--algorithm", "best"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "'--algorithm paper' in place of '--algorithm best': need another" in said.err
    assert not said.out and (out / "table4.csv").read_text() == before


def test_the_numbers_are_those_of_the_runs(out: Path) -> None:
    words = ["table6", "--out", str(out), "--seeds", "1,2", "--retrainings", "2", "--rows", r"Joint \(CIFAR-10\)"]
    assert main(words) == 0
    row = rows_of(out / "table6.csv")[0]
    folder = out / "darts-order-1-learners-2-cifar10"
    errors = []
    for seed in (1, 2):
        results = [json.loads((folder / f"seed{seed}/cifar10-training{i}/result.json").read_text()) for i in (1, 2)]
        errors.append([100 * (1 - r["test_accuracy"]) for r in results])
    means = [mean(pair) for pair in errors]
    assert float(row["error"]) == pytest.approx(mean(means))
    assert float(row["error_deviation_searches"]) == pytest.approx(stdev(means))
    within = mean(stdev(pair) ** 2 for pair in errors) ** 0.5
    assert float(row["error_deviation_trainings"]) == pytest.approx(within) and row["error_count"] == "4"
    metrics = [json.loads(line) for line in (folder / "seed1/search/metrics.jsonl").read_text().splitlines()]
    assert float(row["days"]) < 1 and metrics[-1]["measured"]["seconds"] > 0
    best = metrics[-1]["best_learner"]
    assert float(row["parameters"]) == pytest.approx(
        mean(
            json.loads((folder / f"seed{s}/search/metrics.jsonl").read_text().splitlines()[-1])["parameters"][b] / 1e6
            for s, b in ((1, best), (2, last_best(folder / "seed2")))
        )
    )


def last_best(folder: Path) -> int:
    return int(json.loads((folder / "search/metrics.jsonl").read_text().splitlines()[-1])["best_learner"])


def test_killed_and_started_again_it_gives_the_same_table(out: Path, tmp_path: Path) -> None:
    words = ["table6", "--seeds", "1", "--rows", r"Joint \(CIFAR-10\)", "--out"]
    kill([*words, str(tmp_path)], tmp_path, ["config.json"] * 3)
    for place in (tmp_path, out):
        assert main([*words, str(place)]) == 0
    measured = [name for name in rows_of(out / "table6.csv")[0] if name.startswith("days")]
    tables = [[{**row, **dict.fromkeys(measured)} for row in rows_of(at / "table6.csv")] for at in (tmp_path, out)]
    assert tables[0] == tables[1]


def test_a_job_that_fails_is_told_and_tried_again(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["table5", "--out", str(tmp_path), "--seeds", "1", "--rows", r"^With first stage \(CIFAR-10\)"]
    broken = tmp_path / "darts-order-1-learners-2-cifar10/seed1/search"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text("[]")
    assert main(words) == 1
    said = capsys.readouterr()
    assert "seed1/search: failed with exit code 2: python -m sgl_fast.search: " in said.err
    assert "cifar10-training1: left out: what it needs failed" in said.err and "2 of 2 jobs failed" in said.err
    assert "| With first stage (CIFAR-10) | - | - | 2.41±0.06 |" in said.out
    (broken / "config.json").unlink()
    assert main(words) == 0


def test_estimates_tell_searches_and_trainings_apart() -> None:
    assert Estimate.of([[], []]) is None
    assert Estimate.of([[3.0], []]) == Estimate(3.0, None, None, 1)
    got = Estimate.of([[1.0, 3.0], [5.0, 5.0], [6.0]])
    assert got == Estimate(pytest.approx(13 / 3), pytest.approx(stdev([2, 5, 6])), pytest.approx(1.0), 5)
    assert told(got) == "4.33 ± 2.08 [1.00]" and told(None) == "-" and number(0.00123) == "0.0012"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table9"], "the paper has no item 'table9'; near it: table"),
        ([], "need a NAME: table2"),
        (["table2", "--scale", "big"], "--scale: need one of tiny, paper; got 'big'"),
        (["table2", "--algorithm", "x"], "--algorithm: need one of best, paper, released"),
        (["table2", "--seeds", "3-1"], "--seeds: need numbers with commas"),
        (["table2", "--seeds", "a"], "--seeds: need numbers with commas"),
        (["table2", "--retrainings", "0"], "--retrainings: need a number of at least 1; got 0"),
        (["table2", "--workers", "x"], "--workers"),
        (["table2", "--device", "tpu"], "--device: need auto, cpu"),
        (["table2", "--launcher", "ray"], "--launcher: need one of local, slurm; got 'ray'"),
        (["table2", "--launcher", "slurm", "--slurm", "x"], "--slurm: need NAME=VALUE; got 'x'"),
        (["table2", "--row", "x"], "unknown option --row; near it: --rows"),
    ],
)
def test_bad_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    try:
        code = main([*words, *(["--out", str(tmp_path / "x")] if words else [])])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr().err
    assert code == 2 and said.count("\n") == 1 and message in said and not (tmp_path / "x").exists()


def test_the_list_runs_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["table6", "--list", "--out", str(tmp_path / "x"), "--scale", "paper", "--seeds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("to do  python -m sgl_fast.search --space p_darts") for line in lines) == 2
    assert main(["--list"]) == 0 and "figure4  Validation error" in capsys.readouterr().out
    assert not (tmp_path / "x").exists()


def test_workers_have_a_gpu_each() -> None:
    pool = Local(2, ["3", "5"])
    futures = [pool.submit(os.getenv, "CUDA_VISIBLE_DEVICES") for _ in range(6)]
    assert {future.result() for future in futures} <= {"3", "5"}
    assert isinstance(pool.submit(os.kill, 0, 0).result(), type(None))
    with pytest.raises(Exception, match="terminated abruptly"):
        pool.submit(os._exit, 1).result()
    assert pool.submit(len, "four").result() == 4, "another process takes its place"
    pool.stop()


def test_slurm_is_submitits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: dict[str, Any] = {}

    class Executor:
        def __init__(self, folder: Path, cluster: str) -> None:
            told.update(folder=folder, cluster=cluster)

        def update_parameters(self, **parameters: Any) -> None:
            told.update(parameters)

    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(AutoExecutor=Executor))
    assert isinstance(slurm(tmp_path, {"slurm_partition": "gpu", "timeout_min": "60"}), Executor)
    assert told == {"folder": tmp_path, "cluster": "slurm", "slurm_partition": "gpu", "timeout_min": 60}
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"--launcher slurm: needs submitit: pip install sgl-fast\[slurm\]"):
        slurm(tmp_path, {})
