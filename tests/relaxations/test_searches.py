"""Searches with every relaxation: to their end with one learner and two, on both backends, resumed, stopped early."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import batch
from states import differences

import sgl_fast
from sgl_fast.genotype.genotype import Genotype
from sgl_fast.nets.supernet import Supernet
from sgl_fast.relaxations import NAMES, SETTINGS, STOPPING, relaxation
from sgl_fast.relaxations.stopped import DartsPlus, RDarts
from sgl_fast.run import run_folder, search_loop
from sgl_fast.run.search_settings import settings_of
from sgl_fast.search import main
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.search import Search
from sgl_fast.spaces import SPACES, space
from sgl_fast.spaces.arch import Arch

TINY = ["--data", "embedded", "--channels", "4", "--layers", "1", "--nodes", "1", "--batch-size", "4", "--limit", "8"]
SMALL = [*TINY, "--quiet", "--figures", "none"]
PLUG_INS = NAMES[1:]


def search_of(name: str, K: int, schedule: str = "joint", where: str = "pc_darts", **more: Any) -> Search:
    released = {"order": 1, "explicit_pseudo_label_grad": False} if schedule == "released" else {}
    config = Config(learners=K, relaxation=name, schedule=schedule, steps_per_epoch=1, epochs=4, **released, **more)
    sizes = {"channels": 4, "layers": 3, "nodes": 1, "num_classes": 5}
    return Search(Supernet(space(where, **sizes)), config)


@pytest.mark.usefixtures("extension")
@pytest.mark.parametrize("K", [1, 2])
@pytest.mark.parametrize("name", PLUG_INS)
def test_backends_agree(name: str, K: int) -> None:
    found = {}
    for backend in ("reference", "cpu"):
        search = search_of(name, K)
        with sgl_fast.use_backend(backend):
            records = [search.step(batch(step)) for step in range(2)]
        found[backend] = search.arch.flat(), records
    (a, first), (b, second) = found.values()
    plain = search_of("softmax", K)
    plain.step(batch(0))
    assert (a - b).abs().max() < 0.02 * (a - search_of(name, K).arch.flat()).abs().max()
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys() and ("regulariser_loss" in one) == (name == "fair_darts")
        for key in ("train_loss", "val_loss", "hypergradient_norm"):
            assert torch.allclose(torch.tensor(one[key]), torch.tensor(other[key]), rtol=1e-3)
    assert (first[0]["forwards"] > plain.step(batch(1))["forwards"]) == (name == "sdarts_adv")


@pytest.mark.parametrize("schedule", ["released", "separate"])
@pytest.mark.parametrize("name", ["gdas", "fair_darts", "sdarts_adv", "noisy_darts"])
def test_other_schedules(name: str, schedule: str) -> None:
    search = search_of(name, 2, schedule)
    for step in range(6):
        record = search.step(batch(step))
    assert ("regulariser_loss" in record) == (name == "fair_darts") and search.architect.steps > 0


@pytest.mark.parametrize("where", SPACES)
def test_every_space(where: str) -> None:
    """DARTS- has skips beside the mixture, P-DARTS drops out on skips, PC-DARTS has weights of edges."""
    dropout = {"skip_dropout": 0.3} if where == "p_darts" else {}
    side = 32 if where == "pc_darts_imagenet" else 8
    for name in ("snas", "noisy_darts"):
        search = search_of(name, 1, where=where, **dropout)
        assert search.step(batch(0, side=side))["hypergradient_norm"][0] > 0


def test_the_weights_learn_at_perturbed_architectures() -> None:
    """SDARTS: of the losses of a step those on training and unlabelled images are others, validation's is not."""
    same, perturbed = search_of("softmax", 2), search_of("sdarts_rs", 2)
    one, other = same.step(batch(0)), perturbed.step(batch(0))
    for name in ("train_loss", "train_v_loss"):
        assert one[name] != other[name]
    perturbed = search_of("sdarts_rs", 2, "released")
    assert search_of("softmax", 2, "released").step(batch(0))["val_loss"] == perturbed.step(batch(0))["val_loss"]


def test_every_step_and_learner_has_draws_of_its_own() -> None:
    search = search_of("gdas", 2)
    first, again = search.next_inputs().mix_seeds, search.next_inputs().mix_seeds
    search.steps += 1
    second = search.next_inputs().mix_seeds
    assert first is not None and again is not None and second is not None
    assert torch.equal(first, again) and len({*first.tolist(), *second.tolist()}) == 4
    assert search_of("softmax", 2).next_inputs().mix_seeds is None


def test_epochs_change_the_temperature() -> None:
    """Of the same alphas and seeds: GDAS's sample is its softmax's mode more often when tau is small."""
    snas = relaxation("snas")
    arch = Arch(*(torch.zeros(1, 14, 8) for _ in range(2)))
    made, seeds = space("darts"), torch.tensor([5])
    spread = [snas.at(e, 50, seeds)(made, arch)[0]["normal"].amax(-1).mean().item() for e in (0, 25, 49)]
    assert spread[0] < spread[1] < spread[2] and spread[2] > 0.95


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("K", [1, 2])
@pytest.mark.parametrize("name", PLUG_INS)
def test_a_search_ends_with_a_genotype(name: str, K: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["--relaxation", name, "--learners", str(K), "--epochs", "2", "--space", "darts", "--out", str(out)]
    assert main([*SMALL, *arguments]) == 0
    assert len(Genotype.from_json((out / "best.json").read_text()).normal) == 2
    config = json.loads((out / "config.json").read_text())["config"]
    assert config["relaxation"] == name and config["weight_decay"] == SETTINGS.get(name, {}).get("weight_decay", 3e-4)
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert len(last.get("hessian_eigenvalue", [])) == (K if name == "r_darts" else 0)


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("name", ["drnas", "sdarts_adv", "darts_plus", "r_darts"])
def test_a_resumed_search_is_the_same_to_the_bit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after its first epoch, whose state is the last one that it wrote; histories come back, too."""
    monkeypatch.setattr(DartsPlus, "stop", lambda *_: None)
    arguments = [*SMALL, "--relaxation", name, "--epochs", "3"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main([*arguments, "--out", str(whole)]) == 0
    save = run_folder.RunFolder.save

    def last(self: Any, *args: Any) -> None:
        save(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run_folder.RunFolder, "save", last)
        main([*arguments, "--out", str(cut)])
    assert main(["--resume", str(cut), "--quiet", "--figures", "none"]) == 0
    assert not differences(whole, cut)


@pytest.mark.usefixtures("nothing_installed")
def test_a_stopped_search_says_so_and_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the third epoch, by the genotypes of two epochs before; --resume finds nothing left to do."""
    seen = []

    def stop(self: RDarts, history: Any, space: Any) -> str | None:
        seen.append([record["genotypes"] for record in history])
        return "enough" if len(history) == 3 else None

    monkeypatch.setattr(RDarts, "stop", stop)
    monkeypatch.setattr(RDarts, "back", 2)
    out = tmp_path / "run"
    arguments = ["--relaxation", "r_darts", "--epochs", "6", "--arch-start", "1", "--arch-lr", "0.3"]
    assert main([*SMALL, *arguments, "--space", "darts", "--out", str(out)]) == 0
    assert "stopped by r_darts after epoch 4: enough\n" in capsys.readouterr().err
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["epoch"] == 4 and records[-1]["stopped"] == "enough" and len(seen) == 3
    assert json.loads((out / "genotype.json").read_text()) == seen[-1][0] == records[-1]["genotypes"] != seen[-1][2]
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.suffix in (".json", ".jsonl", ".pt")}
    assert main(["--resume", str(out), "--quiet", "--figures", "none"]) == 0
    assert "has the least validation loss" in capsys.readouterr().out
    assert before == {p.name: p.read_bytes() for p in out.iterdir() if p.suffix in (".json", ".jsonl", ".pt")}


@pytest.mark.usefixtures("nothing_installed")
def test_the_last_epoch_is_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its genotypes are its own."""
    monkeypatch.setattr(RDarts, "stop", lambda *_: "enough")
    out = tmp_path / "run"
    assert main([*SMALL, "--relaxation", "r_darts", "--epochs", "2", "--arch-start", "1", "--out", str(out)]) == 0
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["epoch"] == 2 and "hessian_eigenvalue" in last and "stopped" not in last


def record_of(skips: int, order: list[float]) -> dict[str, Any]:
    """Of one learner in a space of two edges and three operations, of which the skip is no matter for a ranking."""
    return {"skips": [{"normal": skips, "reduce": 5}], "alphas_normal": [[order] * 2], "alphas_reduce": [[order] * 2]}


def test_darts_plus_stops_at_two_skips_or_when_nothing_moves() -> None:
    made = space("darts", nodes=1, ops=["skip_connect", "sep_conv_3x3", "dil_conv_3x3"])
    still, turned = [0.1, 0.5, 0.4], [0.1, 0.4, 0.5]
    skip_ahead = [0.6, 0.3, 0.1]  # the ranking of those with weights is as before
    stop = DartsPlus().stop
    assert stop([record_of(2, still)], made) == "the normal cell of learner 0 has 2 skips"
    assert stop([record_of(1, still)], made) is None
    quiet = [record_of(1, still if i % 2 else skip_ahead) for i in range(11)]
    assert stop(quiet[:10], made) is None
    assert stop(quiet, made) == "no ranking of operations changed for 10 epochs"
    assert stop([*quiet[:5], record_of(1, turned), *quiet[6:]], made) is None
    assert stop([record_of(1, turned), *quiet], made) is not None


def test_r_darts_stops_when_the_curvature_rises() -> None:
    def stop(*values: float) -> str | None:
        rows = [{"hessian_eigenvalue": [1.0, value]} for value in values]
        return RDarts().stop(rows, space("darts"))

    flat = [1.0] * 17
    assert stop(*flat, 1.8) is None and stop(*flat, 1.8, 1.8) is not None  # of a mean of five: 1.16 and 1.32
    assert stop(*flat[:16], 9.0) is not None and stop(*flat[:15], 9.0) is None  # not before there are 17 epochs
    assert "learner 1 rose from 1 to 2.6" in str(stop(*flat[:16], 9.0))
    assert stop(*([-1.0] * 16), 9.0) is None  # from below 0 nothing is a multiple


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("name", STOPPING)
def test_what_stops_a_search_is_refused_for_stages(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--space", "p_darts", "--relaxation", name, "--print-config"]) == 2
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1
        and f"--relaxation: need one that stops no search for the 3 stages of p_darts; got {name}" in said
    )


def test_an_unknown_relaxation_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--relaxation", "dart", "--print-config"])
    assert "--relaxation: need one of softmax, gdas, snas" in capsys.readouterr().err


@pytest.mark.usefixtures("nothing_installed")
def test_what_makes_a_method_may_be_said_otherwise() -> None:
    assert (
        settings_of({"relaxation": "r_darts"}, "cpu")["config"]["weight_decay"] == SETTINGS["r_darts"]["weight_decay"]
    )
    assert settings_of({"relaxation": "r_darts", "weight_decay": 0.5}, "cpu")["config"]["weight_decay"] == 0.5


def test_every_plug_in_is_short() -> None:
    folder = Path(sgl_fast.__file__).parent / "relaxations"
    assert all(len(path.read_text().splitlines()) <= 80 for path in folder.glob("*.py") if path.stem != "base")
    assert search_loop.CURVED > 0 and set(STOPPING) | set(SETTINGS) <= set(NAMES)
