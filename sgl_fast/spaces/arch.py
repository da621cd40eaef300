"""The architecture parameters of K learners (or V virtual ones): alphas and, in PC-DARTS, betas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import Space

FIELDS = ("alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce")
SPREAD = 1e-3  # of alphas and betas at the start


def select_rows(tensor: Tensor, index: Sequence[int]) -> Tensor:
    """tensor[index] along its first axis, a view if those are consecutive rows.

    No tensor of positions is made: a copy of it to the device would wait for the device, and no graph can capture one.
    """
    runs: list[list[int]] = []
    for i in index:
        if runs and i == sum(runs[-1]):
            runs[-1][1] += 1
        else:
            runs.append([i, 1])
    parts = [tensor.narrow(0, first, count) for first, count in runs]
    return parts[0] if len(parts) == 1 else torch.cat(parts) if parts else tensor[:0]


@dataclass
class Arch:
    """alphas_normal, alphas_reduce (K, E, O); betas_normal, betas_reduce (K, E), or None where the space has none.

    Raw values, before any softmax. A plain mutable object: every attribute may be assigned.

    >>> arch = Supernet(space("pc_darts", channels=4, nodes=2)).init_arch(3)
    >>> tuple(arch.alphas_normal.shape), tuple(arch.betas_normal.shape)
    ((3, 5, 8), (3, 5))
    >>> len(arch.rows([0, 0, 2])), tuple(arch.flat().shape)
    (3, (3, 90))
    """

    alphas_normal: Tensor
    alphas_reduce: Tensor
    betas_normal: Tensor | None = None
    betas_reduce: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """The tensors that are there, in the order of the fields."""
        return [t for t in (getattr(self, f) for f in FIELDS) if t is not None]

    def map(self, fn: Callable[[Tensor], Tensor]) -> Arch:
        """An Arch of fn(tensor) for each tensor that is there."""
        betas = (None if t is None else fn(t) for t in (self.betas_normal, self.betas_reduce))
        return Arch(fn(self.alphas_normal), fn(self.alphas_reduce), *betas)

    def rows(self, index: Sequence[int]) -> Arch:
        """The learners `index`, repeats allowed, as a new leading axis."""
        return self.map(lambda t: select_rows(t, index))

    def flat(self) -> Tensor:
        """(K, A): all entries of each learner in one row."""
        return torch.cat([t.flatten(1) for t in self.tensors()], dim=1)

    def from_flat(self, flat: Tensor) -> Arch:
        """The inverse of `flat`, with this Arch as the template of shapes."""
        parts = iter(flat.split([t[0].numel() for t in self.tensors()], dim=1))
        return self.map(lambda t: next(parts).reshape(-1, *t.shape[1:]))

    def unflatten(self, tensors: Sequence[Tensor]) -> Arch:
        """An Arch of the tensors, in the order of `tensors`, with this Arch as the template."""
        rest = iter(tensors)
        return self.map(lambda _: next(rest))

    def plus(self, other: Arch) -> Arch:
        """The sum with `other`, entry by entry."""
        rest = iter(other.tensors())
        return self.map(lambda t: t + next(rest))

    def scaled(self, factor: float | Tensor) -> Arch:
        """factor times every entry."""
        return self.map(lambda t: factor * t)

    def __len__(self) -> int:
        return self.alphas_normal.shape[0]


def init_arch(
    space: Space, learners: int, generator: torch.Generator | None = None, dtype: torch.dtype | None = None
) -> Arch:
    """1e-3 * randn for every alpha and beta; each learner its own draw."""

    def draw(*shape: int) -> Tensor:
        device = None if generator is None else generator.device
        kind = dtype or torch.float32
        return SPREAD * torch.randn(learners, *shape, generator=generator, dtype=kind, device=device)

    return Arch(*(draw(*shape) for shape in arch_shapes(space).values()))


def arch_shapes(space: Space) -> dict[str, tuple[int, ...]]:
    """Of one learner's tensors, by their names in `Arch`: (E, O) of alphas, (E,) of betas, where the space has them."""
    E, O = space.edges, space.ops_per_edge
    return {name: (E, O) if name in FIELDS[:2] else (E,) for name in FIELDS[: 4 if space.edge_norm else 2]}
