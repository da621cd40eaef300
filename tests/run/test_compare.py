"""python -m sgl_fast.compare: groups, means and deviations by hand, the page, refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sgl_fast.compare import main
from sgl_fast.run.run_folder import RunFolder
from sgl_fast.run.speed import MEASURED


def made(folder: Path, lam: float, seed: int, accuracies: list[float], **more: Any) -> str:
    """A search of one learner that ended so many epochs; the other learner is worse."""
    with RunFolder.create(folder) as run:
        run.begin({"space": "darts", "config": {"lam": lam, "seed": seed}, "run": {"backend": "cpu"}})
        for epoch, accuracy in enumerate(accuracies, 1):
            record = {"validation_loss": [9.0, 1.0], "validation_accuracy": [0.0, accuracy], "best_learner": 1}
            record |= {"skips": [{"normal": 7}, {"normal": seed}], MEASURED: {"seconds": 1800.0}}
            run.log({"step": epoch, "epoch": epoch, **record, **more})
    return str(folder)


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    return [
        made(tmp_path / "a", 1.0, 1, [0.25, 0.5]),
        made(tmp_path / "b", 0.5, 2, [0.25, 0.75]),
        made(tmp_path / "c", 1.0, 3, [0.25, 0.75], parameters=[0, 2_500_000]),
    ]


def test_seeds_are_one_row_of_mean_and_deviation(runs: list[str], capsys: Any) -> None:
    assert main(runs) == 0
    head, one, two = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "lam" and len(head) == len(one) == len(two)
    assert head.split() == ["lam", "runs", "val", "error,", "%", "val", "loss", "skips", "M", "params", "hours"]
    assert " ".join(one.split()) == "1.0 2 37.50 ± 17.68 1.000 ± 0.000 2.000 ± 1.414 2.500 0.500 ± 0.000"
    assert two.split() == ["0.5", "1", "25.00", "1.000", "2.000", "-", "0.500"]


def test_the_page_has_groups_runs_and_curves(runs: list[str], tmp_path: Path) -> None:
    assert main([*runs, "--html", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    for words in ("Comparison of 3 runs", "They differ in lam.", "37.50 ± 17.68", runs[1], "<svg", "lam 0.5"):
        assert words in page, words
    cells = re.findall(r"<td>(.*?)</td>", page)
    row = cells[cells.index(runs[1]) :][:7]
    assert row[1:] == ["2", "25.00", "1.000", "2.000", "-", "0.500"], "a number that a run lacks keeps its column"
    assert "refresh" not in page and "<progress" not in page and "<script" not in page


def test_evaluations_are_compared_by_their_test_error(tmp_path: Path, capsys: Any) -> None:
    numbers = {"test_loss": 1.5, "test_accuracy": 0.75, "train_accuracy": 1.0}
    folders = []
    for seed in (1, 2):
        folders.append(str(tmp_path / str(seed)))
        with RunFolder.create(tmp_path / str(seed)) as run:
            run.begin({"lr": 0.1, "seed": seed, "genotype": {"normal": [["none", seed]]}})
            run.log({"step": 1, "epoch": 1, **numbers})
    assert main(folders) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["runs", "test", "error,", "%", "test", "loss", "train", "error,", "%"]
    assert row.split() == ["2", "25.00", "±", "0.00", "1.500", "±", "0.000", "0", "±", "0"]


def test_what_is_no_run_is_one_line(runs: list[str], tmp_path: Path, capsys: Any) -> None:
    with RunFolder.create(tmp_path / "new") as run:
        run.begin({"lr": 0.1})
    with RunFolder.create(tmp_path / "trained") as run:
        run.begin({"lr": 0.1})
        run.log({"step": 1, "epoch": 1, "test_loss": 1.0, "test_accuracy": 0.5, "train_accuracy": 0.5})
    assert main([]) == 2 and "need folders of runs" in capsys.readouterr().err
    for folder, words in {"nowhere": "cannot read", "new": "no epoch", "trained": "need runs of one kind"}.items():
        assert main([*runs, str(tmp_path / folder)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and said.startswith("python -m sgl_fast.compare: ") and words in said
