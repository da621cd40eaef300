"""Weights of operations against each method's published formula, written out; and what draws them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Dirichlet

from sgl_fast.nets.supernet import Supernet
from sgl_fast.reference.cell import Writer
from sgl_fast.reference.layers import LayerCursor, PassContext, fold, unfold
from sgl_fast.reference.mixed_cell import apply_op
from sgl_fast.relaxations import NAMES, relaxation
from sgl_fast.relaxations.base import Mixing, Moment, Relaxation
from sgl_fast.relaxations.draws import Draws
from sgl_fast.relaxations.drnas import dirichlet
from sgl_fast.relaxations.fair_darts import FairDarts
from sgl_fast.relaxations.gumbel import Gdas, Snas
from sgl_fast.relaxations.sdarts import SdartsAdv, SdartsRs
from sgl_fast.spaces import space
from sgl_fast.spaces.arch import Arch, init_arch

V, E, O, EPOCHS = 3, 5, 4, 11
SEEDS = torch.tensor([11, 7, 11])


def alphas(seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """The first and the last row are the same learner's."""
    drawn = torch.randn(2, E, O, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return drawn[[0, 1, 0]]


def draws(seeds: Tensor = SEEDS) -> Draws:
    return Draws(seeds, torch.float64)


def at(epoch: float, **how: Any) -> Moment:
    return Moment(torch.tensor(epoch, dtype=torch.float64), EPOCHS, **how)


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_and_alphas_have_equal_weights(name: str) -> None:
    """Whatever row of a pass they are: W+ and W- of a difference see the operations of their base pass."""
    method, a = relaxation(name), alphas()
    w = method.weights(a, at(3), draws())
    exact = {"rtol": 1e-13, "atol": 0.0}  # but for what a vector unit does at its ends
    assert torch.allclose(w[0], w[2], **exact) and not torch.allclose(w[0], w[1], atol=0.01)
    assert torch.allclose(method.weights(a[1:2], at(3), draws(SEEDS[1:2]))[0], w[1], **exact)
    other = method.weights(a, at(3), draws(SEEDS + 1))
    assert torch.equal(w, other) != method.draws or name == "sdarts_adv"
    assert (w >= -1e-12).all() and torch.allclose(w.sum(-1), torch.ones(V, E, dtype=w.dtype)) != (name == "fair_darts")


@pytest.mark.parametrize("epoch", [0, 5, EPOCHS - 1])
@pytest.mark.parametrize("name", ["snas", "gdas"])
def test_gumbel_softmax(name: str, epoch: int) -> None:
    """SNAS eq 5, its lambda from 1 to 0.03; GDAS eqs 3 to 6, its tau from 10 to 0.1; both linear in their code."""
    a = alphas().requires_grad_()
    tau = {"snas": 1 - 0.97 * (epoch + 1) / EPOCHS, "gdas": 10 - 9.9 * epoch / (EPOCHS - 1)}[name]
    g = -torch.log(-torch.log(draws().uniform(E, O)))
    soft = torch.exp((torch.log(torch.exp(a) / torch.exp(a).sum(-1, keepdim=True)) + g) / tau)
    soft = soft / soft.sum(-1, keepdim=True)
    got = relaxation(name).weights(a, at(epoch), draws())
    if name == "gdas":
        assert torch.allclose(got, F.one_hot(soft.argmax(-1), O).double(), atol=1e-12)
    else:
        assert torch.allclose(got, soft, atol=1e-12)
    probe = torch.randn(V, E, O, dtype=torch.float64)
    (grad,), (want,) = (torch.autograd.grad((t * probe).sum(), a) for t in (got, soft))
    assert torch.allclose(grad, want, atol=1e-10) and grad.abs().max() > 1e-3


def test_fair_darts() -> None:
    """Sigmoids, and the zero-one loss of its eq 7 with weight 10, of all operations of both cells."""
    made = space("darts", channels=4, nodes=2, ops=["none", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"])
    arch = init_arch(made, 2, torch.Generator().manual_seed(1), torch.float64).map(lambda t: 2000 * t)
    method = FairDarts()
    assert torch.allclose(method.weights(arch.alphas_normal, at(0), draws()), 1 / (1 + torch.exp(-arch.alphas_normal)))
    want = [-10 * ((1 / (1 + torch.exp(-arch.flat()[k])) - 0.5) ** 2).mean() for k in range(2)]
    assert torch.allclose(method.regulariser(arch, at(0)), torch.stack(want))


def test_fair_darts_derives_by_a_threshold() -> None:
    made = space("darts", channels=4, nodes=2, ops=["none", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"])
    arch = Arch(*(torch.zeros(1, 5, 4) for _ in range(2)))
    high, low = math.log(0.9 / 0.1), math.log(0.8 / 0.2)
    arch.alphas_normal[0, 0, 2], arch.alphas_normal[0, 1, 1] = high, low  # node 0
    arch.alphas_normal[0, 2, 3], arch.alphas_normal[0, 4, 1] = high, high + 1  # node 1
    arch.alphas_normal[0, 3, 0] = high + 2  # none, which no node keeps
    arch.alphas_reduce[0, 0, 2] = low  # the only one of its node: kept all the same
    got = FairDarts().derive(made, arch)
    assert got.normal == [("sep_conv_3x3", 0), ("none", 1), ("skip_connect", 2), ("dil_conv_3x3", 0)]
    assert got.reduce[0] == ("sep_conv_3x3", 0) and [op for op, _ in got.reduce].count("none") == 2
    assert list(FairDarts().derive(made, arch, max_skips=0).normal[2:]) == [("dil_conv_3x3", 0), ("none", 1)]


def test_gdas_derives_the_best_pairs() -> None:
    made = space("darts", channels=4, nodes=2, ops=["none", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"])
    arch = Arch(*(torch.zeros(1, 5, 4) for _ in range(2)))
    arch.alphas_normal[0, 0, 2:] = torch.tensor([2.0, 3.0])  # both of one edge
    arch.alphas_normal[0, 3, 2], arch.alphas_normal[0, 2, 3] = 2.0, 4.0
    got = Gdas().derive(made, arch).normal
    assert got == [("dil_conv_3x3", 0), ("sep_conv_3x3", 0), ("dil_conv_3x3", 0), ("sep_conv_3x3", 1)]


@pytest.mark.parametrize("epoch", [0, 4])
def test_sdarts_rs(epoch: int) -> None:
    """Its eq 6, eps 0.03 + 0.27 epoch / epochs; clipped and normalised row by row; the architecture sees none of it."""
    a = alphas()
    p, u = torch.softmax(a, -1), draws().uniform(E, O)
    moved = p + (0.03 + 0.27 * epoch / EPOCHS) * (2 * u - 1)
    want = moved.clone()
    for row in want.view(-1, O):
        best = row.argmax()
        row.clamp_(0, 1)
        if row.sum() == 0:
            row[best] = 1.0
        row.div_(row.sum())
    method = SdartsRs()
    assert torch.allclose(method.weights(a, at(epoch), draws()), want, atol=1e-12)
    assert (want - p).abs().max() > 0.01
    assert torch.equal(method.weights(a, at(epoch, learns=False), draws()), p)


def test_sdarts_adv_is_projected_ascent() -> None:
    """Its eq 5 by 7 steps of sign ascent on a loss whose best perturbation is known: linear in the weights."""
    slope = {kind: torch.randn(V, E, O, dtype=torch.float64) for kind in ("normal", "reduce")}
    calls: list[Arch] = []

    def gradient(at: Arch) -> Arch:
        calls.append(at)
        return Arch(slope["normal"], slope["reduce"])

    method, moment = SdartsAdv(), at(4)
    p = Arch(alphas(1).softmax(-1), alphas(2).softmax(-1))
    found = method.attack(p, moment, draws(), gradient)
    eps = 0.03 + 0.27 * 4 / EPOCHS
    assert len(calls) == 7
    assert (calls[0].alphas_normal - p.alphas_normal).abs().max() > 0.3 * eps  # a random start
    for kind, c in slope.items():
        start, moved = (getattr(arch, f"alphas_{kind}") for arch in (p, found))
        after = start + moved
        assert torch.allclose(after.sum(-1), torch.ones(V, E, dtype=torch.float64)) and (after >= 0).all()
        first = getattr(calls[0], f"alphas_{kind}") - start
        assert ((c * moved).sum((1, 2)) > (c * first).sum((1, 2)).clamp(min=0) + 0.1 * eps).all()  # a larger loss
    weights = method.weights(alphas(1), at(4, attack=found.alphas_normal), draws())
    assert torch.allclose(weights, p.alphas_normal + found.alphas_normal, atol=1e-12)
    assert torch.equal(
        method.weights(alphas(1), at(4, attack=found.alphas_normal, learns=False), draws()), p.alphas_normal
    )


def test_drnas_samples_a_dirichlet() -> None:
    """Moments of Dirichlet(elu(alpha) + 1) over many seeds, from concentrations below and above 1."""
    a = torch.tensor([-3.0, -0.5, 0.0, 2.0], dtype=torch.float64)
    many, c = 20_000, F.elu(a) + 1
    seeds = torch.randint(2**62, (many,), generator=torch.Generator().manual_seed(3))
    x = relaxation("drnas").weights(a.expand(many, 1, O), at(0), Draws(seeds, torch.float64))[:, 0]
    want = Dirichlet(c)
    assert torch.allclose(x.mean(0), want.mean, atol=5 * (want.variance.max() / many).sqrt().item())
    assert torch.allclose(x.var(0), want.variance, rtol=0.08, atol=1e-4)
    assert torch.allclose(x.log().mean(0), torch.digamma(c) - torch.digamma(c.sum()), rtol=0.03)


def test_drnas_differentiates_as_torch_does() -> None:
    """The derivative at the same sample, and of the mean of any function over many samples."""
    a = alphas()[:1].requires_grad_()
    c = F.elu(a) + 1
    x = dirichlet(c.detach(), draws(SEEDS[:1]))
    probe = torch.randn(1, E, O, dtype=torch.float64)
    total = c.sum(-1, keepdim=True).expand_as(c)
    each = torch._dirichlet_grad(x, c.detach(), total.detach())
    (want,) = torch.autograd.grad((c * each * (probe - (x * probe).sum(-1, keepdim=True))).sum(), c, retain_graph=True)
    want = each * (probe - (x * probe).sum(-1, keepdim=True))
    got = relaxation("drnas").weights(a, at(0), draws(SEEDS[:1]))
    (grad,) = torch.autograd.grad((got * probe).sum(), a)
    slope = torch.where(a > 0, 1.0, a.exp()).detach()
    assert torch.equal(got.detach(), x) and torch.allclose(grad, want * slope)


def test_drnas_follows_the_mean() -> None:
    """The average of the derivatives of samples is the derivative of the mean, c / sum(c)."""
    a = torch.tensor([[-1.0, 0.2, 0.7, -0.4]], dtype=torch.float64, requires_grad=True)
    many = 40_000
    seeds = torch.randint(2**62, (many,), generator=torch.Generator().manual_seed(5))
    x = relaxation("drnas").weights(a.expand(many, 1, 4), at(0), Draws(seeds, torch.float64))
    probe = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    (got,) = torch.autograd.grad((x * probe).sum() / many, a)
    c = F.elu(a) + 1
    (want,) = torch.autograd.grad((c / c.sum() * probe).sum(), a)
    assert torch.allclose(got, want, atol=0.02)


def test_draws_are_of_their_distributions() -> None:
    seeds = torch.arange(50)
    d = Draws(seeds, torch.float32)
    u, n, g = d.uniform(40, 50), d.normal(40, 50), d.gumbel(40, 50)
    assert (u.shape, u.dtype) == ((50, 40, 50), torch.float32) and 0 < u.min() < 1e-4 and 1 > u.max() > 1 - 1e-4
    assert abs(u.mean() - 0.5) < 0.005 and abs(u.var() - 1 / 12) < 0.002
    assert abs(n.mean()) < 0.015 and abs(n.var() - 1) < 0.02 and abs((n**4).mean() - 3) < 0.15
    assert abs(g.mean() - 0.5772) < 0.02 and abs(g.var() - math.pi**2 / 6) < 0.05
    assert abs(torch.corrcoef(torch.stack([u.flatten(), n.flatten(), g.flatten()])).triu(1)).max() < 0.02
    again = Draws(seeds, torch.float64)
    assert torch.allclose(again.uniform(40, 50).float(), u)
    assert not torch.equal(again.uniform(40, 50).float(), u)  # the next ones


def test_the_largest_uniform_number_is_below_1() -> None:
    """In float32, too, where (2^24 - 1/2) / 2^24 is 1, and its Gumbel number infinite."""
    words = torch.tensor([0, 2**23 - 1]).float()
    ends = (words + 0.5) / 2**23
    assert ends[0] > 0 and ends[1] < 1 and (-(-ends.log()).log()).isfinite().all()


def test_what_draws_needs_seeds() -> None:
    with pytest.raises(ValueError, match="need seeds, one a learner: Gdas draws; got None"):
        Gdas().at(0, 10)
    assert Snas().at(0, 10, SEEDS).rows([1]).seeds is not None
    with pytest.raises(ValueError, match="unknown relaxation 'gda'; the relaxations are softmax, gdas"):
        relaxation("gda")


def test_the_softmax_is_the_default() -> None:
    made = space("pc_darts", channels=4, nodes=2)
    arch = init_arch(made, 2, torch.Generator().manual_seed(0))
    ops, edges = Mixing()(made, arch)
    assert torch.equal(ops["normal"], arch.alphas_normal.softmax(-1)) and type(relaxation("softmax")) is Relaxation
    assert edges["reduce"] is not None and arch.betas_reduce is not None
    assert torch.equal(edges["reduce"][:, :2], arch.betas_reduce[:, :2].softmax(1))


def test_noisy_darts_adds_a_share_of_the_deviation_to_skips() -> None:
    """0.2 std(y) of each virtual learner; not in evaluation, not on other operations."""
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(2, 6, 4, 16, 16, generator=draw, dtype=torch.float64) * torch.tensor([1.0, 5.0]).view(2, 1, 1, 1, 1)
    writer = Writer()
    seeds, share = torch.tensor([3, 4]), relaxation("noisy_darts").skip_noise
    cursor = LayerCursor(writer.cut("none"), torch.zeros(2, 0), PassContext(dropout_seeds=seeds, skip_noise=share))
    added = unfold(apply_op(cursor, "skip_connect", fold(x), fold(x), 1), 2) - x
    n = added / (0.2 * x.flatten(1).std(1)).view(2, 1, 1, 1, 1)
    assert abs(n.mean()) < 0.03 and torch.allclose(n.flatten(1).std(1), torch.ones(2).double(), atol=0.03)
    assert not torch.allclose(n[0], n[1], atol=0.1)

    net = Supernet(space("darts", channels=2, layers=3, nodes=1, num_classes=3, ops=["skip_connect", "avg_pool_3x3"]))
    w, arch, images = net.init_weights(2, draw), net.init_arch(2, draw), torch.randn(3, 3, 8, 8, generator=draw)
    running, noisy = net.init_running(2), relaxation("noisy_darts").at()
    for training, equal in ((True, False), (False, True)):
        both = [
            net(w, arch, images, training, running, mixing=m, dropout_seeds=seeds, backend="reference")
            for m in (None, noisy)
        ]
        assert torch.equal(*both) == equal
