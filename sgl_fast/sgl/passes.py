"""Batched passes over virtual learners: counted, chunked along V, their losses in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..backends.precision import library
from ..nets.supernet import Supernet
from ..ops.pseudo_label import cross_entropy
from ..reference.dropout import drops
from ..reference.layers import RunningStats
from ..reference.pattern import Pattern, join
from ..relaxations.base import Mixing
from ..spaces.arch import Arch, select_rows
from . import ranks
from .virtual_learners import VirtualLearners, merge, merge_arch, padded


@dataclass(frozen=True)
class PassOptions:
    """How a pass runs: arguments of `Supernet.__call__` that are the same for all virtual learners."""

    skip_beta: float | Tensor = 1.0
    skip_dropout: float | Tensor = 0.0
    backend: str | None = None
    precision: str = "float32"


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
class Linearized:
    """A forward pass that keeps its graph for one later `Passes.vjp`: logits (V, N, J), and each group's graph."""

    logits: Tensor
    learners: Sequence[int]
    groups: list[list[int]]
    graphs: list[tuple[Tensor, Tensor, Arch]]


class Passes:
    """Runs passes of K learners, whose supernets may differ in their operations (P-DARTS).

    nets      one for all, or one a learner; weights and statistics of a smaller net are padded with zeros at the end
    chunk     at most so many virtual learners at a time; None for all. The numbers are the same.
    mixing    what makes weights of operations of the K architectures; None: their softmax
    forwards, backwards   passes so far, counted per virtual learner
    """

    def __init__(
        self,
        nets: Supernet | Sequence[Supernet],
        arch: Arch,
        chunk: int | None = None,
        options: PassOptions = PassOptions(),  # noqa: B008  (frozen)
        mixing: Mixing | None = None,
    ) -> None:
        self.nets = [nets] * len(arch) if isinstance(nets, Supernet) else list(nets)
        self.arch, self.chunk, self.options = arch.map(Tensor.detach), chunk, options
        self.mixing = mixing or Mixing()
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
        rows: VirtualLearners,
        weights: bool = False,
        arch: bool = False,
        record: bool = False,
        running: RunningStats | None = None,
        precision: str | None = None,
    ) -> Gradients:
        """One forward and one backward.

        weights, arch   whether their gradients are wanted
        record          keeps the activation patterns; rows.patterns are replayed
        running         statistics (V, S), which the pass updates
        precision       in place of that of the options
        """
        options = replace(self.options, precision=precision or self.options.precision)
        share, V = ranks.local_rows(rows.learners), len(rows)
        if ranks.count() == 1:
            return self._in_groups(rows, weights, arch, record, running, options)
        stats = None
        if running is not None:
            stats = RunningStats(select_rows(running.mean, share), select_rows(running.var, share))
        if share:
            local = self._in_groups(rows.select(share), weights, arch, record, stats, options)
        else:
            local = self._nothing(rows, weights, arch)
        self.forwards += V - len(share)  # of other processes
        self.backwards += V - len(share)
        means = [local.loss, local.weights, *local.arch.tensors()]
        moved = [] if stats is None else [stats.mean, stats.var]
        loss, grads, *rest, log_probs = ranks.all_reduce_rows(share, V, [*means, *moved], [local.log_probs])
        if running is not None:
            running.mean.copy_(rest[-2])
            running.var.copy_(rest[-1])
        patterns = [Pattern()] * V
        for position, pattern in zip(share, local.patterns, strict=False):
            patterns[position] = pattern
        return Gradients(loss, log_probs, grads, local.arch.unflatten(rest), patterns * record)

    @property
    def backend(self) -> str | None:
        """The backend that was asked for by name."""
        return self.options.backend

    @torch.no_grad()
    def evaluate(self, rows: VirtualLearners, running: RunningStats) -> Tensor:
        """Logits (V, N, J) in evaluation mode, with the running statistics of the rows."""
        groups, parts = self.groups(rows.learners), []
        for group in groups:
            part = rows.select(group)
            weights, arch = self.leaves(part, False, False)
            stats = self._statistics(part, running, group)
            parts.append(self.forward(part, weights, arch, self.options, training=False, running=stats))
        return merge(groups, parts)

    def linearize(self, rows: VirtualLearners, grad: bool = True) -> Linearized:
        """A forward whose backward, in weights and architecture, comes later with a cotangent; without grad, never."""
        share, V = ranks.local_rows(rows.learners), len(rows)
        groups, graphs = [[share[i] for i in g] for g in self.groups([rows.learners[i] for i in share])], []
        for group in groups:
            part = rows.select(group)
            w, a = self.leaves(part, grad, grad)
            graphs.append((self.forward(part, w, a, self.options), w, a))
        parts = [logits.detach() for logits, *_ in graphs]
        if ranks.count() == 1:
            return Linearized(merge(groups, parts), rows.learners, groups, graphs)
        self.forwards += V - len(share)
        order = [i for group in groups for i in group]
        local = torch.cat([self._nothing(rows, False, False).log_probs, *parts])
        return Linearized(ranks.all_reduce_rows(order, V, [], [local])[0], rows.learners, groups, graphs)

    def vjp(self, linearized: Linearized, cotangent: Tensor) -> tuple[Tensor, Arch]:
        """The vector-Jacobian products of a linearized pass with (V, N, J): (V, P), and an Arch of V rows."""
        weights, archs = [], []
        for group, (logits, w, a) in zip(linearized.groups, linearized.graphs, strict=True):
            grads = _backward(logits, [w, *a.tensors()], select_rows(cotangent, group), self.options)
            weights.append(grads[0])
            archs.append(a.unflatten(grads[1:]))
            self.backwards += len(group)
        width, V = max(net.num_weights for net in self.nets), len(linearized.learners)
        order = [i for group in linearized.groups for i in group]
        if ranks.count() == 1:
            return merge(linearized.groups, weights, width), merge_arch(linearized.groups, archs)
        self.backwards += V - len(order)
        archs = archs or [self.arch.rows([])]
        columns = zip(*(a.tensors() for a in archs), strict=True)
        local = torch.cat([cotangent.new_empty(0, width), *(padded(w, width) for w in weights)])
        grad_w, *grad_a = ranks.all_reduce_rows(order, V, [local, *(torch.cat(column) for column in columns)])
        return grad_w, self.arch.unflatten(grad_a)

    def leaves(self, rows: VirtualLearners, weights: bool, arch: bool) -> tuple[Tensor, Arch]:
        """Weights and architectures of virtual learners of one net, as leaves that may want a gradient."""
        net = self.nets[rows.learners[0]]
        w = rows.weights[:, : net.num_weights].detach().requires_grad_(weights)
        return w, self.arch.rows(rows.learners).map(lambda t: t.detach().requires_grad_(arch))

    def forward(
        self,
        rows: VirtualLearners,
        weights: Tensor,
        arch: Arch,
        options: PassOptions,
        training: bool = True,
        running: RunningStats | None = None,
        pattern: Pattern | None = None,
    ) -> Tensor:
        """Logits (V, N, J) of virtual learners of one net. ValueError for dropout or noise without seeds."""
        net = self.nets[rows.learners[0]]
        drawn = drops(options.skip_dropout) or self.mixing.relaxation.skip_noise
        if rows.seeds is None and (net.noisy or (training and drawn)):
            raise ValueError("need seeds for a pass with dropout or noise, or no seed decides what is drawn; got None")
        self.forwards += len(rows)
        return net(
            weights,
            arch,
            rows.images,
            training,
            running,
            options.backend,
            options.skip_beta,
            options.skip_dropout,
            pattern=pattern,
            dropout_seeds=rows.seeds,
            precision=options.precision,
            mixing=self.mixing.rows(rows.learners, rows.learns),
        )

    def regularised(self, gradient: Arch) -> tuple[Arch, dict[str, Tensor]]:
        """The gradient of validation losses with that of what the relaxation adds to them, itself (K) by name."""
        leaves = self.arch.map(lambda t: t.detach().requires_grad_())
        value = self.mixing.relaxation.regulariser(leaves, self.mixing.moment)
        if value is None:
            return gradient, {}
        grads = torch.autograd.grad(value.sum(), leaves.tensors(), materialize_grads=True)
        return gradient.plus(leaves.unflatten(grads)), {"regulariser": value.detach()}

    def _nothing(self, rows: VirtualLearners, weights: bool, arch: bool) -> Gradients:
        """Gradients of no virtual learner."""
        N, P = rows.images.shape[-4], rows.weights.shape[1] * weights
        none = rows.weights.new_empty(0, P)
        template = self.arch.rows([])
        grad_a = template if arch else template.map(lambda t: t.new_empty(0, 0))
        return Gradients(none.new_empty(0), none.new_empty(0, N, self.num_classes), none, grad_a)

    def _in_groups(
        self,
        rows: VirtualLearners,
        weights: bool,
        arch: bool,
        record: bool,
        running: RunningStats | None,
        options: PassOptions,
    ) -> Gradients:
        groups = self.groups(rows.learners)
        parts = []
        for group in groups:
            part = rows.select(group)
            stats = None if running is None else self._statistics(part, running, group)
            parts.append(self._gradients(part, weights, arch, record, stats, options))
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

    def _statistics(self, part: VirtualLearners, running: RunningStats, group: list[int]) -> RunningStats:
        """A copy of the statistics of one group, without the padding."""
        S = self.nets[part.learners[0]].num_statistics
        mean, var = select_rows(running.mean, group), select_rows(running.var, group)
        return RunningStats(mean[:, :S].clone(), var[:, :S].clone())

    def _gradients(
        self,
        rows: VirtualLearners,
        weights: bool,
        arch: bool,
        record: bool,
        running: RunningStats | None,
        options: PassOptions,
    ) -> Gradients:
        V = len(rows)
        pattern = join(rows.patterns) if rows.patterns else Pattern() if record else None
        w, a = self.leaves(rows, weights, arch)
        logits = self.forward(rows, w, a, options, running=running, pattern=pattern)
        assert rows.targets is not None
        loss, log_probs, cotangent = cross_entropy(logits.detach(), rows.targets, rows.weight, self.backend)
        grads = _backward(logits, [w] * weights + a.tensors() * arch, cotangent, options)
        self.backwards += V
        grad_w = grads.pop(0) if weights else w.new_empty(V, 0)
        grad_a = a.unflatten(grads) if arch else a.map(lambda t: t.new_empty(V, 0))
        patterns = pattern.split() if record and pattern is not None else []
        return Gradients(loss, log_probs, grad_w, grad_a, patterns)


def _backward(logits: Tensor, inputs: list[Tensor], cotangent: Tensor, options: PassOptions) -> list[Tensor]:
    with library(options.precision, logits.device):
        return list(torch.autograd.grad(logits, inputs, cotangent, materialize_grads=True))
