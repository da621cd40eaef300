"""The network that a genotype leaves of a supernet: one operation on its edges, nothing on the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..genotype.genotype import Genotype
from ..spaces import KINDS, EdgeOps, Space, edges_of
from ..spaces.arch import Arch
from .supernet import Supernet


class Discrete:
    """A supernet whose edges have one operation each: the genotype's, and none where it has no edge.

    net    the supernet of that space, on the backends as any other; its layers are those of the space it comes from,
           by name, with batch norms that have no weights and one after each pool
    ValueError where the genotype has other nodes or operations than the space, or a node takes a source twice.

    >>> made = space("darts", channels=4, layers=3, nodes=2)
    >>> whole, part = Supernet(made), Discrete(made, random_genotype(space=made))
    >>> weights = part.select(whole, whole.init_weights(2))
    >>> part(weights, torch.rand(5, 3, 8, 8)).shape
    torch.Size([2, 5, 10])
    """

    def __init__(self, space: Space, genotype: Genotype) -> None:
        if node := source_twice(genotype):
            raise ValueError(f"{node} takes a source twice")
        self.kept = {kind: kept_edges(space, genotype, kind) for kind in KINDS}
        normal, reduce = (_single(space, self.kept[kind]) for kind in KINDS)
        self.net = Supernet(replace(space, ops_normal=normal, ops_reduce=reduce))

    def select(self, whole: Supernet, weights: Tensor) -> Tensor:
        """The weights of these layers, (V, P'), of those of the space's supernet, (V, P)."""
        by_name = {entry.name: entry for entry in whole.layout}
        parts = [by_name[entry.name] for entry in self.net.layout]
        return torch.cat([weights.narrow(1, entry.offset, entry.size) for entry in parts], dim=1)

    def arch(self, like: Tensor, betas: Mapping[str, Sequence[float]] | None = None) -> Arch:
        """What gives each operation the weight 1, for V rows of the dtype and device of like (V, ...).

        betas   (E,) of each kind of cell, whose softmax over the kept edges of a node these share; None: equal shares
        """
        space, V = self.net.space, len(like)
        alphas, shares = like.new_zeros(V, space.edges, 1), []
        for kind in KINDS if space.edge_norm else ():
            row = [0.0] * space.edges if betas is None else betas[kind]
            kept = [b if edge in self.kept[kind] else -torch.inf for edge, b in enumerate(row)]
            shares.append(like.new_tensor(kept).expand(V, -1))
        return Arch(alphas, alphas, *shares)

    def __call__(
        self,
        weights: Tensor,
        images: Tensor,
        arch: Arch | None = None,
        seeds: Tensor | None = None,
        backend: str | None = None,
    ) -> Tensor:
        """Logits (V, N, J) with the statistics of the batch: those that a supernet keeps are of all its operations.

        weights (V, P'); images (N, 3, H, W) or (V, N, 3, H, W); seeds of noise, (V) int64; backend as of the supernet
        """
        arch = self.arch(weights) if arch is None else arch
        return self.net(weights, arch, images, skip_beta=0.0, dropout_seeds=seeds, backend=backend)


def source_twice(genotype: Genotype) -> str:
    """The first node that takes a source twice, which a supernet of one operation an edge cannot; empty: none does."""
    for kind in KINDS:
        sources = [source for _, source in getattr(genotype, kind)]
        for place in range(0, len(sources), 2):
            if sources[place] == sources[place + 1]:
                return f"node {place // 2} of the {kind} cell"
    return ""


def kept_edges(space: Space, genotype: Genotype, kind: str) -> dict[int, str]:
    """Operations by edge. ValueError where the space has not such nodes or operations."""
    pairs = getattr(genotype, kind)
    if len(pairs) != 2 * space.nodes:
        raise ValueError(f"need a genotype of {space.nodes} nodes; got {len(pairs) // 2} in the {kind} cell")
    kept = {edges_of(place // 2)[source]: op for place, (op, source) in enumerate(pairs)}
    for edge, op in kept.items():
        if op not in space.ops(kind)[edge]:
            raise ValueError(
                f"edge {edge} of the {kind} cell has no op {op}; it has {', '.join(space.ops(kind)[edge])}"
            )
    return kept


def _single(space: Space, kept: dict[int, str]) -> EdgeOps:
    return tuple((kept.get(edge, "none"),) for edge in range(space.edges))
