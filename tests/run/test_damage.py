"""Everything that may be wrong in a checkpoint's state is refused by name, and changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from states import get, leaves, same

from sgl_fast.genotype.genotype import Genotype
from sgl_fast.run.recipe import Recipe
from sgl_fast.run.retrain import Retraining
from sgl_fast.run.search_settings import settings_of
from sgl_fast.run.stages import Stages
from sgl_fast.search import open_data

TINY = {"data": "embedded", "channels": 4, "layers": 1, "nodes": 1, "limit": 8, "batch_size": 4, "epochs": 1}
POOLS = [("avg_pool_3x3", 0), ("avg_pool_3x3", 1)]


def damages(value: Any) -> dict[str, Any]:
    """What the value must not be, by what is wrong."""
    found: dict[str, Any] = {"null": None, "text": "x", "object": {"x": 1}, "list": [value, value]}
    if isinstance(value, torch.Tensor):
        floating = value.is_floating_point()
        found |= {"a number": 1.5, "longer": torch.cat([value.flatten(), value.flatten()])}
        found |= {"complex": value.to(torch.complex64), "another dtype": value.to(torch.float16)}
        found |= {"sparse": value.reshape(1, -1).to_sparse(), "more dimensions": value.unsqueeze(0)}
        found |= {str(bad): torch.full_like(value, bad) for bad in (float("nan"), float("inf")) if floating}
    elif isinstance(value, int):
        found |= {"negative": -1, "huge": 10**9, "fraction": 0.5, "flag": True}
    elif isinstance(value, str):
        found = {"null": None, "number": 7, "list": []}
    return found


def check_every_damage(state: dict[str, Any], load: Callable[[Any], None], now: Callable[[], Any]) -> None:
    """Each is a ValueError that names its place, in one line, and changes nothing."""
    before = copy.deepcopy(now())
    for place in leaves(state):
        for what, bad in {**damages(get(state, place)), "absent": ...}.items():
            damaged = copy.deepcopy(state)
            parent = get(damaged, place[:-1])
            if bad is ...:
                del parent[place[-1]]
            else:
                parent[place[-1]] = bad
            with pytest.raises(ValueError) as caught:
                load(damaged)
                pytest.fail(f"{place} {what} was taken")
            said = str(caught.value)
            assert "\n" not in said and any(str(key) in said for key in place), (place, what, said)
            assert same(now(), before), (place, what)
    for place in [(), *leaves(state)]:
        if isinstance(get(state, place), dict):
            damaged = copy.deepcopy(state)
            get(damaged, place)["surplus"] = 1
            with pytest.raises(ValueError, match="surplus"):
                load(damaged)
    assert same(now(), before)


def test_every_damage_of_a_searchs_state_is_named() -> None:
    settings = settings_of({**TINY, "space": "pc_darts"}, "cpu")
    data = open_data(settings)
    stages, other = Stages(settings, data, "cpu"), Stages(settings, data, "cpu")
    other.search.step(other.feed.batch(0))
    state = other.state_dict()
    check_every_damage(state, stages.load_state_dict, stages.state_dict)
    stages.load_state_dict(state)
    assert same(stages.state_dict(), state)


def test_every_damage_of_a_later_stage_is_named() -> None:
    """The operations that each edge kept."""
    settings = settings_of({**TINY, "space": "p_darts"}, "cpu")
    stages = Stages(settings, open_data(settings), "cpu")
    stages.next_stage()
    state = stages.state_dict()
    for what, ops in {"unknown": "pool", "twice": state["edge_ops"][0]["normal"][0][1]}.items():
        damaged = copy.deepcopy(state)
        damaged["edge_ops"][0]["normal"][0][0] = ops
        with pytest.raises(ValueError, match="op"):
            stages.load_state_dict(damaged)
            pytest.fail(what)
    for place in leaves(state["edge_ops"]):
        damaged = copy.deepcopy(state)
        get(damaged["edge_ops"], place[:-1])[place[-1]] = None
        with pytest.raises(ValueError, match="edge_ops"):
            stages.load_state_dict(damaged)
    assert stages.stage == 1
    stages.load_state_dict(state)


def test_every_damage_of_a_retraining_is_named() -> None:
    """Of some of its tensors: all are treated alike."""
    genotype, recipe = Genotype(POOLS, [2], POOLS, [2]), Recipe(channels=2, layers=2, epochs=2, batch_size=8, limit=8)
    data = open_data(settings_of({**TINY, "unlabeled": "train"}, "cpu"))
    retraining, other = (Retraining(genotype, data, recipe) for _ in range(2))
    other.train_step(other.batch())
    state = other.state_dict()
    names = list(state["network"])
    few = {**state, "network": {name: state["network"][name] for name in names[:7]}, "momenta": state["momenta"][:2]}

    def load(damaged: dict[str, Any]) -> None:
        whole = dict(damaged)
        if isinstance(damaged.get("network"), dict):
            whole["network"] = {**{name: state["network"][name] for name in names[7:]}, **damaged["network"]}
        if isinstance(damaged.get("momenta"), list) and len(damaged["momenta"]) == 2:
            whole["momenta"] = [*damaged["momenta"], *state["momenta"][2:]]
        retraining.load_state_dict(whole)

    check_every_damage(few, load, retraining.state_dict)
