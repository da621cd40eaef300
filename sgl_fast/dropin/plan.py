"""A matched cell as the fused operation takes it: its layout, and which module gives which piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..reference.cell import Cell, Section, section_of
from ..spaces import CODES, is_pool
from .candidates import Candidate
from .edges import Edge
from .matching import Match

Choice = tuple[tuple[int, ...], ...]  # of each edge, in the model's order, the operations that are computed
KNOWN = 64  # plans of choices that are kept


@dataclass
class Plan:
    """convs, norms   in canonical order, that of section.entries and section.norms
    feeds          of each batch norm, the convolutions before it
    widths         candidates of each edge, in the model's order
    columns        where the model's op weights, flat over edges, lie in (E, O); None where they already lie so
    order          of each edge, node by node, its place in the model
    preprocess     the model's own two, where the fused ones cannot stand for them; else empty
    skips          the dropouts of the stride-1 skips, None for a skip without
    match          arranged
    kept           nodes whose states the cell returns, the last ones
    """

    cell: Cell
    section: Section
    convs: list[nn.Conv2d]
    norms: list[nn.BatchNorm2d]
    feeds: list[list[nn.Conv2d]]
    widths: list[int]
    columns: Tensor | None
    order: list[int]
    preprocess: list[nn.Module]
    skips: list[nn.Dropout | None]
    match: Match
    kept: int
    known: dict[Choice, Plan] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """A copy makes its plans of choices for itself."""
        return {**self.__dict__, "known": {}}

    def sampled(self, choice: Choice) -> Plan:
        """The plan of a call that computes only these operations."""
        if all(len(ops) == width for ops, width in zip(choice, self.widths, strict=True)):
            return self
        if choice not in self.known:
            if len(self.known) >= KNOWN:
                del self.known[next(iter(self.known))]
            plan = make_plan(self.match, self.cell.channels, self.cell.aux_skip, choice)
            self.known[choice] = replace(plan, kept=self.kept)
        return self.known[choice]

    @property
    def tracked(self) -> bool:
        """Whether the batch norms have running statistics, whatever track_running_stats says by now."""
        return bool(self.norms) and self.norms[0]._buffers["running_mean"] is not None

    @property
    def updated(self) -> bool:
        """Whether a training pass moves the running statistics."""
        return self.tracked and self.norms[0].track_running_stats

    @property
    def counting(self) -> bool:
        """Whether the norms count this batch."""
        return bool(self.norms) and self.norms[0].training and self.norms[0].track_running_stats

    def parameters(self) -> list[Tensor]:
        """Weights in the order of section.entries, then what biases there are; from the modules' tables, for speed."""
        tables = [conv._parameters for conv in self.convs]
        found = [*(table["weight"] for table in tables), *(table.get("bias") for table in tables)]
        return [parameter for parameter in found if parameter is not None]

    @property
    def biased(self) -> bool:
        return any(conv._parameters.get("bias") is not None for conv in self.convs)

    @torch.no_grad()
    def shift(self) -> Tensor:
        """(S,), by how much the biases move the mean before each batch norm; the same at every pixel.

        b_p + W_p b_d: the depthwise bias is added to all pixels alike, after the padding, and summed pointwise.
        """
        moved = []
        for mean, convs in zip(self.buffers("running_mean"), self.feeds, strict=True):
            biases = [mean.new_zeros(c.out_channels) if c.bias is None else c.bias for c in convs]
            if convs and convs[0].kernel_size != (1, 1):
                biases = [torch.addmv(biases[1], convs[1].weight.flatten(1), biases[0])]
            moved += biases or [torch.zeros_like(mean)]
        return torch.cat(moved)

    def buffers(self, name: str) -> list[Tensor]:
        """Of every batch norm that has it."""
        found = [norm._buffers[name] for norm in self.norms]
        return [buffer for buffer in found if buffer is not None]


def make_plan(match: Match, channels: int, aux_skip: bool, choice: Choice | None = None) -> Plan:
    """channels: of the states after preprocessing. ValueError where the sizes do not fit."""
    inner = match.channels or channels
    if channels % inner:
        raise ValueError(f"need states of a multiple of the {inner} channels of its mixed ops; got {channels}")
    pre = match.preprocess
    sources = (pre.convs[0].in_channels, pre.convs[-1].in_channels) if pre else (channels, channels)
    shrink0 = pre is not None and len(pre.convs) == 3
    places = [sorted(choice[e.index] if choice else range(len(e.candidates)), key=ranks(e)) for e in match.edges]
    edges = [[e.candidates[i] for i in of_edge] for e, of_edge in zip(match.edges, places, strict=True)]
    ops = padded([[str(c.op) for c in edge] for edge in edges])
    shape = (0, match.kind, shrink0, *sources, channels, match.nodes, ops, channels // inner, aux_skip)
    pool_norm = all(c.norms for edge in edges for c in edge if is_pool(str(c.op)))
    cell = Cell(*shape, preprocess=pre is not None, pool_norm=pool_norm)
    used = [
        *([pre] if pre else []),
        *(c for e, ranked in zip(match.edges, edges, strict=True) for c in used_of(e, ranked)),
    ]
    if not aux_skip and any(e.aux for e in match.edges):
        raise ValueError("a factorised reduction beside the candidate operations")
    plan = Plan(
        cell,
        section_of(cell, match.path or "cell"),
        [conv for c in used for conv in c.convs],
        [norm for c in used for norm in c.norms],
        [convs for c in used for convs in c.feeds()],
        [len(of_edge) for _, of_edge in sorted(zip((e.index for e in match.edges), places, strict=True))],
        columns_of(match.edges, places, len(ops[0])),
        [e.index for e in match.edges],
        [] if pre else match.beside,
        [c.dropout for of_edge in edges for c in of_edge if c.op == "skip_connect" and not c.convs],
        match,
        match.nodes,
    )
    check_sizes(plan)
    return plan


def ranks(edge: Edge) -> Callable[[int], int]:
    """Of a candidate's place on the edge, that of its primitive."""
    return lambda i: CODES.index(str(edge.candidates[i].op))


def used_of(edge: Edge, ranked: Sequence[Candidate]) -> list[Candidate]:
    return [*ranked, edge.aux] if edge.aux else list(ranked)


def padded(ops: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """As many ops on every edge: `none` adds nothing."""
    O = max(map(len, ops))
    return tuple(("none",) * (O - len(edge)) + tuple(edge) for edge in ops)


def columns_of(edges: Sequence[Edge], places: Sequence[Sequence[int]], O: int) -> Tensor | None:
    """Index (E * O) into the model's op weights, flat over edges; a padded place takes the edge's first."""
    index: list[int] = []
    for edge, order in zip(edges, places, strict=True):
        index += [edge.first] * (O - len(order)) + [edge.first + i for i in order]
    straight = index == list(range(sum(len(e.candidates) for e in edges)))
    return None if straight else torch.tensor(index, device="cpu")


def check_sizes(plan: Plan) -> None:
    """ValueError unless every convolution and batch norm has the size that the layout gives it."""
    for conv, entry in zip(plan.convs, plan.section.entries, strict=True):
        if tuple(conv.weight.shape) != entry.shape:
            raise ValueError(f"need {entry.name} {entry.shape}; got {tuple(conv.weight.shape)}")
    for norm, place in zip(plan.norms, plan.section.norms, strict=True):
        if norm.num_features != place.channels:
            raise ValueError(f"need {place.name} of {place.channels} channels; got {norm.num_features}")
