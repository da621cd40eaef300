"""The hypergradient with every relaxation against plain autograd through eqs (4)-(5), in float64 on small nets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import sgl_fast
from sgl_fast.data.batch import Batch
from sgl_fast.nets.supernet import Supernet, draw_seeds
from sgl_fast.relaxations import relaxation
from sgl_fast.relaxations.base import Mixing
from sgl_fast.sgl.adversary import Given
from sgl_fast.sgl.curvature import hessian_eigenvalue
from sgl_fast.sgl.hypergradient import hypergradient
from sgl_fast.sgl.passes import Passes
from sgl_fast.sgl.virtual_learners import VirtualLearners, one_hot
from sgl_fast.spaces.arch import Arch

XI_W, XI_V, LAM, K, N, J = 0.1, 0.07, 0.8, 2, 6, 5
METHODS = ("gdas", "snas", "fair_darts", "drnas", "sdarts_rs", "sdarts_adv", "noisy_darts")


class Problem:
    """Two learners of a small net, and a relaxation in epoch 2 of 5."""

    def __init__(self, name: str, dtype: torch.dtype = torch.float64) -> None:
        self.net = Supernet(sgl_fast.space("pc_darts", channels=4, layers=3, nodes=1, num_classes=J))
        draw = torch.Generator().manual_seed(4)
        self.w, self.v = (self.net.init_weights(K, draw, torch.float64).to(dtype) for _ in range(2))
        self.arch = self.net.init_arch(K, draw, torch.float64).map(lambda t: (500 * t).to(dtype))
        x = [torch.randn(N, 3, 8, 8, generator=draw, dtype=torch.float64).to(dtype) for _ in range(3)]
        y = [torch.randint(J, (N,), generator=draw) for _ in range(2)]
        self.batch = Batch(x[0], y[0], x[1], x[2], y[1])
        self.relaxation = relaxation(name)
        self.mixing = self.relaxation.at(2.0, 5, torch.tensor([3, 8]))

    def hypergradient(self, **options: Any) -> Arch:
        settings = {"xi_w": XI_W, "xi_v": XI_V, "lam": LAM, "explicit_pseudo_label_grad": True, **options}
        draw = torch.Generator().manual_seed(9)
        parts = self.net, self.w, self.v, self.arch, self.batch
        return hypergradient(*parts, mixing=self.mixing, generator=draw, **settings)

    def oracle(self) -> Arch:
        """grad_A of sum_j (L(W'_j, A_j, val) + regulariser), differentiated through both inner steps by autograd."""
        net, b, mixing = self.net, self.batch, self.mixing
        seeds = draw_seeds(5 * K, torch.Generator().manual_seed(9)).split(K)
        arch = self.arch.map(lambda t: t.clone().requires_grad_())
        w, v = (t.clone().requires_grad_() for t in (self.w, self.v))
        if self.relaxation.adversarial:
            mixing = self.attacked(seeds[1])

        def logits(weights: Tensor, x: Tensor, part: int, learns: bool = True) -> Tensor:
            return net(weights, arch, x, mixing=mixing.rows(range(K), learns), dropout_seeds=seeds[part])

        def labelled(weights: Tensor, x: Tensor, y: Tensor, part: int, learns: bool = True) -> Tensor:
            return torch.stack([F.cross_entropy(one, y) for one in logits(weights, x, part, learns)]).sum()

        (grad_v,) = torch.autograd.grad(labelled(v, b.x_train, b.y_train, 0), v, create_graph=True)
        p = logits(v - XI_V * grad_v, b.x_unlabeled, 2).softmax(-1)
        log_q = logits(w, b.x_unlabeled, 3).log_softmax(-1)
        pseudo = -sum((p[1 - k] * log_q[k]).sum(-1).mean() for k in range(K))
        (grad_w,) = torch.autograd.grad(labelled(w, b.x_train, b.y_train, 1) + LAM * pseudo, w, create_graph=True)
        loss = labelled(w - XI_W * grad_w, b.x_val, b.y_val, 4, learns=False)
        added = self.relaxation.regulariser(arch, mixing.moment)
        if added is not None:
            loss = loss + added.sum()
        return arch.unflatten(torch.autograd.grad(loss, arch.tensors()))

    def attacked(self, seeds: Tensor) -> Mixing:
        """By projected sign ascent on the losses of W at perturbed weights of operations, one learner at a time."""
        b, found = self.batch, []
        for k in range(K):
            one = self.arch.rows([k])

            def gradient(at: Arch, k: int = k) -> Arch:
                leaves = at.map(lambda t: t.detach().clone().requires_grad_())
                how = {"mixing": Mixing(Given()), "dropout_seeds": seeds[k : k + 1]}
                loss = F.cross_entropy(self.net(self.w[k : k + 1], leaves, b.x_train, **how)[0], b.y_train)
                return leaves.unflatten(torch.autograd.grad(loss, leaves.tensors(), materialize_grads=True))

            start = Arch(one.alphas_normal.softmax(-1), one.alphas_reduce.softmax(-1), *one.tensors()[2:])
            mixing = self.mixing.rows([k])
            found.append(self.relaxation.attack(start, mixing.moment, mixing.draws(start), gradient))
        whole = [torch.cat(parts) for parts in zip(*(one.tensors() for one in found), strict=True)]
        return Mixing(self.relaxation, self.mixing.moment, self.mixing.seeds, Arch(*whole))


def error(got: Arch, want: Arch) -> float:
    a, b = got.flat().double(), want.flat().double()
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("name", METHODS)
def test_exact_is_autograd(name: str) -> None:
    problem = Problem(name)
    want = problem.oracle()
    assert error(problem.hypergradient(method="exact"), want) < 1e-9
    assert error(problem.hypergradient(), want) < 1e-3  # frozen: the perturbed passes see the draws of their base pass


@pytest.mark.usefixtures("extension")
@pytest.mark.parametrize("name", METHODS)
def test_backends_agree(name: str) -> None:
    """First order, whose float32 is as good as its arithmetic."""
    want = Problem(name).hypergradient(order=1)
    for backend in ("reference", "cpu"):
        assert error(Problem(name, torch.float32).hypergradient(order=1, backend=backend), want) < 1e-3


@pytest.mark.parametrize("name", ["gdas", "drnas"])
def test_chunks_give_the_same_numbers(name: str) -> None:
    problem = Problem(name)
    assert error(problem.hypergradient(chunk=1), problem.hypergradient()) < 1e-9


@pytest.mark.parametrize("name", ["softmax", "fair_darts"])
def test_the_curvature_is_the_largest_eigenvalue(name: str) -> None:
    """Against the Hessian of each learner's loss in its architecture, by autograd, row by row."""
    problem = Problem(name)
    net, b = problem.net, problem.batch
    passes = Passes(net, problem.arch, mixing=problem.mixing)
    rows = VirtualLearners(range(K), problem.w, b.x_val, one_hot(b.y_val, J, K, torch.float64), learns=False)
    steps = problem.arch.flat().shape[1]
    got = hessian_eigenvalue(passes, rows, steps, r=1e-4)
    for k in range(K):
        one = problem.arch.rows([k])

        def loss(flat: Tensor, k: int = k, one: Arch = one) -> Tensor:
            mixing = problem.mixing.rows([k], learns=False)
            return F.cross_entropy(net(problem.w[k : k + 1], one.from_flat(flat), b.x_val, mixing=mixing)[0], b.y_val)

        hessian = torch.autograd.functional.hessian(loss, one.flat())
        values = torch.linalg.eigvalsh(hessian.view(steps, steps))
        assert got[k].item() == pytest.approx(values[-1].item(), rel=1e-4)
        assert values[-1] > 1.1 * values[-2]
    fewer = hessian_eigenvalue(passes, rows)  # as a search asks
    assert torch.allclose(fewer, got, rtol=1e-2)
