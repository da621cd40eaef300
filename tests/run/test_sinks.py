"""--log: what each sink gets, what is said of a package that is not there, and that none ends a run."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sgl_fast.run import sinks
from sgl_fast.run.run_folder import RunFolder
from sgl_fast.run.sinks import scalars, sinks_of

RECORD = {"step": 4, "train_loss": [1.5, 2.5], "alphas_normal": [[[0.5]]], "measured": {"seconds": 3.5}}
RECORD |= {"skips": [{"normal": 1}], "genotypes": [{"normal": [["none", 0]], "normal_concat": [2]}], "lr": None}
SCALARS = {"step": 4, "train_loss/0": 1.5, "train_loss/1": 2.5, "measured/seconds": 3.5, "skips/0/normal": 1}


class Taken(ModuleType):
    """Stands for a package of somebody else; keeps its calls."""

    def __init__(self, broken: str = "") -> None:
        super().__init__("taken")
        self.calls: list[Any] = []
        self.broken = broken

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Taken:
            self.calls.append((name, args, options))
            if name == self.broken:
                raise RuntimeError("the disk is full\nmore words")
            return self

        return call


def run_with(folder: Path, name: str, taken: Taken, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setitem(sys.modules, {"wandb": "wandb", "tensorboard": "torch.utils.tensorboard"}[name], taken)
    run = RunFolder.create(folder)
    run.begin({"lam": 1.0})
    run.good = 3
    run.log_to([name])
    return run


def test_numbers_have_flat_names() -> None:
    assert dict(scalars(RECORD)) == SCALARS


def test_csv_has_a_row_an_epoch_whatever_its_columns(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run") as run:
        run.log_to(["csv"])
        for step in (1, 2):
            run.log({"step": step, "train_loss": [0.5]})
        run.log({"step": 3, "validation_loss": [1.0, 2.0]})
        run.log({"step": 6, "validation_loss": [0.5, float("inf")], "norm": 7.0})
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    one = {"step": "3", "validation_loss/0": "1.0", "validation_loss/1": "2.0", "norm": ""}
    assert rows == [one, {"step": "6", "validation_loss/0": "0.5", "validation_loss/1": "", "norm": "7.0"}]


def test_tensorboard_gets_scalars_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken()
    with run_with(tmp_path / "run", "tensorboard", taken, monkeypatch) as run:
        run.log(RECORD)
    (begin, begun, options), *scalars_, (end, _, _) = taken.calls
    assert (begin, begun, end) == ("SummaryWriter", (str(tmp_path / "run" / "tensorboard"),), "close")
    assert options == {"purge_step": 4}, "of a resumed run, the steps from its checkpoint on are written again"
    assert [call[1] for call in scalars_] == [(name, value, 4) for name, value in SCALARS.items()]


def test_wandb_goes_on_with_the_run_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for folder in ("a", "b"):
        taken = Taken()
        with run_with(tmp_path / folder, "wandb", taken, monkeypatch) as run:
            run.log(RECORD)
        assert [name for name, _, _ in taken.calls] == ["init", "log", "finish"]
        assert taken.calls[0][2]["config"] == {"lam": 1.0} and taken.calls[0][2]["resume"] == "allow"
        assert taken.calls[1] == ("log", (SCALARS,), {"step": 4})
        ids.append(taken.calls[0][2]["id"])
    assert ids[0] != ids[1]


def test_a_sink_that_fails_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    taken = Taken(broken="log")
    with run_with(tmp_path / "run", "wandb", taken, monkeypatch) as run:
        for step in (1, 2):
            run.log({"step": step})
        assert [r["step"] for r in run.read_metrics()] == [1, 2]
    assert capsys.readouterr().err == "--log wandb ends here: the disk is full\\nmore words\n"
    assert [name for name, _, _ in taken.calls] == ["init", "log"]


def test_a_sink_that_cannot_begin_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", Taken(broken="init"))
    with (
        RunFolder.create(tmp_path / "run") as run,
        pytest.raises(ValueError, match=r"--log wandb: the disk is full\\nmore words"),
    ):
        run.log_to(["wandb"])


def test_what_cannot_be_is_said_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sinks_of("none") == [] and sinks_of("csv") == ["csv"]
    monkeypatch.setattr(sinks, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"--log wandb: it is not installed: pip install 'sgl-fast\[wandb\]'"):
        sinks_of("csv,wandb")
    with pytest.raises(ValueError, match="--log: need some of csv, tensorboard, wandb, or none; got 'mlflow'"):
        sinks_of("mlflow")
