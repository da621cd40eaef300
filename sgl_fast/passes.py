"""Batched passes over virtual learners: counted, chunked along V, their losses in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .arch import Arch
from .pattern import Pattern, join
from .supernet import Supernet
from .walk import RunningStats


@dataclass
class Rows:
    """V virtual learners: which learner's architecture each has, its weights and what it sees.

    learners (V) indices; weights (V, P); images (V, N, 3, H, W), or (N, 3, H, W) shared by all
    targets (V, N, J): the loss is -weight * mean over n of sum over c of targets * log softmax(logits)
    """

    learners: Sequence[int]
    weights: Tensor
    images: Tensor
    targets: Tensor | None = None
    weight: float = 1.0
    patterns: Sequence[Pattern] | None = None
    seeds: Sequence[int] | None = None

    def part(self, index: slice) -> Rows:
        """A chunk of the virtual learners."""

        def cut(x: Any) -> Any:
            return None if x is None else x[index]

        images = self.images[index] if self.images.dim() == 5 else self.images
        fields = cut(self.targets), self.weight, cut(self.patterns), cut(self.seeds)
        return Rows(self.learners[index], self.weights[index], images, *fields)


@dataclass
class Gradients:
    """Of one pass: losses (V) before their weight, log-probabilities (V, N, J), gradients of the weighted losses.

    weights (V, P), arch with V rows; where a gradient was not asked for, empty tensors.
    """

    loss: Tensor
    log_probs: Tensor
    weights: Tensor
    arch: Arch
    patterns: list[Pattern] = field(default_factory=list)


@dataclass
class Held:
    """A forward pass that keeps its graph for one later backward."""

    logits: Tensor
    inputs: list[Tensor]
    template: Arch


class Passes:
    """Runs passes of one supernet.

    chunk     at most so many virtual learners at a time; None for all. The numbers are the same.
    options   skip_beta, skip_dropout and backend of `Supernet.__call__`
    forwards, backwards   passes so far, counted per virtual learner
    """

    def __init__(self, net: Supernet, arch: Arch, chunk: int | None = None, **options: object) -> None:
        self.net, self.arch, self.options = net, arch.map(Tensor.detach), options
        self.chunk = chunk
        self.forwards = self.backwards = 0

    def gradients(
        self,
        rows: Rows,
        weights: bool = False,
        arch: bool = False,
        record: bool = False,
        running: RunningStats | None = None,
    ) -> Gradients:
        """One forward and one backward; `record` keeps the activation patterns, rows.patterns replays them."""
        V = len(rows.learners)
        chunk = self.chunk or V
        parts = []
        for start in range(0, V, chunk):
            index = slice(start, start + chunk)
            stats = None if running is None else RunningStats(running.mean[index], running.var[index])
            parts.append(self._chunk(rows.part(index), weights, arch, record, stats))
        if len(parts) == 1:
            return parts[0]
        return Gradients(
            torch.cat([p.loss for p in parts]),
            torch.cat([p.log_probs for p in parts]),
            torch.cat([p.weights for p in parts]),
            _cat_arch([p.arch for p in parts]),
            [pattern for p in parts for pattern in p.patterns],
        )

    def hold(self, rows: Rows) -> Held:
        """A forward whose backward, in weights and architecture, comes later with a cotangent."""
        w, a = rows.weights.detach().requires_grad_(), self._arch(rows.learners, True)
        logits = self.net(w, a, rows.images, dropout_seeds=rows.seeds, **self.options)  # type: ignore[arg-type]
        self.forwards += len(rows.learners)
        return Held(logits, [w, *a.tensors()], a)

    def pull(self, held: Held, cotangent: Tensor) -> tuple[Tensor, Arch]:
        """The vector-Jacobian products of a held pass: (V, P), and an Arch of V rows."""
        grads = torch.autograd.grad(held.logits, held.inputs, cotangent, materialize_grads=True)
        self.backwards += len(held.logits)
        return grads[0], _like(held.template, grads[1:])

    def _chunk(self, rows: Rows, weights: bool, arch: bool, record: bool, running: RunningStats | None) -> Gradients:
        V = len(rows.learners)
        pattern = join(rows.patterns) if rows.patterns else Pattern() if record else None
        w, a = rows.weights.detach().requires_grad_(weights), self._arch(rows.learners, arch)
        logits = self.net(
            w,
            a,
            rows.images,
            running=running,
            pattern=pattern,
            dropout_seeds=rows.seeds,
            **self.options,  # type: ignore[arg-type]
        )
        assert rows.targets is not None
        log_probs = F.log_softmax(logits.detach(), -1)
        loss, cotangent = cross_entropy(log_probs, rows.targets, rows.weight)
        inputs = [w] * weights + a.tensors() * arch
        grads = list(torch.autograd.grad(logits, inputs, cotangent, materialize_grads=True))
        self.forwards += V
        self.backwards += V
        grad_w = grads.pop(0) if weights else w.new_empty(V, 0)
        grad_a = _like(a, grads) if arch else a.map(lambda t: t.new_empty(V, 0))
        patterns = pattern.split() if record and pattern is not None else []
        return Gradients(loss, log_probs, grad_w, grad_a, patterns)

    def _arch(self, learners: Sequence[int], grad: bool) -> Arch:
        return self.arch.rows(learners).map(lambda t: t.requires_grad_(grad))


def cross_entropy(log_probs: Tensor, targets: Tensor, weight: float = 1.0) -> tuple[Tensor, Tensor]:
    """-mean_n sum_c targets * log_probs, (V); and the gradient of weight times it in the logits, (V, N, J).

    targets (V, N, J) need not sum to 1: the sum of K - 1 cross-entropies is one against the sum of their targets.
    """
    N = log_probs.shape[1]
    loss = -(targets * log_probs).sum(-1).mean(-1)
    return loss, (log_probs.exp() * targets.sum(-1, keepdim=True) - targets) * (weight / N)


def one_hot(labels: Tensor, classes: int, V: int, dtype: torch.dtype) -> Tensor:
    """Labels (N) or (V, N) -> targets (V, N, J)."""
    targets = F.one_hot(labels, classes).to(dtype)
    return targets if targets.dim() == 3 else targets.expand(V, -1, -1)


def _like(template: Arch, tensors: Sequence[Tensor]) -> Arch:
    rest = iter(tensors)
    return template.map(lambda _: next(rest))


def _cat_arch(parts: Sequence[Arch]) -> Arch:
    columns = zip(*(p.tensors() for p in parts), strict=True)
    return _like(parts[0], [torch.cat(c) for c in columns])
