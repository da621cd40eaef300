"""A matched cell as the fused operation takes it: its layout, and which module gives which piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..reference.cell import Cell, Section, section_of
from ..spaces import CODES, is_pool
from .candidates import Candidate
from .edges import Edge
from .matching import Match


@dataclass
class Plan:
    """convs, norms   in canonical order, that of section.entries and section.norms
    widths         candidates of each edge, in the model's order
    columns        where the model's op weights, flat over edges, lie in (E, O); None where they already lie so
    order          of each edge, node by node, its place in the model
    preprocess     the model's own two, where the fused ones cannot stand for them; else empty
    skips          the dropouts of the stride-1 skips, None for a skip without
    kept           nodes whose states the cell returns, the last ones
    """

    cell: Cell
    section: Section
    convs: list[nn.Conv2d]
    norms: list[nn.BatchNorm2d]
    widths: list[int]
    columns: Tensor | None
    order: list[int]
    preprocess: list[nn.Module]
    skips: list[nn.Dropout | None]
    kept: int

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
        """In the order of section.entries; read from the modules' tables, for speed."""
        return [conv._parameters["weight"] for conv in self.convs]  # type: ignore[misc]

    def buffers(self, name: str) -> list[Tensor]:
        """Of every batch norm that has it."""
        found = [norm._buffers[name] for norm in self.norms]
        return [buffer for buffer in found if buffer is not None]


def make_plan(match: Match, channels: int, aux_skip: bool) -> Plan:
    """channels: of the states after preprocessing. ValueError where the sizes do not fit."""
    inner = match.channels or channels
    if channels % inner:
        raise ValueError(f"need states of a multiple of the {inner} channels of its mixed ops; got {channels}")
    pre = match.preprocess
    sources = (pre.convs[0].in_channels, pre.convs[-1].in_channels) if pre else (channels, channels)
    shrink0 = pre is not None and len(pre.convs) == 3
    edges = [sorted(e.candidates, key=rank) for e in match.edges]
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
        [len(e.candidates) for e in sorted(match.edges, key=lambda e: e.index)],
        columns_of(match.edges, len(ops[0])),
        [e.index for e in match.edges],
        [] if pre else match.beside,
        [c.dropout for e in match.edges for c in e.candidates if c.op == "skip_connect" and not c.convs],
        match.nodes,
    )
    check_sizes(plan)
    return plan


def rank(candidate: Candidate) -> int:
    return CODES.index(str(candidate.op))


def used_of(edge: Edge, ranked: Sequence[Candidate]) -> list[Candidate]:
    return [*ranked, edge.aux] if edge.aux else list(ranked)


def padded(ops: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """As many ops on every edge: `none` adds nothing."""
    O = max(map(len, ops))
    return tuple(("none",) * (O - len(edge)) + tuple(edge) for edge in ops)


def columns_of(edges: Sequence[Edge], O: int) -> Tensor | None:
    """Index (E * O) into the model's op weights, flat over edges; a padded place takes the edge's first."""
    index: list[int] = []
    for edge in edges:
        ranks = [rank(c) for c in edge.candidates]
        order = sorted(range(len(ranks)), key=ranks.__getitem__)
        index += [edge.first] * (O - len(order)) + [edge.first + i for i in order]
    return None if index == list(range(len(index))) else torch.tensor(index)


def check_sizes(plan: Plan) -> None:
    """ValueError unless every convolution and batch norm has the size that the layout gives it."""
    for conv, entry in zip(plan.convs, plan.section.entries, strict=True):
        if tuple(conv.weight.shape) != entry.shape:
            raise ValueError(f"need {entry.name} {entry.shape}; got {tuple(conv.weight.shape)}")
    for norm, place in zip(plan.norms, plan.section.norms, strict=True):
        if norm.num_features != place.channels:
            raise ValueError(f"need {place.name} of {place.channels} channels; got {norm.num_features}")
