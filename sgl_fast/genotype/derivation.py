"""The published rules that choose two edges a node, and an op for each, from the probabilities of one cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..spaces import Space, edges_of

if TYPE_CHECKING:
    from ..spaces.arch import Arch

NONE, SKIP = "none", "skip_connect"

EdgeScores = list[dict[str, float]]  # for each edge, op -> probability in canonical order, without none
Pairs = list[tuple[str, int]]  # (op, source)
Choose = Callable[[EdgeScores], Pairs]  # of the edges of one node


def choose_cell(scores: EdgeScores, nodes: int, choose: Choose) -> Pairs:
    """The (op, source) pairs of the nodes, in order."""
    return [pair for node in range(nodes) for pair in choose([scores[edge] for edge in edges_of(node)])]


def choose_darts(scores: EdgeScores) -> Pairs:
    """Two edges of one node, strongest first; Python's max and sort keep the first of equals."""
    ranked = sorted(range(len(scores)), key=lambda source: -max(scores[source].values()))
    return [(max(scores[source], key=scores[source].__getitem__), source) for source in ranked[:2]]


def choose_p_darts(scores: EdgeScores) -> Pairs:
    """Two edges of one node in the order of their sources; the last of equals wins."""
    ranked = sorted(range(len(scores)), key=lambda source: max(scores[source].values()))
    return [(max(reversed(scores[source]), key=scores[source].__getitem__), source) for source in sorted(ranked[-2:])]


DERIVATIONS: dict[str, Choose] = {"darts": choose_darts, "p_darts": choose_p_darts}


def edge_scores(
    space: Space, arch: Arch, learner: int, kind: str, probable: Callable[[Any], Any] | None = None
) -> EdgeScores:
    """Probability of every op but none, times the edge's share of its node where the space has betas.

    probable   alphas -> probabilities; None: their softmax
    """
    if probable is None:
        rows = probabilities(arch, learner, kind)
    else:
        rows = values(probable(getattr(arch, f"alphas_{kind}").double()), learner, f"alphas_{kind}")
    shares = edge_shares(space, arch, learner, kind) if space.edge_norm else [1.0] * space.edges
    scores = []
    for edge, (ops, row, share) in enumerate(zip(space.ops(kind), rows, shares, strict=True)):
        score = {op: p * share for op, p in zip(ops, row, strict=True) if op != NONE}
        if not score:
            raise ValueError(f"edge {edge} of the {kind} cell has no op but none; nothing can be derived")
        scores.append(score)
    return scores


def probabilities(arch: Arch, learner: int, kind: str) -> list[list[float]]:
    """(E, O) softmax of one learner's alphas, float64."""
    return [softmax(row) for row in values(getattr(arch, f"alphas_{kind}"), learner, f"alphas_{kind}")]


def edge_shares(space: Space, arch: Arch, learner: int, kind: str) -> list[float]:
    """(E,) softmax of one learner's betas within the edges of each node."""
    betas = values(getattr(arch, f"betas_{kind}"), learner, f"betas_{kind}")
    return [share for node in range(space.nodes) for share in softmax([betas[edge] for edge in edges_of(node)])]


def values(tensor: Any, learner: int, name: str) -> list[Any]:
    """The learner's row as Python floats."""
    if tensor is None:
        raise ValueError(f"the space has betas but the Arch has no {name}")
    if not 0 <= learner < len(tensor):
        raise ValueError(f"need learner 0 to {len(tensor) - 1}; got {learner}")
    row = tensor[learner].detach().double()
    if not row.isfinite().all():
        raise ValueError(f"{name} of learner {learner} holds NaN or infinite values; nothing can be derived")
    numbers: list[Any] = row.tolist()
    return numbers


def softmax(row: Iterable[float]) -> list[float]:
    """Correctly rounded sums, so that equal values get equal probabilities whatever their order."""
    row = list(row)
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    total = math.fsum(powers)
    return [power / total for power in powers]
