"""The benchmarks' baselines compute what sgl_fast computes: logits, gradients, search steps, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import F64, draws, small

import sgl_fast
from bench import eager
from sgl_fast import Arch, Batch, Config, Search, Supernet
from sgl_fast.spaces import SPACES

PLAIN: dict[str, Any] = {"momentum": 0.0, "weight_decay": 0.0, "clip": 0.0}
CLIPPED: dict[str, Any] = {"clip": 0.3, "arch_clip": 0.01}  # both bite


def eager_net(net: Supernet, weights: torch.Tensor, arch: Arch, k: int) -> tuple[eager.Supernet, eager.Alphas]:
    """Learner k as modules."""
    module, alphas = eager.Supernet(net.space).double(), eager.Alphas(net.space).double()
    eager.load(module, weights[k])
    eager.load(alphas, arch.flat()[k])
    return module, alphas


def images(N: int = 4, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(3, N, 3, 8, 8, generator=draw, dtype=F64)
    y = torch.randint(5, (2, N), generator=draw)
    return Batch(x[0], y[0], x[1], x[2], y[1])


def eager_learners(search: Search) -> list[eager.Learner]:
    made = eager.learners(search.space, search.config)
    for k, one in enumerate(made):
        for module, flat in zip(one.modules(), (search.arch.flat(), search.v, search.w), strict=True):
            eager.load(module.double(), flat[k])
    return made


def double_search(name: str, algorithm: str, **changes: Any) -> Search:
    """A search in float64, its architectures far from uniform."""
    net = small(name)
    search = Search(net, Config.preset(name, algorithm, arch_start=0, pretrain_epochs=0, **changes))
    for field in ("w", "v", "momentum_w", "momentum_v"):
        setattr(search, field, getattr(search, field).double())
    search.running.mean, search.running.var = search.running.mean.double(), search.running.var.double()
    search.architect.arch = search.architect.arch.map(lambda t: 500 * t.double())
    search.architect.moments = tuple(t.double() for t in search.architect.moments)  # type: ignore[assignment]
    return search


def same(got: torch.Tensor, want: torch.Tensor, tolerance: float = 1e-10) -> None:
    assert (got - want).abs().max() <= tolerance * want.abs().max()


def same_state(made: list[eager.Learner], search: Search, tolerance: float) -> None:
    for k, one in enumerate(made):
        for module, flat in zip(one.modules(), (search.arch.flat(), search.v, search.w), strict=True):
            same(torch.nn.utils.parameters_to_vector(module.parameters()), flat[k], tolerance)


@pytest.mark.parametrize("name", SPACES)
def test_logits_and_gradients_are_those_of_the_supernet(name: str) -> None:
    net = small(name)
    weights, arch, x = draws(net, 2)
    weights.requires_grad_()
    arch = arch.map(lambda t: t.requires_grad_())
    logits = net(weights, arch, x)
    labels = torch.tensor([0, 3, 1])
    F.cross_entropy(logits.flatten(0, 1), labels.repeat(2), reduction="sum").backward()
    for k in range(2):
        module, alphas = eager_net(net, weights.detach(), arch.map(torch.detach), k)
        own = module(x[k], alphas)
        same(own, logits[k])
        F.cross_entropy(own, labels, reduction="sum").backward()
        for got, want in ((module, weights.grad), (alphas, arch.map(lambda t: t.grad).flat())):
            same(torch.cat([p.grad.flatten() for p in got.parameters()]), want[k])


@pytest.mark.parametrize("learners", [2, 3])
@pytest.mark.parametrize("name", ["darts", "pc_darts"])
def test_pairwise_hypergradient_is_the_finite_difference(name: str, learners: int) -> None:
    search = double_search(name, "paper", learners=learners, lam=0.7, **PLAIN)
    batch, lr = images(), search.config.lr
    options = {"xi_w": lr, "xi_v": lr, "lam": 0.7, "method": "finite_difference"}
    want = sgl_fast.hypergradient(search.nets[0], search.w, search.v, search.arch, batch, **options).flat()
    got = eager.Pairwise(eager_learners(search)).hypergradients(batch)
    for k, gradient in enumerate(got):
        same(torch.cat([g.flatten() for g in gradient]), want[k], 1e-8)


@pytest.mark.parametrize("name", ["darts", "pc_darts"])
def test_pairwise_step_is_the_search_of_the_paper(name: str) -> None:
    search = double_search(name, "paper", **CLIPPED)
    made = eager_learners(search)
    baseline = eager.Pairwise(made)
    for step in range(2):
        search.step(images(seed=step))
        baseline.step(images(seed=step))
    same_state(made, search, 1e-7)
    assert [(one.forwards, one.backwards) for one in made] == [(2 * 17, 2 * 12)] * 2


@pytest.mark.parametrize("learners", [2, 3])
@pytest.mark.parametrize("name", ["darts", "pc_darts"])
def test_released_step_is_the_released_search(name: str, learners: int) -> None:
    search = double_search(name, "released", learners=learners, **CLIPPED)
    made = eager_learners(search)
    baseline = eager.Released(made)
    for step in range(2):
        record = search.step(images(seed=step))
        losses = baseline.step(images(seed=step))
    same_state(made, search, 1e-8)
    for name, values in losses.items():
        same(torch.tensor(values), torch.tensor(record[name]), 1e-6)
    assert [(one.forwards, one.backwards) for one in made] == [(2 * 5, 2 * 4)] * learners
