"""Batched passes over virtual learners: counted, chunked along V, their losses in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backends.precision import library
from ..nets.supernet import Supernet
from ..ops.pseudo_label import cross_entropy
from ..reference.layers import RunningStats
from ..reference.pattern import Pattern, join
from ..spaces.arch import Arch, like, take
from . import ranks


@dataclass
class Rows:
    """V virtual learners: which learner's architecture each has, its weights and what it sees.

    learners (V) indices; weights (V, P); images (V, N, 3, H, W), or (N, 3, H, W) shared by all
    targets (V, N, J): the loss is -weight * mean over n of sum over c of targets * log softmax(logits)
    log_probs, slopes (V, N, J), (V, A): of the pass whose patterns these are, the latter the architecture's gradient
    """

    learners: Sequence[int]
    weights: Tensor
    images: Tensor
    targets: Tensor | None = None
    weight: float = 1.0
    patterns: Sequence[Pattern] | None = None
    seeds: Tensor | None = None
    log_probs: Tensor | None = None
    slopes: Tensor | None = None

    def take(self, positions: Sequence[int]) -> Rows:
        """Some of the virtual learners."""
        if list(positions) == list(range(len(self.learners))):
            return self
        images = take(self.images, positions) if self.images.dim() == 5 else self.images
        targets = None if self.targets is None else take(self.targets, positions)
        learners = [self.learners[i] for i in positions]
        patterns = None if self.patterns is None else [self.patterns[i] for i in positions]
        rest = [None if t is None else take(t, positions) for t in (self.seeds, self.log_probs, self.slopes)]
        return Rows(learners, take(self.weights, positions), images, targets, self.weight, patterns, *rest)


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
    """A forward pass that keeps its graph for one later backward: logits (V, N, J), and each group's graph."""

    logits: Tensor
    learners: Sequence[int]
    groups: list[list[int]]
    graphs: list[tuple[Tensor, Tensor, Arch]]


class Passes:
    """Runs passes of K learners, whose supernets may differ in their operations (P-DARTS).

    nets      one for all, or one a learner; weights and statistics of a smaller net are padded with zeros at the end
    chunk     at most so many virtual learners at a time; None for all. The numbers are the same.
    options   skip_beta, skip_dropout, backend and precision of `Supernet.__call__`
    forwards, backwards   passes so far, counted per virtual learner
    """

    def __init__(
        self, nets: Supernet | Sequence[Supernet], arch: Arch, chunk: int | None = None, **options: Any
    ) -> None:
        self.nets = [nets] * len(arch) if isinstance(nets, Supernet) else list(nets)
        self.arch, self.chunk, self.options = arch.map(Tensor.detach), chunk, options
        self.num_classes = self.nets[0].space.num_classes
        self.forwards = self.backwards = 0

    def groups(self, learners: Sequence[int]) -> list[list[int]]:
        """Positions of the virtual learners that run together: of one net, at most `chunk`."""
        by_net: dict[int, list[int]] = {}
        for position, learner in enumerate(learners):
            by_net.setdefault(id(self.nets[learner]), []).append(position)
        size = self.chunk or len(learners)
        return [p[start : start + size] for p in by_net.values() for start in range(0, len(p), size)]

    def gradients(
        self,
        rows: Rows,
        weights: bool = False,
        arch: bool = False,
        record: bool = False,
        running: RunningStats | None = None,
        **options: Any,
    ) -> Gradients:
        """One forward and one backward; `record` keeps the activation patterns, rows.patterns replays them.

        options: in place of those of all passes.
        """
        share, V = ranks.share(rows.learners), len(rows.learners)
        if len(share) == V:
            return self._in_groups(rows, weights, arch, record, running, **options)
        stats = None if running is None else RunningStats(take(running.mean, share), take(running.var, share))
        if share:
            mine = self._in_groups(rows.take(share), weights, arch, record, stats, **options)
        else:
            mine = self._nothing(rows, weights, arch)
        self._count_others(V - len(share))
        tensors = [mine.loss, mine.log_probs, mine.weights, *mine.arch.tensors()]
        kept = [] if stats is None else [stats.mean, stats.var]
        loss, log_probs, grads, *rest = ranks.spread(share, V, [*tensors, *kept])
        if running is not None:
            running.mean.copy_(rest[-2])
            running.var.copy_(rest[-1])
        patterns: list[Any] = [None] * V
        for position, pattern in zip(share, mine.patterns, strict=False):
            patterns[position] = pattern
        return Gradients(loss, log_probs, grads, like(mine.arch, rest), patterns * record)

    def _nothing(self, rows: Rows, weights: bool, arch: bool) -> Gradients:
        """Gradients of no virtual learner."""
        N, P = rows.images.shape[-4], rows.weights.shape[1] * weights
        none = rows.weights.new_empty(0, P)
        template = self.arch.rows([])
        return Gradients(
            none.new_empty(0),
            none.new_empty(0, N, self.num_classes),
            none,
            template if arch else template.map(lambda t: t.new_empty(0, 0)),
        )

    def _count_others(self, count: int) -> None:
        """Passes of other processes."""
        self.forwards += count
        self.backwards += count

    def _in_groups(
        self,
        rows: Rows,
        weights: bool,
        arch: bool,
        record: bool,
        running: RunningStats | None,
        **options: Any,
    ) -> Gradients:
        groups = self.groups(rows.learners)
        parts = []
        for group in groups:
            part = rows.take(group)
            stats = None if running is None else self._statistics(part, running, group)
            parts.append(self._gradients(part, weights, arch, record, stats, **options))
            if running is not None and stats is not None:
                S = stats.mean.shape[1]
                for row, position in enumerate(group):
                    running.mean[position, :S].copy_(stats.mean[row])
                    running.var[position, :S].copy_(stats.var[row])
        patterns = dict(zip((i for g in groups for i in g), (p for part in parts for p in part.patterns), strict=False))
        return Gradients(
            merge(groups, [p.loss for p in parts]),
            merge(groups, [p.log_probs for p in parts]),
            merge(groups, [p.weights for p in parts], rows.weights.shape[1] * weights),
            merge_arch(groups, [p.arch for p in parts]),
            [patterns[i] for i in sorted(patterns)],
        )

    @property
    def backend(self) -> str | None:
        """The backend that was asked for by name."""
        return self.options.get("backend")

    @torch.no_grad()
    def evaluate(self, rows: Rows, running: RunningStats) -> Tensor:
        """Logits (V, N, J) in evaluation mode, with the running statistics of the rows."""
        groups, parts = self.groups(rows.learners), []
        for group in groups:
            part = rows.take(group)
            weights, arch = self.leaves(part, False, False)
            stats = self._statistics(part, running, group)
            parts.append(self.forward(part, weights, arch, training=False, running=stats))
        return merge(groups, parts)

    def hold(self, rows: Rows, grad: bool = True) -> Held:
        """A forward whose backward, in weights and architecture, comes later with a cotangent; without grad, never."""
        share, V = ranks.share(rows.learners), len(rows.learners)
        groups, graphs = [[share[i] for i in g] for g in self.groups([rows.learners[i] for i in share])], []
        for group in groups:
            part = rows.take(group)
            w, a = self.leaves(part, grad, grad)
            logits = self.forward(part, w, a)
            graphs.append((logits, w, a))
        parts = [g[0].detach() for g in graphs]
        if len(share) < V:
            self.forwards += V - len(share)
            order = [i for group in groups for i in group]
            mine = torch.cat([self._nothing(rows, False, False).log_probs, *parts])
            return Held(ranks.spread(order, V, [mine])[0], rows.learners, groups, graphs)
        return Held(merge(groups, parts), rows.learners, groups, graphs)

    def pull(self, held: Held, cotangent: Tensor) -> tuple[Tensor, Arch]:
        """The vector-Jacobian products of a held pass: (V, P), and an Arch of V rows."""
        weights, archs = [], []
        for group, (logits, w, a) in zip(held.groups, held.graphs, strict=True):
            grads = self._backward(logits, [w, *a.tensors()], take(cotangent, group))
            weights.append(grads[0])
            archs.append(like(a, grads[1:]))
            self.backwards += len(group)
        width, V = max(net.num_weights for net in self.nets), len(held.learners)
        order = [i for group in held.groups for i in group]
        if len(order) == V:
            return merge(held.groups, weights, width), merge_arch(held.groups, archs)
        self.backwards += V - len(order)
        archs = archs or [self.arch.rows([])]
        columns = zip(*(a.tensors() for a in archs), strict=True)
        mine = torch.cat([cotangent.new_empty(0, width), *(padded(w, width) for w in weights)])
        found, *arch = ranks.spread(order, V, [mine, *(torch.cat(column) for column in columns)])
        return found, like(self.arch, arch)

    def leaves(self, rows: Rows, weights: bool, arch: bool) -> tuple[Tensor, Arch]:
        """Weights and architectures of virtual learners of one net, as leaves that may want a gradient."""
        net = self.nets[rows.learners[0]]
        w = rows.weights[:, : net.num_weights].detach().requires_grad_(weights)
        return w, self.arch.rows(rows.learners).map(lambda t: t.detach().requires_grad_(arch))

    def forward(self, rows: Rows, weights: Tensor, arch: Arch, **options: Any) -> Tensor:
        """Logits (V, N, J) of virtual learners of one net."""
        options = {**self.options, **options}
        if options.get("skip_dropout") and options.get("training", True) and rows.seeds is None:
            raise ValueError("need seeds for a pass with dropout, or masks come from a generator that no seed decides")
        self.forwards += len(rows.learners)
        net = self.nets[rows.learners[0]]
        return net(weights, arch, rows.images, dropout_seeds=rows.seeds, **options)

    def _backward(self, logits: Tensor, inputs: list[Tensor], cotangent: Tensor, **options: Any) -> list[Tensor]:
        with library({**self.options, **options}.get("precision", "float32"), logits.device):
            return list(torch.autograd.grad(logits, inputs, cotangent, materialize_grads=True))

    def _statistics(self, part: Rows, running: RunningStats, group: list[int]) -> RunningStats:
        """A copy of the statistics of one group, without the padding."""
        S = self.nets[part.learners[0]].num_statistics
        mean, var = take(running.mean, group), take(running.var, group)
        return RunningStats(mean[:, :S].clone(), var[:, :S].clone())

    def _gradients(
        self, rows: Rows, weights: bool, arch: bool, record: bool, running: RunningStats | None, **options: Any
    ) -> Gradients:
        V = len(rows.learners)
        pattern = join(rows.patterns) if rows.patterns else Pattern() if record else None
        w, a = self.leaves(rows, weights, arch)
        logits = self.forward(rows, w, a, running=running, pattern=pattern, **options)
        assert rows.targets is not None
        loss, log_probs, cotangent = cross_entropy(logits.detach(), rows.targets, rows.weight, self.backend)
        inputs = [w] * weights + a.tensors() * arch
        grads = self._backward(logits, inputs, cotangent, **options)
        self.backwards += V
        grad_w = grads.pop(0) if weights else w.new_empty(V, 0)
        grad_a = like(a, grads) if arch else a.map(lambda t: t.new_empty(V, 0))
        patterns = pattern.split() if record and pattern is not None else []
        return Gradients(loss, log_probs, grad_w, grad_a, patterns)


def one_hot(labels: Tensor, classes: int, V: int, dtype: torch.dtype) -> Tensor:
    """Labels (N) or (V, N) -> targets (V, N, J)."""
    targets = F.one_hot(labels, classes).to(dtype)
    return targets if targets.dim() == 3 else targets.expand(V, -1, -1)


def padded(rows: Tensor, width: int) -> Tensor:
    """rows (., P) with zeros at the end of each, (., width)."""
    return F.pad(rows, (0, width - rows.shape[1])) if rows.shape[1] < width else rows


def merge(groups: Sequence[Sequence[int]], parts: Sequence[Tensor], width: int | None = None) -> Tensor:
    """Each group's rows back at their positions; rows (., P) padded with zeros to `width`."""
    if width is not None:
        parts = [padded(p, width) for p in parts]
    if len(parts) == 1:
        return parts[0]
    order = [i for group in groups for i in group]
    return take(torch.cat(list(parts)), sorted(range(len(order)), key=order.__getitem__))


def merge_arch(groups: Sequence[Sequence[int]], parts: Sequence[Arch]) -> Arch:
    columns = zip(*(p.tensors() for p in parts), strict=True)
    return like(parts[0], [merge(groups, column) for column in columns])
