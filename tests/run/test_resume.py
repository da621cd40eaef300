"""What --resume goes on from: anything that is not this run's own is one line, exit code 2, and no file is changed."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from states import get, leaves, repeatable, same

from sgl_fast import evaluate, search
from sgl_fast.run import checkpoint, identity, run_folder
from sgl_fast.run.evaluate_args import stored_config
from sgl_fast.run.search_resume import stored_settings

SIZES = ["--channels", "4", "--layers", "1", "--nodes", "1", "--batch-size", "4", "--limit", "8", "--epochs", "2"]
SEARCH = ["--data", "embedded", *SIZES, "--order", "2", "--quiet"]
EVALUATE = ["--genotype", "DARTS_V2", "--data", "embedded", "--channels", "2", "--layers", "2", "--epochs", "2"]
EVALUATE += ["--batch-size", "8", "--limit", "8", "--quiet"]
PROGRAMS: dict[str, tuple[Any, list[str]]] = {"search": (search, SEARCH), "evaluate": (evaluate, EVALUATE)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each command that was killed after its first epoch; two checkpoints each."""
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        save = run_folder.RunFolder.save

        def last(self: Any, *args: Any) -> None:
            save(self, *args)
            save(self, *args)
            raise KeyboardInterrupt

        patch.setattr(run_folder.RunFolder, "save", last)
        for name, (program, arguments) in PROGRAMS.items():
            folders[name] = tmp_path_factory.mktemp(name)
            with pytest.raises(KeyboardInterrupt):
                program.main([*arguments, "--out", str(folders[name])])
    return folders


@pytest.fixture
def cut(runs: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    def copied(name: str) -> Path:
        return Path(shutil.copytree(runs[name], tmp_path / name))

    return copied


def refusal(name: str, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """What a resume says that leaves everything as it is."""
    before = contents(out)
    capsys.readouterr()
    assert PROGRAMS[name][0].main(["--resume", "--quiet", "--out", str(out), *more]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"python -m sgl_fast.{name}: ")
    assert contents(out) == before
    return said


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """A JSON file or a checkpoint, changed; well-formed as before."""
    if path.suffix == ".json":
        value = json.loads(path.read_text())
        path.write_text(json.dumps(change(value) or value))
    else:
        state = checkpoint.load(path)
        torch.save(change(state) or state, path)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_damage_of_a_config_is_one_line(name: str, runs: dict[str, Path]) -> None:
    """Refused where it is read, or a setting that could have been typed; nothing else happens."""
    out = runs[name]
    config = json.loads((out / "config.json").read_text())

    def read(damaged: dict[str, Any]) -> None:
        stored_config({}, out, damaged) if name == "evaluate" else stored_settings(damaged)

    bad = [None, "x", -1, 10**9, 10**30, 0.5, float("nan"), float("inf"), True, [], {}, [1] * 1000]
    refused = 0
    for place in leaves(config):
        if place[0] == "run":
            continue
        for value in bad:
            damaged = copy.deepcopy(config)
            get(damaged, place[:-1])[place[-1]] = value
            try:
                read(damaged)
            except ValueError as error:
                assert "\n" not in str(error) and len(str(error)) < 500, (place, value)
                refused += 1
    assert refused > 150
    with pytest.raises(ValueError, match="surplus"):
        read({**config, "surplus": 1})


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_changed_config_is_refused(name: str, cut: Callable[[str], Path], capsys: Any) -> None:
    """A setting that could have been typed, but was not."""
    out = cut(name)
    target = {"search": lambda c: c["config"].update(lam=0.5), "evaluate": lambda c: c.update(lr=0.5)}[name]
    edit(out / "config.json", target)
    assert f"{out / 'config.json'}: not of these settings: config.json was changed" in refusal(name, out, capsys)


@pytest.mark.parametrize("name", PROGRAMS)
def test_another_runs_checkpoint_is_refused(name: str, cut: Callable[[str], Path], tmp_path: Path, capsys: Any) -> None:
    """Though every shape is right."""
    program, arguments = PROGRAMS[name]
    other, out = tmp_path / "other", cut(name)
    assert program.main([*arguments, "--seed", "9", "--out", str(other)]) == 0
    shutil.copy(other / "checkpoint.pt", out)
    said = refusal(name, out, capsys)
    assert f"{out / 'checkpoint.pt'}: not of these settings" in said
    assert "without it --resume goes on from checkpoint.prev.pt" in said


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_later_format_is_refused(name: str, cut: Callable[[str], Path], capsys: Any) -> None:
    out = cut(name)
    edit(out / "checkpoint.pt", lambda state: state["run"].update(format=identity.FORMAT + 1, sgl_fast="9.1"))
    assert "format 2 of sgl_fast 9.1; this version reads up to 1" in refusal(name, out, capsys)


@pytest.mark.parametrize("bad", [None, 7, [], {"format": "1"}, {"format": 1, "data": 3}])
def test_an_identity_that_no_run_writes_is_refused(bad: Any, cut: Callable[[str], Path], capsys: Any) -> None:
    out = cut("search")
    edit(out / "config.json", lambda config: config.update(run=bad))
    if bad is None:
        return
    assert f"{out / 'config.json'}: 'run' is not what a run writes" in refusal("search", out, capsys)


@pytest.mark.parametrize("field", ["name", "classes", "size", "images", "labels", "split"])
def test_other_data_are_refused(field: str, cut: Callable[[str], Path], capsys: Any) -> None:
    out = cut("search")
    edit(out / "checkpoint.pt", lambda state: state["run"]["data"].update({field: "another"}))
    said = refusal("search", out, capsys)
    assert f"{out / 'checkpoint.pt'}: the data are others; {field} was another, is " in said


def test_the_identity_sees_every_image_and_label(runs: dict[str, Path]) -> None:
    settings, _ = stored_settings(json.loads((runs["search"] / "config.json").read_text()))
    dataset = search.open_data(settings)
    before = identity.identity(settings, dataset, "cpu")
    for role in ("train", "val", "test"):
        images, labels = getattr(dataset, role)
        for tensor, field in ((labels, "labels"), (images, "split")):
            changed = tensor.clone()
            changed[-1] = (tensor[-1] + 1) % 10
            pair = (images, changed) if field == "labels" else (changed, labels)
            now = identity.identity(settings, replace(dataset, **{role: pair}), "cpu")
            assert [name for name, value in now["data"].items() if value != before["data"][name]] == [field]
    assert identity.identity(settings, dataset, "cpu") == before


def test_auto_does_not_become_another_data_set(cut: Callable[[str], Path], monkeypatch: Any, capsys: Any) -> None:
    """The name is resolved when the run begins; asked for again, it is what it would be now."""
    out = cut("search")
    assert json.loads((out / "config.json").read_text())["data"] == "embedded"
    monkeypatch.setattr("sgl_fast.data.locate.find", lambda name, root=None: True)
    said = refusal("search", out, capsys, "--data", "auto")
    assert "--data cifar10: the run to resume has embedded, and keeps it" in said


@pytest.mark.parametrize("field", ["sgl_fast", "torch", "backend"])
def test_other_software_is_said(field: str, cut: Callable[[str], Path], capsys: Any) -> None:
    out = cut("search")
    edit(out / "checkpoint.pt", lambda state: state["run"].update({field: "another"}))
    assert search.main(["--resume", "--quiet", "--out", str(out)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert sum("was another, is " in line and line.endswith("the last digits may differ") for line in lines) == 1


def test_another_number_of_threads_is_said_where_it_matters(cut: Callable[[str], Path], capsys: Any) -> None:
    """Not of a search by the fused kernels."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        for name, (program, _) in PROGRAMS.items():
            assert program.main(["--resume", "--quiet", "--out", str(cut(name))]) == 0
            said = f"backend was torch on {threads} CPU threads, is torch on {threads + 1} CPU threads"
            assert (said in capsys.readouterr().err) == (name == "evaluate")
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_earlier_versions_run_goes_on(name: str, cut: Callable[[str], Path], runs: Any, capsys: Any) -> None:
    """Without what this version added: settings take their defaults, and it is said."""
    whole, old = cut(name), runs[name].parent / f"old{name}"
    shutil.copytree(runs[name], old)
    missing = {"search": ["frozen_precision", "max_skips"], "evaluate": ["auxiliary_weight"]}[name]

    def forget(config: Any) -> None:
        config.pop("run")
        for field in missing:
            config.pop(field, None) if field in config else config["config"].pop(field)

    edit(old / "config.json", forget)
    edit(old / "checkpoint.pt", lambda state: state.pop("run") and None)
    for out in (whole, old):
        assert PROGRAMS[name][0].main(["--resume", "--quiet", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert all(f"of an earlier version has no {field}" in said for field in missing)
    assert "checkpoint.pt: does not say what it is of" in said
    assert repeatable(old / "metrics.jsonl") == repeatable(whole / "metrics.jsonl")


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("content", ["", "\n", '{"step": 2}\n'])
def test_a_run_that_is_done_needs_its_metrics(name: str, content: str, cut: Callable[[str], Path], capsys: Any) -> None:
    out = cut(name)
    assert PROGRAMS[name][0].main(["--resume", "--quiet", "--out", str(out)]) == 0
    (out / "metrics.jsonl").write_text(content)
    assert "metrics.jsonl" in refusal(name, out, capsys)
    (out / "metrics.jsonl").unlink()
    assert "metrics.jsonl" in refusal(name, out, capsys)


def test_a_hole_in_the_metrics_is_said(cut: Callable[[str], Path], capsys: Any) -> None:
    out = cut("search")
    (out / "metrics.jsonl").unlink()
    assert search.main(["--resume", "--quiet", "--out", str(out)]) == 0
    assert "metrics.jsonl has no line of step 2" in capsys.readouterr().err


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(name: str, cut: Callable[[str], Path], capsys: Any) -> None:
    """And the run ends as it would have."""
    whole = cut(name)
    out = whole.parent / "damaged"
    shutil.copytree(whole, out)
    content = (out / "checkpoint.pt").read_bytes()
    (out / "checkpoint.pt").write_bytes(content[: len(content) // 2])
    for folder in (whole, out):
        assert PROGRAMS[name][0].main(["--resume", "--quiet", "--out", str(folder)]) == 0
    assert "going on from checkpoint.prev.pt" in capsys.readouterr().err
    assert repeatable(out / "metrics.jsonl") == repeatable(whole / "metrics.jsonl")
    assert same(*(checkpoint.load(folder / "checkpoint.pt") for folder in (whole, out)))
