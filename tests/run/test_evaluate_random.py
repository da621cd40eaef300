"""evaluate --genotype random: what is drawn, what a run keeps of it, how it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sgl_fast import evaluate
from sgl_fast.genotype.baseline import Budget, random_genotype
from sgl_fast.genotype.genotype import Genotype
from sgl_fast.genotype.size import PUBLISHED_SCALE, published_parameters
from sgl_fast.run.evaluate_args import genotype_of, with_run
from sgl_fast.run.recipe import preset, recipe_name

TINY = "--data embedded --channels 2 --layers 2 --epochs 1 --batch-size 8 --limit 8 --figures none --quiet"


def run(out: Path, *arguments: str) -> int:
    return evaluate.main([*arguments, *TINY.split(), "--out", str(out)])


def kept(out: Path) -> Genotype:
    return Genotype(**json.loads((out / "config.json").read_text())["genotype"])


def test_a_run_keeps_what_was_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own seed or that of --seed; a resume with the same words goes on, with others it is refused."""
    words = ["--genotype", "random", "--seed", "5", "--budget", "3.2,3.4"]
    assert run(tmp_path / "a", *words) == 0
    drawn = random_genotype(seed=5, budget=Budget(3.2, 3.4))
    assert kept(tmp_path / "a") == drawn
    assert Genotype.from_json((tmp_path / "a" / "genotype.json").read_text()) == drawn
    said = f"genotype drawn at random: {published_parameters(drawn) / 1e6:.2f} M parameters"
    assert said in capsys.readouterr().err

    for same in ([], words, words[:2] + words[4:], ["--genotype", "random:5", "--budget", "3.2,3.4"]):
        assert evaluate.main(["--resume", str(tmp_path / "a"), "--quiet", *same]) == 0
    capsys.readouterr()
    for other in (["--genotype", "random"], ["--genotype", "random:6", "--budget", "3.2,3.4"]):
        assert evaluate.main(["--resume", str(tmp_path / "a"), "--quiet", *other]) == 2
        assert "--genotype: the run in" in capsys.readouterr().err


def test_what_is_drawn_without_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "random").mkdir()  # the word is no path
    assert genotype_of({"genotype": "random"}) == random_genotype(seed=0) == genotype_of({"genotype": "random:0"})
    assert genotype_of({"genotype": "random:7", "seed": 5}) == random_genotype(seed=7)
    budget = {"budget": [4.5, 4.8], "imagenet": True}
    given, notes = with_run({"genotype": "random", "seed": 2, **budget})
    drawn = random_genotype(seed=2, budget=Budget(4.5, 4.8, imagenet=True))
    assert given == {"genotype": str(drawn), "seed": 2, "imagenet": True} and len(notes) == 1
    assert genotype_of(given) == drawn


@pytest.mark.parametrize("imagenet", [False, True])
def test_the_published_scale_is_the_recipes(imagenet: bool) -> None:
    recipe = preset(recipe_name(imagenet))
    assert (recipe.channels, recipe.layers) == PUBLISHED_SCALE[imagenet][:2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--genotype DARTS_V2 --budget 3,4", "--budget: need --genotype random; others have"),
        ("--genotype random --budget 3", "--budget: need LEAST,MOST; got 3.0"),
        ("--genotype random --budget 3,2,4", "--budget: need LEAST,MOST; got 3.0,2.0,4.0"),
        ("--genotype random --budget 4,3", "--budget: need least and most million parameters"),
        ("--genotype random --budget 0.1,0.2", "--budget: no random architecture of 4 nodes has 0.1 to 0.2 million"),
        ("--genotype random --budget x", "--budget"),
        ("--genotype random:x", "--genotype: need random, or random:SEED with a whole number; got random:x"),
        ("--genotype random:", "--genotype: need random, or random:SEED"),
        ("--genotype random --seed -1", "--seed: need a number of at least 0; got -1"),
    ],
)
def test_bad_arguments(arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for count in ([], ["--count"]):
        try:
            code = run(tmp_path / "run", *arguments.split(), *count)
        except SystemExit as end:
            code = int(str(end.code))
        error = capsys.readouterr().err
        assert code == 2 and message in error and error.count("\n") == 1, error
        assert not (tmp_path / "run" / "config.json").exists()
