"""How much an architecture prefers a genotype, and whether preferences rank as accuracies do. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from ..spaces import KINDS, Space, edges_of
from .derivation import NONE
from .genotype import Genotype

_LEAST = 1e-30  # of a probability, whose logarithm is taken


def alpha_score(space: Space, genotype: Genotype, record: Mapping[str, Any], learner: int = 0) -> float:
    """Sum over the genotype's pairs of log p(op), less its mean over the operations of the edge but none: of a softmax
    that is alpha less its mean. Where the space has betas, log of the edge's share, less its mean over the node's
    edges, too.

    record   alphas_normal, alphas_reduce (K, E, O): probabilities of operations; betas_normal, betas_reduce (K, E):
             shares of the edges; as epochs' records of a search have them
    """
    total = 0.0
    for kind in KINDS:
        rows, ops = record[f"alphas_{kind}"][learner], space.ops(kind)
        shares = [_log(share) for share in record[f"betas_{kind}"][learner]] if space.edge_norm else None
        for place, (op, source) in enumerate(getattr(genotype, kind)):
            node_edges = edges_of(place // 2)
            edge = node_edges[source]
            logs = {name: _log(p) for name, p in zip(ops[edge], rows[edge], strict=True) if name != NONE}
            total += logs[op] - mean(logs.values())
            if shares is not None:
                total += shares[edge] - mean(shares[one] for one in node_edges)
    return total


def spearman(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Rank correlation, ties with the mean of their ranks; None of fewer than three, or where all of one are equal.

    >>> spearman([1, 2, 3, 4], [1, 8, 27, 64]), spearman([1, 2, 3], [5, 5, 5])
    (1.0, None)
    """
    a, b = ranks_of(xs), ranks_of(ys)
    middle = (len(a) + 1) / 2
    squares = [sum((rank - middle) ** 2 for rank in ranks) for ranks in (a, b)]
    if len(a) < 3 or not all(squares):
        return None
    return sum((x - middle) * (y - middle) for x, y in zip(a, b, strict=True)) / math.sqrt(squares[0] * squares[1])


def ranks_of(values: Sequence[float]) -> list[float]:
    """From 1 on; equal values share the mean of their ranks."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    begin = 0
    while begin < len(order):
        end = begin
        while end < len(order) and values[order[end]] == values[order[begin]]:
            end += 1
        for place in order[begin:end]:
            ranks[place] = (begin + 1 + end) / 2
        begin = end
    return ranks


def _log(p: float) -> float:
    return math.log(max(p, _LEAST))
