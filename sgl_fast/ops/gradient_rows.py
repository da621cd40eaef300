"""Rows of a cell's program that only its backward reads: what receives gradients, and the norms that they pass."""

from __future__ import annotations

from .rows import Conv, Edge, NormGrad, Target, Term
from .stages import Source


class GradientRows:
    """The part of a Program that makes them, once all others are there."""

    M: int
    C: int
    H: int
    W: int
    partial: int
    preprocess: int
    out_pixels: int
    inputs: range
    convs: list[Conv]
    edges: list[Edge]
    terms: list[Term]
    targets: list[Target]
    norm_grads: list[NormGrad]
    sources: list[Source]

    def _state_targets(self) -> int:
        """Of each state, in order; returns the number of the first one."""
        first = len(self.targets)
        for source in self.sources[:-1]:
            own = [i for i, conv in enumerate(self.convs) if source.convs and conv.relu_mask == source.mask]
            where = source.reads, source.offset, self.M, source.mask, source.height, source.width
            self.targets.append(Target(*where, own[0] if own else 0, len(own)))
        return first

    def _input_targets(self) -> int:
        """Of each input that is preprocessed; returns the number of the first one."""
        first = len(self.targets)
        for which in range(2 * self.preprocess):
            own = [i for i in self.inputs if self.convs[i].reads == which]
            conv = self.convs[own[0]]
            where = which, 0, conv.ins, conv.relu_mask, conv.height, conv.width
            self.targets.append(Target(*where, own[0], len(own)))
        return first

    def _input_grads(self) -> range:
        """The norms of the preprocessing."""
        first, pixels = len(self.norm_grads), self.H * self.W
        for source in self.sources[: 2 * self.preprocess]:
            self.norm_grads.append(NormGrad(source.offset, pixels, source.offset, source.norm_in, self.C))
        return range(first, len(self.norm_grads))

    def _node_grads(self, node: int) -> range:
        """The norms of the operations on a node's in-edges."""
        first, step = len(self.norm_grads), self.partial * self.out_pixels
        grad = node * self.C * self.out_pixels
        for edge in (edge for edge in self.edges if edge.node == node):
            for term in self.terms[edge.first_term : edge.first_term + edge.terms]:
                self.norm_grads.append(NormGrad(grad, step, term.z, term.norm, self.M))
        return range(first, len(self.norm_grads))
