"""Runs that begin in Python: the command's run folder, from a data set of one's own."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from states import differences, repeatable

import sgl_fast
from sgl_fast import evaluate, search
from sgl_fast.backends import choice
from sgl_fast.data import from_torch, open_dataset
from sgl_fast.errors import RunStopped
from sgl_fast.run import stages
from sgl_fast.sgl import search as algorithm

SIZES: dict[str, Any] = {"channels": 4, "layers": 1, "nodes": 1, "batch_size": 4, "limit": 12, "quiet": True}
TINY = {"figures": "none", **SIZES}
FLAGS = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))][:-1]
WRITTEN = ["alphas", "cells", "curves"]


class Shapes:
    """As torchvision's: PIL images, labels, names of classes; every image its own colour."""

    classes = ("bright", "dark")

    def __init__(self, count: int = 60) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (16, 16), (200 - 150 * (index % 2), 3 * index % 256, index)), index % 2


def metrics(folder: Path) -> list[dict[str, Any]]:
    return repeatable(folder / "metrics.jsonl")


def test_an_own_data_set_gives_a_run_folder(tmp_path: Path) -> None:
    found = sgl_fast.run_search(Shapes(), "darts", tmp_path / "run", **SIZES, epochs=2)
    assert found.folder == tmp_path / "run" and len(found.genotypes) == 2
    assert sgl_fast.Genotype.from_json((found.folder / "best.json").read_text()) == found.best
    assert found.record["best_learner"] == found.best_learner and len(metrics(found.folder)) == 6
    assert all((found.folder / f"{name}.{form}").exists() for name in WRITTEN for form in ("png", "svg"))
    page = (found.folder / "report.html").read_text()
    again = f"sgl_fast.run_evaluation({str(found.folder)!r}, dataset)"
    assert "done; epoch 2 of 2" in page and "on Shapes" in page and again in str(found)
    assert again.replace("'", "&#39;") in page
    assert json.loads((found.folder / "config.json").read_text())["data"] == "python:Shapes"
    assert (found.folder / "checkpoint.pt").exists() and (found.folder / "genotypes.jsonl").exists()


def test_the_command_does_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers, files and words; data as a name and as the object of that name."""
    command = [*FLAGS, "--data", "embedded", "--image-size", "32", "--space", "darts", "--epochs", "1"]
    assert search.main([*command, "--out", str(tmp_path / "command")]) == 0
    printed = capsys.readouterr().out
    for name, data in (("named", "embedded"), ("made", open_dataset("embedded"))):
        found = sgl_fast.run_search(data, "darts", tmp_path / name, **TINY, image_size=32, epochs=1)
        assert metrics(tmp_path / name) == metrics(tmp_path / "command")
        files = [{path.name for path in (tmp_path / one).iterdir()} for one in (name, "command")]
        assert files[0] == files[1]
        assert str(found).splitlines()[:-1] == printed.splitlines()[:-1]


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int, number: signal.Signals) -> None:
    """The signal, in the step after so many."""
    whole = algorithm.Search.step

    def stepped(self: Any, batch: Any) -> Any:
        if self.steps == step:
            os.kill(os.getpid(), number)
        return whole(self, batch)

    monkeypatch.setattr(stages.Search, "step", stepped)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    sgl_fast.run_search(Shapes(), out=tmp_path / "whole", **TINY, epochs=2)
    expected = KeyboardInterrupt if number == signal.SIGINT else RunStopped
    with monkeypatch.context() as patch, pytest.raises(expected, match=f"{number.name}; saved at step 4") as caught:
        stop_after(patch, 3, number)
        sgl_fast.run_search(Shapes(), out=tmp_path / "run", resume="auto", **TINY, epochs=2)
    assert number == signal.SIGINT or caught.value.code == 128 + number  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="the data are others"):
        sgl_fast.run_search(Shapes(58), out=tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match="came from Python"):
        sgl_fast.run_search(out=tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match="--epochs 3: the run to resume has 2"):
        sgl_fast.run_search(Shapes(), out=tmp_path / "run", resume=True, epochs=3)
    with pytest.raises(ValueError, match="--data embedded: the run to resume has python:Shapes"):
        sgl_fast.run_search("embedded", out=tmp_path / "run", resume=True)
    sgl_fast.run_search(Shapes(), out=tmp_path / "run", resume="auto", **TINY, epochs=2)
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")


def test_commands_say_that_images_came_from_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    sgl_fast.run_search(Shapes(), out=out, **TINY, epochs=1)
    for main, arguments in (
        (search.main, ["--resume", str(out)]),
        (evaluate.main, ["--genotype", str(out), "--out", str(tmp_path / "other")]),
        (search.main, ["--data", "python:Shapes", "--out", str(tmp_path / "other")]),
    ):
        capsys.readouterr()
        assert main([*arguments, "--quiet"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "came from Python: sgl_fast.run_search" in said
    assert not (tmp_path / "other").exists()


def test_an_evaluation_from_python(tmp_path: Path) -> None:
    """Of the run, of a genotype; resumed; and the same numbers as by the command."""
    found = sgl_fast.run_search(Shapes(), out=tmp_path / "run", **TINY, epochs=1)
    sizes: dict[str, Any] = {"channels": 4, "layers": 3, "epochs": 1, "batch_size": 8, "figures": "none", "quiet": True}
    trained = sgl_fast.run_evaluation(found.folder, Shapes(), tmp_path / "trained", **sizes)
    assert 0 <= trained.accuracy <= 1 and json.loads((trained.folder / "result.json").read_text()) == trained.result
    assert (trained.folder / "report.html").exists()
    again = sgl_fast.run_evaluation(found.best, Shapes(), tmp_path / "again", **sizes)
    assert not differences(tmp_path / "again", tmp_path / "trained")
    resumed = sgl_fast.run_evaluation(dataset=Shapes(), out=tmp_path / "again", resume=True)
    assert resumed.result == again.result
    with pytest.raises(ValueError, match="came from Python"):
        sgl_fast.run_evaluation(found.folder, out=tmp_path / "other", **sizes)
    flags = [word for name, value in sizes.items() for word in (f"--{name.replace('_', '-')}", str(value))][:-1]
    command = ["--genotype", "DARTS_V2", "--data", "embedded", "--limit", "16", *flags]
    assert evaluate.main([*command, "--out", str(tmp_path / "command")]) == 0
    here = sgl_fast.run_evaluation("DARTS_V2", "embedded", tmp_path / "here", limit=16, **sizes)
    assert metrics(tmp_path / "here") == metrics(tmp_path / "command") and here.folder == tmp_path / "here"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"learner": 2}, "'learner' is no option; near it: learners"),
    ({"epochs": "two"}, "epochs: need a whole number; got 'two'"),
    ({"epochs": 0}, "epochs"),
    ({"space": "nas"}, "space"),
    ({"device": "tpu"}, "--device: need auto"),
    ({"backend": "tpu"}, "--backend: unknown backend"),
    ({"resume": "maybe"}, "need resume True, False or 'auto'; got 'maybe'"),
    ({"resume": True}, "need out, the folder"),
    ({"dataset": 3}, "train: need a map-style Dataset, with a length; got int"),
    ({"dataset": Shapes(), "image_size": -1}, "image-size: need a number of at least 1"),
    ({"dataset": Shapes(), "val": Shapes()}, "need test where val is given"),
    ({"dataset": "embedded", "test": Shapes()}, "test goes with a dataset that is an object"),
    ({"dataset": "mnist"}, "unknown data set 'mnist'"),
    ({"dataset": open_dataset("embedded"), "image_size": 16}, "has its val, test, unlabeled and image_size already"),
    ({"dataset": Shapes(), "unlabeled": "/nowhere"}, "/nowhere"),
    ({"config": "/nowhere.toml"}, "cannot read /nowhere.toml"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD, ids=[says[:20] for _, says in BAD])
def test_what_does_not_fit_is_a_line(
    arguments: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as caught:
        sgl_fast.run_search(**{**TINY, **arguments})
    said = str(caught.value).replace("image_size:", "image-size:").replace("need image_size", "image-size: need")
    assert says in said and "\n" not in said
    assert not list(tmp_path.glob("runs/*/config.json"))


def test_the_process_stays_the_callers(tmp_path: Path) -> None:
    """A run of another backend, of more determinism; one that says no backend takes the caller's."""
    with sgl_fast.use_backend("reference"):
        sgl_fast.run_search(Shapes(), "darts", tmp_path / "a", **TINY, epochs=1)
        assert "reference" in json.loads((tmp_path / "a" / "config.json").read_text())["run"]["backend"]
        sgl_fast.run_search(Shapes(), "darts", tmp_path / "b", **TINY, epochs=1, backend="auto", deterministic=True)
        assert choice.asked_for() == "reference" and not torch.are_deterministic_algorithms_enabled()


def test_settings_of_other_libraries_and_files(tmp_path: Path) -> None:
    """numpy's numbers, names in a list, a TOML file; beside it other images for each role."""
    (tmp_path / "own.toml").write_text("[schedule]\nepochs = 1\nlr = 0.05\n")
    sizes = {**TINY, "channels": np.int64(4), "ops": ["none", "skip_connect", "sep_conv_3x3"], "lr": np.float64(0.25)}
    found = sgl_fast.run_search(
        Shapes(8),
        out=str(tmp_path / "run"),
        val=Shapes(10),
        test=Shapes(6),
        unlabeled=Shapes(12),
        config=tmp_path / "own.toml",
        **sizes,
    )
    config = json.loads((found.folder / "config.json").read_text())
    assert config["config"]["epochs"] == 1 and config["config"]["lr"] == 0.25 and config["channels"] == 4
    assert config["ops"] == "none,skip_connect,sep_conv_3x3"
    assert config["run"]["data"]["images"] == {"train": 8, "val": 10, "test": 6, "unlabeled": 12}


def test_a_run_keeps_the_size_of_its_images(tmp_path: Path) -> None:
    """Who goes on, or evaluates, need not say it again."""
    found = sgl_fast.run_search(Shapes(), "darts", tmp_path / "run", image_size=8, **TINY, epochs=1)
    again = sgl_fast.run_search(Shapes(), out=tmp_path / "run", resume=True, quiet=True, figures="none")
    assert again.best == found.best
    trained = sgl_fast.run_evaluation(
        found.folder, Shapes(), tmp_path / "trained", channels=4, layers=3, epochs=1, batch_size=8, figures="none"
    )
    for folder in (found.folder, trained.folder):
        assert json.loads((folder / "config.json").read_text())["run"]["data"]["size"] == [8, 8]


def test_images_without_labels_of_a_folder(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / "more").mkdir(exist_ok=True)
        Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / "more" / f"{number}.png")
    found = sgl_fast.run_search(Shapes(), out=tmp_path / "run", unlabeled=tmp_path / "more", **TINY, epochs=1)
    config = json.loads((found.folder / "config.json").read_text())
    assert config["run"]["data"]["images"]["unlabeled"] == 6 and config["unlabeled"] == str(tmp_path / "more")
    whole = sgl_fast.run_search(from_torch(Shapes()), out=tmp_path / "whole", unlabeled="train", **TINY, epochs=1)
    assert whole.genotypes
