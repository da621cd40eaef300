"""Whose numbers a search has: section 4.2's, the spaces' own authors', the released code's; what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sgl_fast.run.options import tomllib
from sgl_fast.run.search_settings import settings_of, warning_of
from sgl_fast.search import main
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.presets import ALGORITHMS, SETTINGS, numbers
from sgl_fast.spaces import SPACES

PRINTED = {"lr": 0.025, "arch_lr": 3e-4, "epochs": 50, "weight_decay": 3e-4, "arch_weight_decay": 1e-3, "momentum": 0.9}
# lr, its end, Adam's, epochs, pre-training, first epoch of the architecture, batch
OWN = {
    ("darts", "published"): (0.025, 0.001, 3e-4, 50, 0, 0, 64),
    ("darts_minus", "published"): (0.025, 0.001, 3e-4, 50, 0, 0, 64),
    ("p_darts", "published"): (0.025, 0.0, 6e-4, 25, 0, 10, 96),
    ("pc_darts", "published"): (0.1, 0.0, 6e-4, 50, 0, 15, 256),
    ("pc_darts_imagenet", "published"): (0.5, 0.0, 6e-3, 50, 0, 35, 1024),
    ("darts", "released"): (0.025, 0.001, 3e-4, 50, 5, 5, 50),
    ("p_darts", "released"): (0.025, 0.0, 6e-4, 25, 5, 15, 96),
    ("pc_darts", "released"): (0.1, 0.0, 6e-4, 60, 15, 30, 50),
    ("pc_darts_imagenet", "released"): (0.5, 0.0, 6e-3, 55, 10, 45, 1024),
}


@pytest.fixture(autouse=True)
def no_data(nothing_installed: None) -> None:
    """Data sets are those that a test puts there."""


@pytest.mark.parametrize("algorithm", ["best", "paper"])
@pytest.mark.parametrize("name", SPACES)
def test_the_papers_numbers_are_those_that_it_prints(name: str, algorithm: str) -> None:
    config = Config.preset(name, algorithm).as_dict()
    assert {key: config[key] for key in PRINTED} == PRINTED
    settings = settings_of({"space": name, "algorithm": algorithm, "scale": "paper"}, "cpu")
    assert settings["batch_size"] == 50 and settings["config"] == config and settings["settings"] == "paper"
    assert warning_of(settings) is None


@pytest.mark.parametrize(("name", "source"), OWN)
def test_the_numbers_of_others(name: str, source: str) -> None:
    want = OWN[name, source]
    settings = settings_of({"space": name, "settings": source, "scale": "paper"}, "cpu")
    c = settings["config"]
    got = (c["lr"], c["lr_min"], c["arch_lr"], c["epochs"], c["pretrain_epochs"], c["arch_start"])
    assert (*got, settings["batch_size"]) == want
    assert c["method"] == "frozen"  # the algorithm is another matter
    assert warning_of(settings) is None


def test_what_the_algorithms_and_ablations_are() -> None:
    """Second order with the term that the paper leaves out; the paper's equations; the released code; eqs (12)-(15)."""

    def of(**given: str) -> tuple[Any, ...]:
        config = settings_of({**given, "scale": "paper"}, "cpu")["config"]
        names = ("schedule", "order", "method", "explicit_pseudo_label_grad", "teacher", "human_labels")
        return tuple(config[name] for name in names)

    assert of() == of(algorithm="best") == ("joint", 2, "frozen", True, "preliminary", True)
    assert of(algorithm="paper") == ("joint", 2, "finite_difference", False, "preliminary", True)
    assert of(algorithm="released")[:2] == ("released", 1)
    assert of(ablation="no_stage_one") == ("joint", 2, "frozen", True, "self", True)
    assert of(ablation="separate") == ("separate", 2, "frozen", True, "preliminary", True)
    assert of(ablation="no_human_labels") == ("joint", 2, "frozen", True, "preliminary", False)
    assert Config.preset("darts", "released").arch_clip == 5 and Config.preset("darts", "paper").arch_clip == 0
    assert settings_of({"algorithm": "released"}, "cpu")["unlabeled"] == "train"


def test_the_tiny_scale_runs_where_the_signal_is() -> None:
    """First order where second takes too long, unless something says which; half the pixels where that can be."""

    constant = {"darts", "s4", "darts_minus", "p_darts"}  # whose rate does not fall

    def of(name: str, **given: Any) -> tuple[Any, ...]:
        found = settings_of({"space": name, "scale": "tiny", "data": "embedded", **given}, "cpu")
        config = found["config"]
        moving = (config["epochs"] - config["arch_start"]) * (found["limit"] // found["batch_size"])
        assert (config["lr_min"] == config["lr"]) == (name in constant and "settings" not in given)
        return config["order"], moving, found["image_size"], config["lr"], config["arch_lr"]

    assert of("darts") == (2, 500, 16, 0.025, 3e-3) and of("s4") == (1, 500, 16, 0.025, 3e-3)
    assert of("darts_minus") == (1, 1000, 16, 0.025, 3e-3) and of("darts_minus", lr=0.1)[3] == 0.1
    assert of("p_darts") == (1, 400, 16, 0.05, 3e-3), "in each stage"
    assert of("pc_darts") == (1, 640, 16, 0.1, 3e-3) and of("pc_darts_imagenet") == (1, 640, None, 0.1, 3e-3)
    for said in ({"algorithm": "best"}, {"algorithm": "paper"}, {"method": "exact"}, {"order": 2}, {"r": 0.01}):
        assert of("pc_darts", **said)[0] == 2
    assert of("pc_darts", algorithm="released", pretrain_epochs=3) == (1, 640, 16, 0.1, 6e-4)
    assert of("darts_minus", settings="published") == (1, 1000, 16, 0.025, 3e-4)
    assert of("darts", settings="published") == (2, 500, 16, 0.025, 3e-4)
    assert of("darts", data="folder:/images")[2] is of("darts", image_size=None)[2] is None


def test_the_released_algorithm_has_the_released_numbers_unless_others_are_asked_for() -> None:
    for name in SPACES:
        released = Config.preset(name, "released")
        assert released == Config.preset(name, "released", "released") and released.schedule == "released"
        assert released.pretrain_epochs > 0 and Config.preset(name, "released", "paper").pretrain_epochs == 0
    assert Config.preset("pc_darts", "paper", "published", lr=0.3).lr == 0.3


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("source", SETTINGS)
def test_rates_of_a_large_batch_with_a_small_one_are_said(source: str, algorithm: str) -> None:
    given: dict[str, Any] = {"space": "pc_darts_imagenet", "algorithm": algorithm, "settings": source}
    warning = warning_of(settings_of({**given, "scale": "paper", "batch_size": 50}, "cpu"))
    if source == "paper":
        assert warning is None
    else:
        assert warning == (
            f"lr 0.5 and arch_lr 0.006 of --settings {source} belong to batches of 1024; this run has batches of 50"
        )
        given |= {"lr": 0.02, "arch_lr": 3e-4}
        assert warning_of(settings_of(given, "cpu")) is None


@pytest.mark.parametrize(
    ("data", "ablation", "lam"),
    [
        ("cifar10", "no_stage_one", 2.0),
        ("cifar10", "separate", 2.0),
        ("cifar10", "no_human_labels", 1.0),
        ("cifar100", "no_stage_one", 1.0),
        ("embedded", "separate", 1.0),
        ("cifar10", None, 1.0),
    ],
)
def test_lam_of_the_ablations(data: str, ablation: str | None, lam: float) -> None:
    """Section 4.4: 2 on CIFAR-10 in ablations 1 and 2."""
    given = {"data": data, **({} if ablation is None else {"ablation": ablation})}
    assert settings_of(given, "cpu")["config"]["lam"] == lam
    assert settings_of({**given, "lam": 0.5}, "cpu")["config"]["lam"] == 0.5


def test_lam_of_an_ablation_where_cifar10_is_found(tmp_path: Path) -> None:
    given = {"ablation": "separate", "root": str(tmp_path)}
    assert settings_of(given, "cpu")["config"]["lam"] == 1.0
    (tmp_path / "cifar-10-batches-bin").mkdir()
    assert settings_of(given, "cpu")["config"]["lam"] == 2.0


def test_separate_searches_have_no_pre_training() -> None:
    config = settings_of({"algorithm": "released", "ablation": "separate"}, "cpu")["config"]
    assert (config["schedule"], config["pretrain_epochs"]) == ("separate", 0)
    with pytest.raises(ValueError, match="need pretrain_epochs 0 for schedule separate; got 2"):
        Config(schedule="separate", pretrain_epochs=2)


@pytest.mark.parametrize("source", SETTINGS)
def test_the_command_shows_them(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--space", "pc_darts", "--settings", source, "--print-config", "--scale", "paper"]) == 0
    tables = tomllib.loads(capsys.readouterr().out)
    shown = {name: value for table in tables.values() for name, value in table.items()}
    own = numbers("pc_darts", source)
    assert shown["settings"] == source and {name: shown[name] for name in own} == own


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("darts", "magic"), "algorithm 'magic'"),
        (("nas",), "space 'nas'"),
        (("darts", "best", "ours"), "settings 'ours'"),
    ],
)
def test_unknown_names(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError, match=f"unknown {says}; "):
        Config.preset(*arguments)
