"""Where a run lies, that it begins or goes on, and that the search's last line, run as it is printed, evaluates it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sgl_fast import evaluate, search
from sgl_fast.run import place

SIZES = ["--channels", "4", "--layers", "1", "--nodes", "1", "--batch-size", "4", "--limit", "8", "--quiet"]
SEARCH = ["--data", "embedded", *SIZES, "--epochs", "1"]
SHORT = ["--channels", "2", "--layers", "2", "--epochs", "1", "--batch-size", "8", "--limit", "16", "--quiet"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refusal(program: Any, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    try:
        code = program.main(list(words))
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr().err
    assert code == 2 and said.count("\n") == 1
    return said


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The arguments of the command that a search prints at its end."""
    words = shlex.split(capsys.readouterr().out.splitlines()[-1].removeprefix("evaluate it: "))
    assert words[:3] == ["python", "-m", "sgl_fast.evaluate"]
    return words[3:]


def test_a_second_search_begins_in_a_folder_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same second, too; what they print evaluates each, at first glance and as a second run."""
    monkeypatch.setattr(place.time, "strftime", lambda form: "20261129-101112")
    for _ in range(2):
        assert search.main([*SEARCH, "--space", "darts", "--seed", "3"]) == 0
        assert evaluate.main([*printed(capsys), *SHORT]) == 0
    found = sorted(path.name for path in Path("runs").iterdir())
    assert found == [f"20261129-101112-{name}" for name in ("darts-3", "darts-3-2", "evaluate-0", "evaluate-0-2")]
    for k in ("", "-2"):
        best, config = (
            Path("runs", f"20261129-101112-{x}") for x in (f"darts-3{k}/best.json", f"evaluate-0{k}/config.json")
        )
        assert json.loads(config.read_text())["genotype"] == json.loads(best.read_text())
    assert "; the latest is runs/20261129-101112-darts-3" in refusal(search, capsys, "--resume")
    assert "; the latest is runs/20261129-101112-evaluate-0" in refusal(evaluate, capsys, "--resume")


def test_a_name_begins_with_the_date(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch(r"runs/\d{8}-\d{6}-pc_darts-7", str(place.dated(["pc_darts", 7])))


def test_the_printed_command_evaluates_own_data_in_the_networks_form(capsys: pytest.CaptureFixture[str]) -> None:
    """Images of a size of their own, the stem for ImageNet; other data are taken where they are said."""
    for kind, grey in (("a", 60), ("b", 190)):
        Path("pics", kind).mkdir(parents=True)
        for i in range(16):
            Image.new("RGB", (40, 40), (grey, 10 * i, 0)).save(Path("pics", kind, f"{i}.png"))
    words = ["--space", "pc_darts_imagenet", "--data", "folder:pics", "--image-size", "64", *SIZES, "--epochs", "1"]
    assert search.main([*words, "--out", "a run"]) == 0
    command = printed(capsys)
    assert command == ["--genotype", "a run"]
    assert evaluate.main([*command, *SHORT, "--limit", "8", "--out", "e"]) == 0
    assert "data folder:" in (said := capsys.readouterr().err) and "ImageNet form, as in a run/config.json" in said
    assert "for images of 224" not in said
    small = ["--genotype", "DARTS_V2", "--data", "embedded", "--imagenet", *SHORT, "--limit", "8", "--out", "small"]
    assert evaluate.main(small) == 0
    assert "--imagenet is for images of 224 pixels: of 32 its last cells see one" in capsys.readouterr().err
    config = json.loads(Path("e/config.json").read_text())
    assert (config["imagenet"], config["image_size"], config["data"]) == (True, 64, f"folder:{Path('pics').absolute()}")
    assert evaluate.main([*command, "--no-imagenet", *SHORT, "--limit", "8", "--print-config"]) == 0
    assert "imagenet = false" in (shown := capsys.readouterr().out) and "image_size = 64" in shown
    assert evaluate.main([*command, "--data", "embedded", "--print-config"]) == 0
    assert 'data = "embedded"' in (shown := capsys.readouterr().out) and 'image_size = "none"' in shown
    for learner in ("0", "1"):
        assert evaluate.main(["--genotype", "a run", "--learner", learner, "--count"]) == 0
    assert evaluate.main(["--genotype", "e", "--count"]) == 0, "of an evaluation, too"
    shutil.rmtree("pics")
    assert "--data: there is no folder" in refusal(evaluate, capsys, *command)
    Path("a run/config.json").write_text("{")
    assert "cannot read the settings of its run, a run/config.json" in refusal(evaluate, capsys, *command)


def test_a_folder_without_a_genotype_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert "--genotype: no genotype.json in empty" in refusal(evaluate, capsys, "--genotype", "empty")
    Path("config.json").write_text('{"model_type": "other"}')  # somebody else's
    shutil.copy(evaluate.__file__, "g.json")
    assert "--genotype: " in refusal(evaluate, capsys, "--genotype", "g.json", "--data", "embedded")


@pytest.mark.parametrize(
    ("program", "words"),
    [(search, SEARCH), (evaluate, ["--genotype", "DARTS_V2", "--data", "embedded", *SHORT])],
    ids=["search", "evaluate"],
)
def test_one_line_begins_a_run_and_goes_on(program: Any, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    auto = [*words, "--out", "run", "--resume", "auto"]
    assert program.main(auto) == 0
    first = {path.name: path.read_bytes() for path in Path("run").iterdir() if path.suffix in (".json", ".jsonl")}
    assert program.main(auto) == 0, "of a run that is done"
    assert program.main([*words, "--resume", "run"]) == 0
    assert {path.name: path.read_bytes() for path in Path("run").iterdir() if path.name in first} == first
    assert "run already holds a run: go on with --resume run" in refusal(program, capsys, *words, "--out", "run")
    assert "--lr" in refusal(program, capsys, *auto, "--lr", "0.7")
    assert "need --out DIR" in refusal(program, capsys, *words, "--resume", "auto")
    assert "--out says other" in refusal(program, capsys, *words, "--resume", "run", "--out", "other")
    assert "no run to resume in nowhere" in refusal(program, capsys, *words, "--resume", "nowhere")
    assert "not with --print-config" in refusal(program, capsys, "--resume", "run", "--print-config")


def test_every_epochs_genotypes_are_kept() -> None:
    """Also by a run that is stopped and goes on; the last line is genotype.json."""
    assert search.main([*SEARCH, "--epochs", "3", "--out", "run"]) == 0
    lines = [json.loads(line) for line in Path("run/genotypes.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"], line["stage"]) for line in lines] == [(1, 2, 0), (2, 4, 0), (3, 6, 0)]
    assert lines[-1]["genotypes"] == json.loads(Path("run/genotype.json").read_text())
    assert lines[-1]["genotypes"][lines[-1]["best_learner"]] == json.loads(Path("run/best.json").read_text())
    before = Path("run/genotypes.jsonl").read_bytes()
    Path("run/genotypes.jsonl").unlink()
    assert search.main(["--resume", "run", "--quiet"]) == 0 and Path("run/genotypes.jsonl").read_bytes() == before
