"""Relaxations against the numbers that published code gives: known_answers/relaxations.json, its inputs from `known.u`.

DARTS, DARTS-, P-DARTS and PC-DARTS are search spaces, whose known answers the tests of nets, genotypes and steps read.
FairDARTS, SDARTS and NoisyDARTS are published without a licence, DARTS+ without code: their formulas alone are checked.
"""

from __future__ import annotations

import math
from typing import Any

import known
import pytest
import torch
from torch import Tensor

from sgl_fast.genotype.genotype import Genotype
from sgl_fast.nets.supernet import Supernet
from sgl_fast.relaxations import drnas, relaxation
from sgl_fast.relaxations.base import Moment
from sgl_fast.relaxations.draws import Draws
from sgl_fast.relaxations.stopped import RDarts
from sgl_fast.sgl.curvature import hessian_eigenvalue
from sgl_fast.sgl.passes import Passes
from sgl_fast.sgl.virtual_learners import VirtualLearners, one_hot
from sgl_fast.spaces import space
from sgl_fast.spaces.arch import Arch

ANSWERS = known.load("relaxations")


class Given(Draws):
    """Uniform numbers that are given."""

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers

    def uniform(self, *size: int) -> Tensor:
        return self.numbers.view(1, *size)


def samples(*names: str) -> list[tuple[str, Any]]:
    return [(name, answer) for name in names for answer in ANSWERS[name]["samples"]]


def check(name: str, answer: dict[str, Any], moment: Moment, draws: Draws) -> None:
    """Weights of operations, and the gradient in the alphas of their product with a probe."""
    shape = torch.tensor(answer["weights"]).shape
    alphas = 2 * known.u((1, *shape), answer["t"])
    alphas.requires_grad_()
    weights = relaxation(name).weights(alphas, moment, draws)
    (gradient,) = torch.autograd.grad((weights[0] * known.u(tuple(shape), answer["t"] + 2000)).sum(), alphas)
    known.close(weights[0].detach(), answer["weights"])
    known.close(gradient[0], answer["gradient"])


@pytest.mark.parametrize(("name", "answer"), samples("gdas", "snas"))
def test_gumbel_softmax(name: str, answer: dict[str, Any]) -> None:
    """At the temperature of the epoch, on the same uniform numbers."""
    shape = torch.tensor(answer["weights"]).shape
    uniform = 0.5 + 0.4999 * known.u(tuple(shape), answer["t"] + 1000)
    check(name, answer, Moment(float(answer["epoch"]), answer["epochs"]), Given(uniform))


@pytest.mark.parametrize(("name", "answer"), samples("drnas"))
def test_dirichlet(name: str, answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of a sample of Dirichlet(elu(alpha) + 1), from the same sample."""
    given = torch.tensor(answer["weights"], dtype=torch.float64)
    monkeypatch.setattr(drnas, "dirichlet", lambda concentration, draws: given[None])
    check(name, answer, Moment(), Given(given))


@pytest.mark.parametrize("name", ["gdas", "snas"])
def test_temperatures(name: str) -> None:
    """By the gradient of the first of two operations, sigmoid(d / tau), in its alpha, on equal uniform numbers."""
    d, epochs = 0.02, ANSWERS[name]["samples"][0]["epochs"]
    for epoch, tau in ANSWERS[name]["temperatures"]:
        alphas = torch.tensor([[[d, 0.0]]], dtype=torch.float64, requires_grad=True)
        weights = relaxation(name).weights(alphas, Moment(float(epoch), epochs), Given(torch.full((1, 2), 0.5)))
        (gradient,) = torch.autograd.grad(weights[0, 0, 0], alphas)
        share = 1 / (1 + math.exp(-d / tau))
        assert gradient[0, 0, 0].item() == pytest.approx(share * (1 - share) / tau, rel=1e-9)


@pytest.mark.parametrize("name", ["gdas", "snas"])
def test_genotypes(name: str) -> None:
    for answer in ANSWERS[name]["genotypes"]:
        arch = Arch(*(2 * known.u((1, 14, 8), t) for t in (answer["t"], answer["t"] + 1000)))
        if name == "snas":  # whose authors' code may choose none
            arch.alphas_normal[..., 0] = arch.alphas_reduce[..., 0] = -3
        found: Genotype = relaxation(name).derive(space("darts"), arch)
        for kind in ("normal", "reduce"):
            assert list(getattr(found, kind)) == [tuple(pair) for pair in answer[kind]]


@pytest.mark.parametrize("answer", ANSWERS["r_darts"]["stops"])
def test_r_darts_stops_where_published(answer: dict[str, Any]) -> None:
    """The epoch that ends the search, and the one whose genotypes it keeps."""
    history: list[dict[str, Any]] = []
    method, stopped = RDarts(), None
    for epoch, value in enumerate(answer["eigenvalues"][:-1]):  # the last epoch ends whatever it is
        history.append({"hessian_eigenvalue": [value]})
        if method.stop(history, space("darts")):
            stopped = [epoch, epoch - method.back]
            break
    assert stopped == answer["stopped"]


def test_r_darts_curvature() -> None:
    """Of the loss and half its decay times the square of A, where published."""
    answer = ANSWERS["r_darts"]["curvature"]
    sizes = {name: answer[name] for name in ("channels", "layers", "nodes", "num_classes", "ops")}
    net = Supernet(space("darts", **sizes))
    targets = one_hot(torch.tensor(answer["labels"]), answer["num_classes"], 1, torch.float64)
    weights, images = known.weights(net.layout)[None], known.u(tuple(answer["images"]), known.X)
    rows = VirtualLearners(range(1), weights, images, targets, learns=False)
    found = hessian_eigenvalue(Passes(net, known.arch(net.space)), rows, r=1e-4)
    assert found.item() + answer["arch_weight_decay"] == pytest.approx(answer["eigenvalue"], rel=1e-5)
