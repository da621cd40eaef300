"""Small nets and random inputs that the tests of the supernet share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sgl_fast.data.batch import Batch
from sgl_fast.genotype.genotype import Genotype
from sgl_fast.nets.supernet import Supernet
from sgl_fast.relaxations.base import Mixing, Mixture
from sgl_fast.spaces import KINDS, Space, edges_of, space
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


class Zeros(Mixing):
    """The weights of all operations and edges but a genotype's are 0."""

    genotype: Genotype
    betas: dict[str, list[float]]

    def __call__(self, made: Space, arch: Arch) -> Mixture:
        ops, edges = {}, dict[str, Any]()
        for kind in KINDS:
            V, E, O = arch.alphas_normal.shape
            ops[kind], edges[kind] = torch.zeros_like(arch.alphas_normal), arch.alphas_normal.new_zeros(V, E)
            pairs = [(edges_of(i // 2)[s], op) for i, (op, s) in enumerate(getattr(self.genotype, kind))]
            for place, (edge, op) in enumerate(pairs):
                ops[kind][:, edge, made.ops(kind)[edge].index(op)] = 1.0
                both = [self.betas[kind][e] for e, _ in pairs[place - place % 2 : place - place % 2 + 2]]
                powers = torch.tensor([self.betas[kind][edge], *both], dtype=F64).exp()
                edges[kind][:, edge] = powers[0] / powers[1:].sum()
        return ops, edges if made.edge_norm else dict.fromkeys(KINDS)


def whole_with(
    net: Supernet, genotype: Genotype, betas: dict[str, list[float]], weights: Tensor, images: Tensor
) -> Tensor:
    """Logits of a supernet in which all but a genotype has weight 0, by the reference, with batch statistics."""
    mixing = Zeros()
    object.__setattr__(mixing, "genotype", genotype)
    object.__setattr__(mixing, "betas", betas)
    arch = net.init_arch(len(weights), dtype=weights.dtype)
    return net(
        weights,
        arch,
        images,
        mixing=mixing,
        skip_beta=0.0,
        dropout_seeds=range(5, 5 + len(weights)),
        backend="reference",
    )
