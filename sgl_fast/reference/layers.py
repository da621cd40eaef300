"""A cursor through a section of the network: each layer takes its weights, statistics and kinks in canonical order.

Activations are "folded", (N, V*C, H, W): the virtual learners ride in the channel axis, so that one library call serves
all of them and batch statistics come out per virtual learner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from . import dropout
from .cell import Section
from .dropout import Rate, drops
from .noise import noise
from .pattern import Pattern

EPS = 1e-5
MOMENTUM = 0.1


@dataclass
class RunningStats:
    """Running mean and unbiased variance `var` of every batch norm: (V, S) each, in the order of `layout.Norm.offset`.

    A training pass replaces both by 0.9 times what they were and 0.1 times what the batch has.

    >>> net = Supernet(space("darts", channels=4, layers=3, nodes=2))
    >>> weights, arch, running = net.init_weights(2), net.init_arch(2), net.init_running(2)
    >>> images = torch.rand(4, 3, 8, 8)
    >>> _ = net(weights, arch, images, running=running)
    >>> net(weights, arch, images, training=False, running=running).shape
    torch.Size([2, 4, 10])
    """

    mean: Tensor
    var: Tensor


@dataclass
class PassContext:
    """How a pass runs: what it normalises with, and where it records or replays kinks and draws dropout.

    Dropout masks and noise are a function of a virtual learner's seed, of dropout_seeds (V) int64, and of their number
    in the pass alone, so they repeat in every pass that has the seed, however the V axis is chunked.
    """

    training: bool = True
    running: RunningStats | None = None
    pattern: Pattern | None = None
    dropout: float | Tensor = 0.0  # a rate; float64 of no dimension where it is on the device
    dropout_seeds: Tensor | None = None
    precision: str = "float32"  # of what a cell keeps for its backward, or of its products; see `precision`
    skip_noise: float = 0.0  # standard deviation of the noise on a skip's output, over that of the output
    _masks: int = 0  # drawn so far
    _noises: int = 0

    @property
    def drops(self) -> bool:
        """Whether skips of stride 1 drop anything."""
        return self.training and drops(self.dropout)

    @cached_property
    def rate(self) -> Rate:
        return Rate.of(self.dropout, self._seeds().device)

    def next_masks(self, count: int) -> tuple[Tensor, int]:
        """The seeds (V) of the next `count` skips' masks, and the number of the first one."""
        first, self._masks = self._masks, self._masks + count
        return self._seeds(), first

    def dropout_masks(self, count: int, size: Sequence[int]) -> Tensor:
        """What the next `count` skips keep, (count, V, N, C, H, W) bool; size (N, C, H, W)."""
        seeds, first = self.next_masks(count)
        return dropout.dropout_masks(seeds, count, first, size, self.rate.threshold)

    def noise(self, size: Sequence[int]) -> Tensor:
        """The next noise, (V, N, C, H, W) float32; size (N, C, H, W)."""
        self._noises += 1
        return noise(self._seeds(), self._noises - 1, size)

    def _seeds(self) -> Tensor:
        if self.dropout_seeds is None:
            raise ValueError("need dropout_seeds where there is dropout or noise; got None")
        return self.dropout_seeds


def fold(x: Tensor) -> Tensor:
    """(V, N, C, H, W) -> (N, V*C, H, W); free for what `unfold` made."""
    return x.transpose(0, 1).flatten(1, 2)


def unfold(x: Tensor, V: int) -> Tensor:
    """(N, V*C, H, W) -> (V, N, C, H, W), a view."""
    apart: Tensor = x.unflatten(1, (V, -1))
    return apart.transpose(0, 1)


class LayerCursor:
    """Weights (V, section.num_weights), consumed layer by layer; every method maps folded to folded activations."""

    def __init__(self, section: Section, weights: Tensor, context: PassContext) -> None:
        self.V = weights.shape[0]
        self.context = context
        parts = weights.split([e.size for e in section.entries], dim=1)
        tensors: list[Tensor] = [p.unflatten(1, e.shape) for p, e in zip(parts, section.entries, strict=True)]
        self._weights = iter(tensors)
        self._norms = iter(section.norms)

    def weight(self) -> Tensor:
        """The next weight tensor, (V, *shape)."""
        return next(self._weights)

    def conv(self, x: Tensor, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
        """1x1, or depthwise."""
        weight = self.weight()
        if weight.shape[-1] == 1:
            # 1x1: one batched matrix product, about 3 times faster on a CPU than a convolution of V groups
            x = unfold(x[:, :, ::stride, ::stride], self.V).transpose(0, 1)
            product: Tensor = (weight.flatten(2) @ x.flatten(3)).unflatten(3, x.shape[3:])
            return product.flatten(1, 2)
        return F.conv2d(x, weight.flatten(0, 1), None, stride, padding, dilation, x.shape[1])

    def norm(self, x: Tensor, affine: bool = False) -> Tensor:
        weight, bias = (self.weight().flatten(), self.weight().flatten()) if affine else (None, None)
        norm = next(self._norms)
        if self.context.running is None:
            return F.batch_norm(x, None, None, weight, bias, training=True, momentum=MOMENTUM, eps=EPS)
        stats = [t.narrow(1, norm.offset, norm.channels) for t in (self.context.running.mean, self.context.running.var)]
        mean, var = (t.clone().flatten() for t in stats)
        out = F.batch_norm(x, mean, var, weight, bias, self.context.training, MOMENTUM, EPS)
        if self.context.training:
            for kept, new in zip(stats, (mean, var), strict=True):
                kept.copy_(new.view_as(kept))
        return out

    def relu(self, x: Tensor) -> Tensor:
        pattern = self.context.pattern
        if pattern is None:
            return torch.relu(x)
        if pattern.recorded:
            return x.masked_fill(fold(pattern.replay(unfold(x, self.V).shape, torch.bool)), 0)
        pattern.record(unfold(x <= 0, self.V))
        return torch.relu(x)

    def max_pool(self, x: Tensor, side: int, stride: int, padding: int = 0) -> Tensor:
        pattern = self.context.pattern
        if pattern is None:
            return F.max_pool2d(x, side, stride, padding)
        if pattern.recorded:
            sides = [(n + 2 * padding - side) // stride + 1 for n in x.shape[2:]]
            chosen = fold(pattern.replay((*unfold(x, self.V).shape[:3], *sides), torch.int32)).long()
            return x.flatten(2).gather(2, chosen.flatten(2)).view_as(chosen)
        out, chosen = F.max_pool2d(x, side, stride, padding, return_indices=True)
        pattern.record(unfold(chosen.int(), self.V))
        return out

    def dropout(self, x: Tensor) -> Tensor:
        if not self.context.drops:
            return x
        y = unfold(x, self.V)
        return fold(y * self.context.dropout_masks(1, y.shape[1:])[0] / self.context.rate.kept)

    def noised(self, x: Tensor) -> Tensor:
        """A skip's output, and noise of that many times its standard deviation in each virtual learner (NoisyDARTS)."""
        if not self.context.skip_noise:
            return x
        y = unfold(x, self.V)
        noise = self.context.noise(y.shape[1:]).to(x.dtype)
        return fold(y + self.context.skip_noise * y.flatten(1).std(1).view(-1, 1, 1, 1, 1) * noise)

    def noise(self, x: Tensor, stride: int) -> Tensor:
        """Standard normal numbers of the size that an operation on x has."""
        return fold(self.context.noise(unfold(x[:, :, ::stride, ::stride], self.V).shape[1:]).to(x.dtype))
