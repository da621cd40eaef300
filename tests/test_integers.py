"""Numbers of other libraries, at every border to the user: taken, and kept as Python's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

import sgl_fast
from sgl_fast.data.seeds import seed_of, shuffled
from sgl_fast.genotype.baseline import random_genotype
from sgl_fast.integers import whole
from sgl_fast.nets.counting import count_macs
from sgl_fast.nets.network import Network
from sgl_fast.nets.supernet import Supernet
from sgl_fast.run.recipe import Recipe
from sgl_fast.sgl.config import Config
from sgl_fast.spaces import SPACES, space

WHOLE: list[Callable[[int], Any]] = [np.int64, np.uint8, np.array, torch.tensor]
NOT_WHOLE = [True, np.True_, torch.tensor(True), 2.0, np.float32(2), torch.tensor(2.0), "2", None, np.array([2, 2])]
SIZES = {"channels": 8, "layers": 3, "nodes": 2, "num_classes": 5}


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_numbers_are_taken_and_kept_as_ints(kind: Callable[[int], Any]) -> None:
    assert type(whole(kind(3))) is int and whole(kind(3)) == 3
    sizes = {name: kind(size) for name, size in SIZES.items()}
    for name in SPACES:
        made = space(name, **sizes)
        assert made == space(name, **SIZES) and json.loads(json.dumps(asdict(made)))["channels"] == 8
    ops = {cell: [[kind(op) for op in (0, 3, 4)]] * 5 for cell in ("normal", "reduce")}
    third = space("p_darts", stage=kind(3), edge_ops=ops, **sizes)
    assert third.ops_normal[0] == ("none", "skip_connect", "sep_conv_3x3") and type(third.stage) is int
    assert Supernet(space("pc_darts", **sizes)).num_weights == Supernet(space("pc_darts", **SIZES)).num_weights
    config, recipe = Config(learners=kind(3), epochs=kind(9)), Recipe(channels=kind(4), limit=kind(7))
    assert config == Config(learners=3, epochs=9) and type(config.learners) is int
    assert json.loads(json.dumps([config.as_dict(), recipe.as_dict()]))[1]["limit"] == 7
    assert seed_of(kind(0), kind(5)) == seed_of(0, 5) and np.array_equal(shuffled(9, kind(2)), shuffled(9, 2))
    network = Network(random_genotype(), channels=kind(4), layers=kind(3), num_classes=kind(5))
    assert network.classifier.out_features == 5
    assert count_macs(network, kind(16)) == count_macs(network, 16) == count_macs(network, (16, 16))


@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    assert whole(value) is None
    for name in SIZES:
        with pytest.raises(ValueError, match=name):
            sgl_fast.space("darts", **{**SIZES, name: value})
    for make in (Config, Recipe):
        with pytest.raises(ValueError, match="need epochs a whole number"):
            make(epochs=value)
    with pytest.raises(ValueError, match="need channels a whole number"):
        Network(random_genotype(), channels=value)
    with pytest.raises(ValueError, match="need stage"):
        space("p_darts", stage=value)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5)])
def test_floating_point_numbers_are_kept_as_floats(value: Any) -> None:
    config = Config(lam=value, r=value, lr=np.int64(1))  # type: ignore[arg-type]
    assert config == Config(lam=0.5, r=0.5, lr=1) and {type(config.lam), type(config.r)} == {float}
    json.dumps(config.as_dict())


@pytest.mark.parametrize("value", ["0.5", True, None, [0.5], torch.tensor([0.5])])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="need lam a number"):
        Config(lam=value)
    with pytest.raises(ValueError, match="need lr a number"):
        Recipe(lr=value)


@pytest.mark.parametrize(("name", "size"), [("nodes", 17), ("nodes", 10**5), ("channels", 10**9), ("layers", 10**9)])
def test_sizes_beyond_any_run_are_refused_before_memory_is_asked_for(name: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"need {name} of at most"):
        space("darts", **{name: size})


def test_a_batch_of_one_image_has_no_statistics() -> None:
    with pytest.raises(ValueError, match="need batch_size a number of at least 2; got 1"):
        Recipe(batch_size=1)
