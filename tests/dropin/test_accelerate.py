"""Models written elsewhere, accelerated: logits, gradients, running statistics and training are the original's."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from foreign_broken import batch_norm, replaced, without_norms
from foreign_check import distance, images, one_pass, twins
from foreign_darts import Network
from foreign_nested import Controller, pdarts
from foreign_styles import AuxiliaryNetwork, OddPreprocessNetwork, OwnNetwork, RawNetwork
from torch import nn

import sgl_fast
from bench.eager import Alphas, Supernet

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
    "pools without batch norms": lambda: without_norms("Pool"),
    "pc_darts, pools without batch norms": lambda: without_norms("Pool", C=8, k=4),
    "batch norms without running statistics": lambda: replaced(nn.BatchNorm2d, batch_norm(track_running_stats=False)),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_equal_to_the_original(name: str, backend: str) -> None:
    torch.manual_seed(1)
    original, model = twins(MODELS[name]())
    assert sgl_fast.accelerate(model, backend) is model
    report = sgl_fast.report(model)
    assert len(report) and report.accelerated == len(report), str(report)
    x = images(2, channels=1 if isinstance(model, OwnNetwork) else 3)
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


@pytest.mark.parametrize("name", ["darts", "pc_darts", "darts_minus"])
def test_the_eager_baselines(name: str) -> None:
    torch.manual_seed(10)
    space = sgl_fast.space(name, channels=4, layers=2, nodes=2, num_classes=5)
    alphas = Alphas(space)
    original, model = twins(Supernet(space))
    sgl_fast.accelerate(model, example=(images(1), alphas))
    assert sgl_fast.report(model).accelerated == 2
    grads = []
    for net in (original, model):
        alphas.zero_grad()
        logits = net(images(2), alphas, 0.4)
        logits.square().sum().backward()
        grads.append(
            [logits.detach(), *(p.grad for p in [*alphas.parameters(), *net.parameters()] if p.grad is not None)]
        )
    for a, b in zip(*grads, strict=True):
        assert float((a - b).abs().max()) < TOLERANCE * max(1, float(a.abs().max()))
    assert not any(cell.originals for cell in sgl_fast.report(model)), str(sgl_fast.report(model))


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
