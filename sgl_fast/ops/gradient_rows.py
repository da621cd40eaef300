"""What of a cell's program only its backward reads."""

from __future__ import annotations

from typing import NamedTuple

from .rows import Channel, Edge, Term


class NodeNorms(NamedTuple):
    """Channels of the norms on a node's in-edges, with those of hidden activations between; and those of bare pools."""

    first: int
    channels: int
    first_bare: int
    bare: int


class GradientRows:
    """The part of a Program that makes it, once all else is there."""

    M: int
    C: int
    norms: int
    measured: int
    edges: list[Edge]
    terms: list[Term]

    def _node_norms(self, node: int) -> NodeNorms:
        edges = [edge for edge in self.edges if edge.node == node]
        terms = [term for edge in edges for term in self.terms[edge.first_term : edge.first_term + edge.terms]]
        norms = [self._norm_range(term) for term in terms]
        measured, bare = ([pair for pair in norms if (pair[0] < self.measured) == own] for own in (True, False))
        return NodeNorms(*_range(measured), *_range(bare))

    def _norm_range(self, term: Term) -> tuple[int, int]:
        return term.norm, term.norm + (self.M if term.op >= 0 else self.C)

    def _channels(self) -> list[Channel]:
        added = {channel for term in self.terms for channel in range(*self._norm_range(term))}
        return [Channel(int(channel in added)) for channel in range(self.norms)]


def _range(norms: list[tuple[int, int]]) -> tuple[int, int]:
    """First channel and number of channels."""
    first = min((first for first, _ in norms), default=0)
    return first, max((end for _, end in norms), default=first) - first
