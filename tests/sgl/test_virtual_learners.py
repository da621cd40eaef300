"""Virtual learners side by side, their running statistics, and nets of every size."""

from __future__ import annotations

import known
import pytest
import torch
from networks import F64, both, draws, small

from sgl_fast.nets.supernet import RunningStats
from sgl_fast.spaces import SPACES


@pytest.mark.parametrize("shared", [False, True], ids=["own images", "shared images"])
@pytest.mark.parametrize("name", SPACES)
def test_virtual_learners_are_single_calls_side_by_side(name: str, shared: bool) -> None:
    net = small(name)
    weights, arch, images = draws(net, 3)
    images = images[0] if shared else images
    weights.requires_grad_()
    running = net.init_running(3, F64)
    together = net(weights, arch, images, running=running)
    together.square().sum().backward()
    assert weights.grad is not None and together.shape == (3, 3, 5)
    for v in range(3):
        one, own = weights[v : v + 1].detach().requires_grad_(), net.init_running(1, F64)
        alone = net(one, arch.rows([v]), images if shared else images[v : v + 1], running=own)
        alone.square().sum().backward()
        known.close(together[v].detach(), alone[0].detach())
        known.close(weights.grad[v], one.grad[0])
        known.close(running.mean[v], own.mean[0])
        known.close(running.var[v], own.var[0])


def test_evaluation_reads_each_learners_own_statistics_and_not_the_batch() -> None:
    net = small("pc_darts")
    weights, arch, images = draws(net, 2)
    running = net.init_running(2, F64)
    net(weights, arch, images, running=running)
    kept = RunningStats(running.mean.clone(), running.var.clone())
    logits = net(weights, arch, images, training=False, running=running)
    assert torch.equal(running.mean, kept.mean) and torch.equal(running.var, kept.var)
    for v in range(2):
        own = RunningStats(kept.mean[v : v + 1], kept.var[v : v + 1])
        first = net(weights[v : v + 1], arch.rows([v]), images[v : v + 1, :1], training=False, running=own)
        known.close(first[0], logits[v, :1])


def test_image_gradient_is_the_directional_difference() -> None:
    net = small("darts")
    weights, arch, images = draws(net, 2)
    images.requires_grad_()
    (grad,) = torch.autograd.grad(net(weights, arch, images).square().sum(), images)
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(1), dtype=F64)

    def at(step: float) -> float:
        return net(weights, arch, images.detach() + step * direction).square().sum().item()

    assert (at(1e-7) - at(-1e-7)) / 2e-7 == pytest.approx((grad * direction).sum().item(), rel=1e-5)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("nodes, layers", [(1, 1), (2, 2), (3, 3), (4, 5), (5, 3)])
def test_any_number_of_nodes_and_layers(name: str, nodes: int, layers: int) -> None:
    net = small(name, nodes=nodes, layers=layers)
    weights, arch, images = draws(net, 2)
    weights.requires_grad_()
    logits = net(weights, arch, images)
    assert logits.shape == (2, 3, 5) and logits.isfinite().all()
    (grad,) = torch.autograd.grad(logits.square().sum(), weights)
    unused = [e.name for e in net.layout if not grad[:, e.offset : e.offset + e.size].any()]
    assert not unused


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_any_number_of_ops_an_edge(count: int) -> None:
    ops = [[(e + 3 * j) % 8 for j in range(count)] for e in range(5)]
    net = small("p_darts", edge_ops=both(ops))
    weights, arch, images = draws(net, 2)
    assert net(weights, arch, images).isfinite().all()


def test_coefficient_of_the_auxiliary_skips() -> None:
    """At 0 they are off, so the net is that of DARTS with the auxiliary weights struck out."""
    minus, plain = small("darts_minus"), small("darts")
    weights, arch, images = draws(minus, 2)
    common = [weights[:, e.offset : e.offset + e.size] for e in minus.layout if "aux_skip" not in e.name]
    want = plain(torch.cat(common, dim=1), arch, images)
    known.close(minus(weights, arch, images, skip_beta=0.0), want)
    one = minus(weights, arch, images)
    assert torch.equal(one, minus(weights, arch, images, skip_beta=1.0))
    assert (one - want).abs().max() > 1e-3
