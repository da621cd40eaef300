"""The second order read off eqs (4)-(11): learner by learner, pair by pair, every term recomputed where it is needed.

For K = 2: 17 forward and 12 backward passes a learner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import get_total_norm

from sgl_fast import Batch

from .learner import Learner, others, pair_loss
from .supernet import Supernet

Tensors = list[Tensor]


class Pairwise:
    """Images of the batch are shared by all learners."""

    def __init__(self, learners: Sequence[Learner]) -> None:
        self.learners, self.config = list(learners), learners[0].config

    def step(self, batch: Batch) -> None:
        """Stages 1 and 2 with SGD, then Adam on the hypergradients."""
        for one, gradient in zip(self.learners, self.hypergradients(batch), strict=True):
            for parameter, g in zip(one.alphas.parameters(), gradient, strict=True):
                parameter.grad = g
            one.move_alphas()

    def hypergradients(self, batch: Batch) -> list[Tensors]:
        """Moves every v and w; h_k of eqs (6)-(11) there, a list over the tensors of Alphas each."""
        self.v_old = [weights_of(one.v) for one in self.learners]
        self.w_old = [weights_of(one.w) for one in self.learners]
        self.stage_one(batch)
        self.stage_two(batch)
        direct, self.g = zip(*(self.direct(k, batch) for k in range(len(self.learners))), strict=True)
        self.eps = [self.config.radius / get_total_norm(g, foreach=True).item() for g in self.g]
        return [self.total(k, direct[k], batch) for k in range(len(self.learners))]

    def stage_one(self, batch: Batch) -> None:
        for one in self.learners:
            one.sgd[one.v].zero_grad()
            F.cross_entropy(one.logits(one.v, batch.x_train), batch.y_train).backward()
            one.backwards += 1
            one.move(one.v)

    def stage_two(self, batch: Batch) -> None:
        labels = [one.pseudo_labels(one.v, batch.x_unlabeled) for one in self.learners]
        for k, one in enumerate(self.learners):
            one.sgd[one.w].zero_grad()
            self.stage_two_loss(one, others(labels, k), batch).backward()
            one.backwards += 2
            one.move(one.w)

    def stage_two_loss(self, one: Learner, labels: Sequence[Tensor], batch: Batch) -> Tensor:
        loss = F.cross_entropy(one.logits(one.w, batch.x_train), batch.y_train)
        return loss + self.config.lam * pair_loss(one.logits(one.w, batch.x_unlabeled), labels)

    def total(self, k: int, direct: Tensors, batch: Batch) -> Tensors:
        xi_v, xi_w = self.config.lr, self.config.lr
        own, cross = self.own(k, batch), self.cross(k, batch)
        h = torch._foreach_sub(direct, own, alpha=xi_w)
        return list(torch._foreach_add(h, cross, alpha=xi_w * xi_v * self.config.lam))

    def direct(self, k: int, batch: Batch) -> tuple[Tensors, Tensors]:
        """Gradients of the validation loss at w': in the architecture, and g_k in the weights."""
        one = self.learners[k]
        loss = F.cross_entropy(one.logits(one.w, batch.x_val), batch.y_val)
        one.backwards += 1
        alphas = list(one.alphas.parameters())
        grads = list(torch.autograd.grad(loss, [*alphas, *one.w.parameters()]))
        return grads[: len(alphas)], grads[len(alphas) :]

    def own(self, k: int, batch: Batch) -> Tensors:
        """Eq (8): the quotient of the architecture's gradients of the stage-2 loss at w +- eps g."""
        one = self.learners[k]

        def at(sign: int) -> Tensors:
            with moved(one.w, self.w_old[k], self.g[k], sign * self.eps[k]):
                labels = [other.pseudo_labels(other.v, batch.x_unlabeled) for other in others(self.learners, k)]
                loss = self.stage_two_loss(one, labels, batch)
                one.backwards += 2
                return list(torch.autograd.grad(loss, list(one.alphas.parameters())))

        return central_difference(at(1), at(-1), self.eps[k])

    def cross(self, k: int, batch: Batch) -> Tensors:
        """Eqs (9)-(11): u_k summed over the pairs, then the quotient at v +- eps' u_k."""
        one = self.learners[k]
        pairs = [self.pair(j, k, batch) for j in range(len(self.learners)) if j != k]
        u = [torch.stack(parts).sum(0) for parts in zip(*pairs, strict=True)]
        eps = self.config.radius / get_total_norm(u, foreach=True).item()

        def at(sign: int) -> Tensors:
            with moved(one.v, self.v_old[k], u, sign * eps):
                loss = F.cross_entropy(one.logits(one.v, batch.x_train), batch.y_train)
                one.backwards += 1
                return list(torch.autograd.grad(loss, list(one.alphas.parameters())))

        return central_difference(at(1), at(-1), eps)

    def pair(self, j: int, k: int, batch: Batch) -> Tensors:
        """Learner j's part of u_k: the quotient over w_j +- of the gradients in v'_k, through the pseudo-labels."""
        one, other = self.learners[k], self.learners[j]

        def at(sign: int) -> Tensors:
            with torch.no_grad(), moved(other.w, self.w_old[j], self.g[j], sign * self.eps[j]):
                logits = other.logits(other.w, batch.x_unlabeled)
            labels = one.logits(one.v, batch.x_unlabeled).softmax(-1)
            one.backwards += 1
            return list(torch.autograd.grad(F.cross_entropy(logits, labels), list(one.v.parameters())))

        return central_difference(at(1), at(-1), self.eps[j])


def weights_of(net: Supernet) -> Tensors:
    return [parameter.detach().clone() for parameter in net.parameters()]


def central_difference(plus: Tensors, minus: Tensors, eps: float) -> Tensors:
    """(plus - minus) / (2 eps)"""
    return list(torch._foreach_div(torch._foreach_sub(plus, minus), 2 * eps))


@contextmanager
def moved(net: Supernet, start: Tensors, direction: Tensors, scale: float) -> Iterator[None]:
    """Within the block the network's weights are start + scale * direction."""
    parameters = list(net.parameters())
    kept = [parameter.data for parameter in parameters]
    for parameter, value in zip(parameters, torch._foreach_add(start, direction, alpha=scale), strict=True):
        parameter.data = value
    try:
        yield
    finally:
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.data = value
