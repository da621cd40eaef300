"""Trained networks in files: what a user gets back of a training."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from toys import CHEAP, TINY, toy_images

import sgl_fast
from sgl_fast import evaluate
from sgl_fast.run.recipe import Recipe
from sgl_fast.run.retrain import Retraining
from sgl_fast.run.weights import WEIGHTS, load_network, save_network

FLAGS = [part for name, value in TINY.items() for part in (f"--{name.replace('_', '-')}", str(value))]
PARTS = {"imagenet": False, "auxiliary": True, "auxiliary_second_bn": True, "channels": 2, "layers": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    words = ["--genotype", str(CHEAP), "--data", "embedded", "--ema", "0.9", "--quiet", "--figures", "none", *FLAGS]
    assert evaluate.main([*words, "--out", str(out)]) == 0
    return out


def test_a_trained_network_is_loaded_and_tests_as_it_did(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads((trained / "result.json").read_text())
    state = torch.random.get_rng_state()
    network = sgl_fast.load_network(trained)
    assert not network.training and torch.equal(state, torch.random.get_rng_state())
    data = evaluate_data()
    mean, std = (torch.tensor(network.about[name])[:, None, None] for name in ("mean", "std"))
    x = (data.test[0].float() / 255 - mean) / std
    with torch.no_grad():
        for average, key in ((False, "test_accuracy"), (True, "ema_test_accuracy")):
            logits = load_network(trained, average)(x)
            assert (logits.argmax(1) == data.test[1]).double().mean().item() == pytest.approx(result[key], abs=2e-3)
    assert network.about["classes"][0] == data.classes[0] and network.about["image_size"] == [32, 32]

    capsys.readouterr()
    assert evaluate.main(["--test-only", str(trained)]) == 0
    assert f"test accuracy {result['test_accuracy']:.4f}, test top5" in capsys.readouterr().out


def evaluate_data() -> sgl_fast.data.Dataset:
    from sgl_fast.data import open_dataset

    return open_dataset("embedded")


def test_weights_are_laid_out_as_ever(tmp_path: Path) -> None:
    """channels_last or not, with classes that have no names."""
    runs = [Retraining(CHEAP, toy_images(), Recipe(**{**TINY, "channels_last": last})) for last in (False, True)]
    for number, run in enumerate(runs):
        save_network(tmp_path / f"{number}.safetensors", run.network.state_dict(), run.about())
    assert (tmp_path / "0.safetensors").read_bytes() == (tmp_path / "1.safetensors").read_bytes()
    assert load_network(tmp_path / "1.safetensors").about["classes"] is None


def test_what_holds_no_network_is_refused(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=f"no trained network in .*: the end of a training writes {WEIGHTS}"):
        load_network(tmp_path)
    assert evaluate.main(["--test-only", str(tmp_path)]) == 2
    assert "no trained network" in capsys.readouterr().err
    whole = (trained / WEIGHTS).read_bytes()
    broken = {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"weights"}
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    save_file({"w": torch.ones(2)}, tmp_path / "other")
    about = json.dumps({"genotype": json.loads(CHEAP.to_json()), "num_classes": 3, **PARTS})
    save_file({"w": torch.ones(2)}, tmp_path / "names", {"sgl_fast": about})
    save_file({"w": torch.ones(2)}, tmp_path / "sizes", {"sgl_fast": about.replace('"layers": 2', '"layers": -2')})
    for name in (*broken, "other", "names", "sizes"):
        with pytest.raises(
            ValueError, match=rf"{re.escape(str(tmp_path))}/{name}: holds no network of an eval"
        ) as error:
            load_network(tmp_path / name)
        assert "\n" not in str(error.value)
