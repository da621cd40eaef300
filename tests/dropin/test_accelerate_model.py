"""What of a model changes by acceleration, and what does not; back again; copies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from foreign_check import distance, images, one_pass
from foreign_darts import Network
from torch import nn

import sgl_fast

TOLERANCE = 1e-5


def test_nothing_but_the_forward_changes() -> None:
    torch.manual_seed(4)
    model = Network(C=4)
    cell, parameters = model.cells[0], list(model.parameters())
    state = {k: v.clone() for k, v in model.state_dict().items()}
    modes = {n: m.training for n, m in model.named_modules()}
    draws, printed = torch.get_rng_state(), repr(model)
    torch.set_num_threads(2)
    sgl_fast.accelerate(model)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert threads == 2
    assert torch.equal(draws, torch.get_rng_state()) and repr(model) == printed
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert all(p.grad is None for p in parameters)
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in state.items())
    assert modes == {n: m.training for n, m in model.named_modules()}
    other = Network(C=4)
    assert type(cell) is not type(other.cells[0]) and isinstance(cell, type(other.cells[0]))
    assert not len(sgl_fast.report(other))


def test_twice_and_back() -> None:
    torch.manual_seed(5)
    model = Network(C=4)
    classes = [type(m) for m in model.modules()]
    expected = one_pass(copy.deepcopy(model), images(6))
    for _ in range(2):
        sgl_fast.accelerate(model)
        assert sgl_fast.report(model).accelerated == 3
    assert sgl_fast.restore(model) is model
    assert classes == [type(m) for m in model.modules()]
    assert not any("sgl" in key for m in model.modules() for key in m.__dict__)
    got = one_pass(model, images(6))
    assert all(torch.equal(expected[k], got[k]) for k in expected)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_accelerated_and_apart(duplicate: Callable[[Any], Any]) -> None:
    torch.manual_seed(7)
    model = sgl_fast.accelerate(Network(C=4))
    twin = duplicate(model)
    assert sgl_fast.report(twin).accelerated == 3
    with torch.no_grad():
        for p in twin.parameters():
            p.mul_(1.5)
    plain = model.new()
    plain.load_state_dict(twin.state_dict())
    assert not len(sgl_fast.report(plain))
    x = images(8)
    before = one_pass(model, x)
    assert distance(one_pass(plain, x), one_pass(twin, x)) < (TOLERANCE, "")
    assert torch.equal(before["logits"], model(x))
    assert not any(cell.originals for cell in [*sgl_fast.report(twin), *sgl_fast.report(model)])


def test_a_model_without_cells() -> None:
    with pytest.warns(UserWarning, match="nothing is accelerated"):
        model = sgl_fast.accelerate(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    assert "no cell found" in str(sgl_fast.report(model))
    with pytest.raises(TypeError, match="need an nn.Module; got dict"):
        sgl_fast.accelerate({})  # type: ignore[type-var]
    with pytest.raises(ValueError, match="unknown backend 'gpu'"):
        sgl_fast.accelerate(model, backend="gpu")
