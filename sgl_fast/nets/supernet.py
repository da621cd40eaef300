"""The supernet as a function: logits = net(weights, arch, images) over V virtual learners with flat weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..backends.choice import choose
from ..backends.precision import library
from ..ops.convolution import convolution, linear
from ..ops.mixed_cell import mixed_cell
from ..reference.cell import Entry
from ..reference.dropout import drops
from ..reference.layers import LayerCursor, PassContext, RunningStats, fold, unfold
from ..reference.pattern import Pattern
from ..relaxations.base import Mixing, Mixture
from ..spaces import Space
from ..spaces.arch import Arch, arch_shapes, init_arch
from .layout import build

__all__ = ["RunningStats", "Supernet"]


class Supernet:
    """The supernet of a search space. It holds no state: weights, architecture and statistics are arguments.

    num_weights   P, weights of one learner
    layout        P's tensors: entries with .name, .shape, .offset, contiguous and in canonical order

    space         what `sgl_fast.space` gives

    >>> net = Supernet(space("pc_darts", channels=4, layers=3, nodes=2))
    >>> weights, arch = net.init_weights(3), net.init_arch(3)  # three virtual learners
    >>> net(weights, arch, torch.rand(2, 3, 8, 8)).shape
    torch.Size([3, 2, 10])
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.sections = build(space)
        self.layout: tuple[Entry, ...] = self.sections.entries
        self.num_weights = sum(e.size for e in self.layout)
        self.num_statistics = sum(s.num_statistics for s in self.sections.sections)
        self.noisy = any(cell.noisy for cell, _ in self.sections.cells)

    def init_weights(
        self, V: int, generator: torch.Generator | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """(V, P), PyTorch's default initialisation layer by layer; float32 unless a dtype is given.

        generator   None: torch's own
        """
        device = None if generator is None else generator.device
        weights = torch.empty(V, self.num_weights, dtype=dtype or torch.float32, device=device)
        fan_in = 1
        for entry in self.layout:
            part = weights.narrow(1, entry.offset, entry.size)
            if len(entry.shape) > 1:
                fan_in = math.prod(entry.shape[1:])
            if len(entry.shape) == 1 and entry.name != "classifier.bias":
                part.fill_(1.0 if entry.name.endswith(".weight") else 0.0)
            else:
                part.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
        return weights

    def init_arch(self, K: int, generator: torch.Generator | None = None, dtype: torch.dtype | None = None) -> Arch:
        """1e-3 * randn from the generator; each of K learners its own draw; float32 unless a dtype is given."""
        return init_arch(self.space, K, generator, dtype)

    def init_running(
        self, V: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> RunningStats:
        """Mean 0 and variance 1 of every batch norm of V learners. None of dtype and device: float32, on the CPU."""
        mean = torch.zeros(V, self.num_statistics, dtype=dtype or torch.float32, device=device)
        return RunningStats(mean, torch.ones_like(mean))

    def __call__(
        self,
        weights: Tensor,
        arch: Arch,
        images: Tensor,
        training: bool = True,
        running: RunningStats | None = None,
        backend: str | None = None,
        skip_beta: float | Tensor = 1.0,
        skip_dropout: float | Tensor = 0.0,
        generator: torch.Generator | None = None,
        pattern: Pattern | None = None,
        dropout_seeds: Sequence[int] | Tensor | None = None,
        precision: str = "float32",
        mixing: Mixing | None = None,
    ) -> Tensor:
        """Logits (V, N, J), differentiable in weights, arch and images.

        weights (V, P); arch with leading axis V; images (V, N, 3, H, W), or (N, 3, H, W) shared by all
        training     batch statistics per virtual learner, which update `running` if that is given; False reads it
        skip_beta    DARTS-: coefficient of the auxiliary skips; it and skip_dropout may be tensors of no dimension on
                     the device, of the weights' dtype and of float64, which a CUDA graph reads anew
        skip_dropout P-DARTS: dropout probability of the stride-1 skips, masks drawn from `generator`, or given by
                     `dropout_seeds`, one a virtual learner, int64 where they are a tensor; so is noise, always
        pattern      a new Pattern is recorded, a recorded one replayed
        precision    float16 (backends cuda, triton), bfloat16 (triton): cells keep that for their backward, half the
                     memory and most of the traffic; tf32 (triton): products by one of tf32 in place of three; not
                     for passes of a plain finite difference
        mixing       how alphas become weights of operations, `Relaxation.at`; None: by softmax
        backend      None: the one that is chosen (`use_backend`, SGL_FAST_BACKEND), else the best for these tensors
        ValueError where a shape or dtype does not fit, or where training=False comes without `running`.
        """
        backend = choose(backend, weights.device, weights.dtype)
        self._check(weights, arch, images, training, running)
        V = weights.shape[0]
        mixing = mixing or Mixing()
        noise = mixing.relaxation.skip_noise if training else 0.0
        dropped = drops(skip_dropout) or noise > 0
        if not isinstance(skip_dropout, Tensor) and not 0 <= skip_dropout < 1:
            raise ValueError(f"need skip_dropout of at least 0 and below 1; got {skip_dropout}")
        if dropout_seeds is None and (self.noisy or (dropped and training)):
            dropout_seeds = draw_seeds(V, generator)
        if dropout_seeds is not None and len(dropout_seeds) != V:
            raise ValueError(f"need {V} dropout_seeds, one a virtual learner; got {len(dropout_seeds)}")
        if dropout_seeds is not None:  # a tensor that is there already goes on as it is, without a copy
            dropout_seeds = torch.as_tensor(dropout_seeds, dtype=torch.int64, device=weights.device)
        context = PassContext(training, running, pattern, skip_dropout, dropout_seeds, precision, noise)
        if pattern is not None:
            pattern.start()
        with library(precision, weights.device):
            logits = self._forward(weights, mixing(self.space, arch), images, context, skip_beta, backend)
        if pattern is not None:
            pattern.finish()
        return logits

    def _forward(
        self,
        weights: Tensor,
        mixture: Mixture,
        images: Tensor,
        context: PassContext,
        skip_beta: float | Tensor,
        backend: str,
    ) -> Tensor:
        net, V = self.sections, weights.shape[0]
        stem, *cells, classifier = weights.split([s.num_weights for s in net.sections], dim=1)
        x = fold(images) if images.dim() == 5 else images
        s0, s1 = (unfold(s, V) for s in self._stem(LayerCursor(net.stem, stem, context), x, backend))
        op_weights, edge_weights = mixture
        for (cell, section), w in zip(net.cells, cells, strict=True):
            coefficients = op_weights[cell.kind], edge_weights[cell.kind]
            s0, s1 = s1, mixed_cell(cell, section, s0, s1, w, *coefficients, context, skip_beta, backend)
        cursor = LayerCursor(net.classifier, classifier, context)
        weight, bias = cursor.weight(), cursor.weight()
        return linear(s1.mean((3, 4)), weight, bias, backend)

    def _stem(self, cursor: LayerCursor, x: Tensor, backend: str) -> tuple[Tensor, Tensor]:
        if not self.space.imagenet:
            s = conv_norm(cursor, x, 1, backend)
            return s, s
        s0 = conv_norm(cursor, cursor.relu(conv_norm(cursor, x, 2, backend)), 2, backend)
        return s0, conv_norm(cursor, cursor.relu(s0), 2, backend)

    def _check(self, weights: Tensor, arch: Arch, images: Tensor, training: bool, running: RunningStats | None) -> None:
        if weights.dim() != 2:
            raise ValueError(f"need weights (V, {self.num_weights}); got {tuple(weights.shape)}")
        V, S = weights.shape[0], self.num_statistics
        need(weights, "weights", (V, self.num_weights), weights)
        for name, shape in arch_shapes(self.space).items():
            need(getattr(arch, name), name, (V, *shape), weights)
        if images.dim() not in (4, 5) or images.shape[-3] != 3 or (images.dim() == 5 and images.shape[0] != V):
            raise ValueError(f"need images ({V}, N, 3, H, W) or (N, 3, H, W); got {tuple(images.shape)}")
        need(images, "images", images.shape, weights)
        self.space.check_images(*images.shape[-2:])
        if not training and running is None:
            raise ValueError("need running statistics where training is False; got None")
        if running is not None:
            need(running.mean, "running mean", (V, S), weights)
            need(running.var, "running variance", (V, S), weights)


def conv_norm(cursor: LayerCursor, x: Tensor, stride: int, backend: str) -> Tensor:
    """An x of as many channels as ONE virtual learner takes is an input shared by all of them."""
    weight = cursor.weight()
    groups = x.shape[1] // weight.shape[2]
    return cursor.norm(convolution(x, weight.flatten(0, 1), stride, groups, backend), affine=True)


def need(tensor: Tensor | None, name: str, shape: Sequence[int], weights: Tensor) -> None:
    """ValueError unless the tensor is there, of that shape and of the weights' dtype."""
    if tensor is None or tensor.shape != torch.Size(shape):
        raise ValueError(f"need {name} {tuple(shape)}; got {None if tensor is None else tuple(tensor.shape)}")
    if tensor.dtype != weights.dtype:
        raise ValueError(f"need {name} of the weights' dtype {weights.dtype}; got {tensor.dtype}")


def draw_seeds(V: int, generator: torch.Generator | None) -> Tensor:
    """One dropout seed a virtual learner."""
    device = "cpu" if generator is None else generator.device
    return torch.randint(2**62, (V,), generator=generator, device=device)
