"""Small nets and random inputs that the tests of the supernet share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sgl_fast.data.batch import Batch
from sgl_fast.nets.supernet import Supernet
from sgl_fast.spaces import KINDS, space
from sgl_fast.spaces.arch import FIELDS, Arch

F64 = torch.float64


def both(ops: Any) -> dict[str, Any]:
    """The same ops in both kinds of cell."""
    return dict.fromkeys(KINDS, ops)


def small(name: str, **sizes: Any) -> Supernet:
    return Supernet(space(name, **{"channels": 4, "layers": 3, "nodes": 2, "num_classes": 5, **sizes}))


def space_of(kind: str) -> str:
    """The space that the name of a case begins with."""
    return next(name for name in ("darts_minus", "pc_darts", "p_darts", "darts") if kind.startswith(name))


def batch(step: int, N: int = 4, side: int = 8) -> Batch:
    """Of five classes, another one each step."""
    draw = torch.Generator().manual_seed(100 + step)
    x = [torch.randn(N, 3, side, side, generator=draw) for _ in range(3)]
    y = [torch.randint(5, (N,), generator=draw) for _ in range(2)]
    return Batch(x[0], y[0], x[1], x[2], y[1])


def draws(net: Supernet, V: int, seed: int = 0, N: int = 3) -> tuple[Tensor, Arch, Tensor]:
    """Weights, architecture (far from uniform) and images of V different virtual learners, float64."""
    generator = torch.Generator().manual_seed(seed)
    weights = net.init_weights(V, generator, F64)
    weights += 0.05 * torch.randn(weights.shape, generator=generator, dtype=F64)  # batch norms differ, too
    arch = net.init_arch(V, generator, F64).map(lambda t: 500 * t)
    side = 64 if net.space.imagenet else 8
    return weights, arch, torch.randn(V, N, 3, side, side, generator=generator, dtype=F64)


def gradients(net: Supernet, weights: Tensor, arch: Arch, images: Tensor, **how: Any) -> list[Tensor]:
    """Logits, and the gradients of a loss in the weights and the architecture."""
    leaves = [weights.clone().requires_grad_(), *(t.clone().requires_grad_() for t in arch.tensors())]
    named = dict(zip([f for f in FIELDS if getattr(arch, f) is not None], leaves[1:], strict=True))
    logits = net(leaves[0], Arch(**named), images, **how)
    return [logits.detach(), *torch.autograd.grad(logits.square().mean(), leaves)]
