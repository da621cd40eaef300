"""Models written elsewhere, accelerated: logits, gradients, running statistics and training are the original's."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from foreign_check import distance, one_pass, twins
from foreign_darts import Network
from foreign_nested import Controller, pdarts
from foreign_styles import AuxiliaryNetwork, OddPreprocessNetwork, OwnNetwork, RawNetwork
from torch import nn

import sgl_fast

TOLERANCE = 1e-5
BACKENDS = [name for name in ("reference", "cpu") if sgl_fast.why_not(name) is None]
MODELS: dict[str, Callable[[], nn.Module]] = {
    "darts": lambda: Network(C=4),
    "darts, four nodes": lambda: Network(C=4, steps=4, multiplier=4, layers=2),
    "pc_darts": lambda: Network(C=8, k=4),
    "pc_darts, one channel an edge": lambda: Network(C=4, k=4),
    "nested": Controller,
    "p_darts": pdarts,
    "softmax inside the cell": RawNetwork,
    "alphas inside the edges, two of three nodes": OwnNetwork,
    "preprocessing of its own": OddPreprocessNetwork,
    "darts_minus": AuxiliaryNetwork,
}


def images(seed: int, channels: int = 3) -> torch.Tensor:
    return torch.randn(3, channels, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_equal_to_the_original(name: str, backend: str) -> None:
    torch.manual_seed(1)
    original, model = twins(MODELS[name]())
    assert sgl_fast.accelerate(model, backend) is model
    report = sgl_fast.report(model)
    assert len(report) and report.accelerated == len(report), str(report)
    x = images(2, 1 if isinstance(model, OwnNetwork) else 3)
    for training in (True, True, False):
        original.train(training)
        model.train(training)
        assert distance(one_pass(original, x), one_pass(model, x)) < (TOLERANCE, "")
    assert not any(cell.originals for cell in report), str(report)


@pytest.mark.parametrize("make", [lambda: Network(C=4, k=2), Controller])
def test_training_loops_end_at_the_same_parameters(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(3)
    original, model = twins(make())
    sgl_fast.accelerate(model)
    for net in (original, model):
        arch = [p for n, p in net.named_parameters() if n.startswith(("alphas", "betas", "normal", "reduce"))]
        weights = [p for p in net.parameters() if all(p is not a for a in arch)]
        sgd = torch.optim.SGD(weights, 0.025, momentum=0.9, weight_decay=3e-4)
        adam = torch.optim.Adam(arch, 3e-4, (0.5, 0.999), weight_decay=1e-3)
        for step in range(5):
            for optimiser in (adam, sgd):
                optimiser.zero_grad()
                x = images(100 + 2 * step + (optimiser is sgd))
                nn.functional.cross_entropy(net(x), torch.tensor([0, 1, 2])).backward()
                nn.utils.clip_grad_norm_(weights, 5)
                optimiser.step()
    before, after = original.state_dict(), model.state_dict()
    assert before.keys() == after.keys()
    for name in before:
        scale = max(float(before[name].abs().max()), 1.0)
        assert float((before[name] - after[name]).abs().max()) <= TOLERANCE * scale, name


def test_nothing_but_the_forward_changes() -> None:
    torch.manual_seed(4)
    model = Network(C=4)
    cell, parameters = model.cells[0], list(model.parameters())
    state = {k: v.clone() for k, v in model.state_dict().items()}
    modes = {n: m.training for n, m in model.named_modules()}
    draws, printed = torch.get_rng_state(), repr(model)
    sgl_fast.accelerate(model)
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


def test_a_model_of_several_arguments_is_verified_at_its_first_call() -> None:
    torch.manual_seed(9)
    original, net = twins(Controller().net)
    rows = [[torch.rand(n, 7) for n in (2, 3)] for _ in range(2)]
    sgl_fast.accelerate(net)
    assert {cell.status for cell in sgl_fast.report(net)} == {"waiting"}
    assert torch.allclose(net(images(1), *rows), original(images(1), *rows), atol=TOLERANCE)
    assert sgl_fast.report(net).accelerated == 4
    sgl_fast.accelerate(net, example=(images(1), *rows))
    assert sgl_fast.report(net).accelerated == 4


def test_frozen_parameters_and_no_grad() -> None:
    torch.manual_seed(10)
    original, model = twins(Network(C=4))
    sgl_fast.accelerate(model)
    with torch.no_grad():
        assert torch.allclose(original(images(1)), model(images(1)), atol=TOLERANCE)
    for net in (original, model):
        for name, p in net.named_parameters():
            p.requires_grad_("alphas" in name or "_ops.0" in name)
        net(images(2)).square().sum().backward()
    for (name, a), b in zip(original.named_parameters(), model.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None and b.grad is not None:
            assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-5 * float(a.grad.abs().max() + 1)), name


def test_skip_dropout_follows_the_modules() -> None:
    """Random masks differ from the original's, so: none at rate 0, a spread at rate p, and the mean is the same."""
    torch.manual_seed(11)
    model = pdarts(p=0.3)
    quiet = copy.deepcopy(model)
    for cell in quiet.net.body:
        cell.set_drop(0.0)
    sgl_fast.accelerate(model)
    x = images(12)
    with torch.no_grad():
        draws = torch.stack([model(x) for _ in range(4)])
        assert float(draws.std(0).mean()) > 1e-3
        for cell in model.net.body:
            cell.set_drop(0.0)
        assert torch.allclose(model(x), quiet(x), atol=TOLERANCE)
    assert not any(cell.originals for cell in sgl_fast.report(model)), str(sgl_fast.report(model))


def test_a_model_without_cells() -> None:
    model = sgl_fast.accelerate(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    assert "no cell found" in str(sgl_fast.report(model))
    with pytest.raises(TypeError, match="need an nn.Module; got dict"):
        sgl_fast.accelerate({})  # type: ignore[type-var]
    with pytest.raises(ValueError, match="unknown backend 'gpu'"):
        sgl_fast.accelerate(model, backend="gpu")
