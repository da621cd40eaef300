"""Finds the cells of a model: modules of two inputs over 2, 5, 9, 14, ... mixed ops."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import nn

from ..spaces import edges_of, is_pool, num_edges
from .candidates import Candidate, has_tensors, leaves_of, side_of
from .edges import PARAMETERS, Edge, op_lists, own_parameters, parts_of, read_edge

MOST_NODES = 16


@dataclass
class Match:
    """What was found of one cell; problem: the first thing that does not fit, None if all does.

    edges        as the model lists them; node by node in `arrangements`
    preprocess   convolutions and batch norms of both, read as one; None where they are no plain preprocessing
    beside       the modules with tensors beside the mixed ops
    own          parameters of the cell and its mixed ops themselves
    """

    path: str
    module: nn.Module
    edges: list[Edge]
    beside: list[nn.Module]
    own: dict[str, list[tuple[nn.Module, str]]]
    preprocess: Candidate | None = None
    nodes: int = 0
    kind: str = "normal"
    channels: int | None = None
    problem: str | None = None

    @cached_property
    def order(self) -> list[int]:
        """Of each edge, node by node, its place in the model."""
        return [edge.index for edge in self.edges]

    @cached_property
    def widths(self) -> list[int]:
        """Candidates of each edge, in the model's order."""
        return [len(edge.candidates) for edge in sorted(self.edges, key=lambda edge: edge.index)]


def cells_of(module: nn.Module, path: str = "", method: str = "forward") -> list[Match]:
    """The outermost modules that are cells, each once; where none is, those that resemble one, with their problem."""
    lists = op_lists(module)
    if not lists:
        return []
    match = match_cell(module, path) if len(lists) > 1 and resembles_cell(module, method) else None
    if match is not None and match.nodes and match.channels is not None:
        return [match]
    prefix = f"{path}." if path else ""
    below = [m for name, child in module.named_children() for m in cells_of(child, prefix + name, method)]
    below = list({id(m.module): m for m in reversed(below)}.values())[::-1]  # a module may lie in two places
    complete = sum(len(m.edges) for m in below) >= len(lists)
    return below if match is None or complete else [match]


def resembles_cell(module: nn.Module, method: str) -> bool:
    """A class of its own, no classifier, two inputs or more."""
    if type(module).__module__.startswith("torch.") or any(isinstance(m, nn.Linear) for m in module.modules()):
        return False
    kinds = [p.kind for p in inspect.signature(getattr(module, method, module.forward)).parameters.values()]
    P = inspect.Parameter
    return P.VAR_POSITIONAL in kinds or sum(k in (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD) for k in kinds) > 1


def match_cell(module: nn.Module, path: str) -> Match:
    names = {id(m): name for name, m in module.named_modules()}
    edges: list[Edge] = []
    beside = []
    for child, lists in parts_of(module):
        if lists:
            first = sum(len(edge.candidates) for edge in edges)
            edges.append(read_edge(child, lists[0], names[id(lists[0])], len(edges), first))
        else:
            beside.append(child)
    tensors = [m for m in beside if has_tensors(m) and not isinstance(m, PARAMETERS)]
    match = Match(path, module, edges, tensors, own_parameters(module))
    match.nodes = next((n for n in range(1, MOST_NODES) if num_edges(n) == len(edges)), 0)
    if not match.nodes:
        match.problem = f"{len(edges)} mixed ops; need 2, 5, 9, 14, ... for 1, 2, 3, 4, ... nodes"
        return match
    match.preprocess = read_preprocess(match.beside)
    match.kind = "reduce" if 2 in edges[0].strides else "normal"
    channels = {c.channels for e in edges for c in e.candidates if c.channels}
    match.channels = None if len(channels) > 1 else max(channels, default=0)
    match.problem = next(problems(match, beside), None)
    return match


def read_preprocess(beside: Sequence[nn.Module]) -> Candidate | None:
    """A 1x1 convolution or a factorised reduction, then a 1x1 convolution."""
    found = Candidate([leaf for m in beside for leaf in leaves_of(m)], "preprocess")
    strides = {"pnpn": [1, 1], "ppnpn": [2, 2, 1]}.get(found.letters.replace("b", ""))
    fits = strides == [side_of(conv.stride) for conv in found.convs] and not found.layer_problem()
    return found if fits else None


def problems(match: Match, beside: Sequence[nn.Module]) -> Iterator[str]:
    """What does not fit, from the mixed ops to what stands beside them."""
    for edge in match.edges:
        if edge.problem:
            yield f"{edge.path}: {edge.problem}"
        yield from (f"{edge.path}.{i}: {c.problem}" for i, c in enumerate(edge.candidates) if c.problem)
        ops = [c.op for c in edge.candidates]
        yield from (f"{edge.path}: {op} twice" for op in ops if ops.count(op) > 1)
    places = [(f"{e.path}.{i}: {c.op}", c) for e in match.edges for i, c in enumerate(e.candidates)]
    pools = [(place, c.norms) for place, c in places if is_pool(str(c.op))]
    bare = [place for place, norms in pools if not norms]
    if 0 < len(bare) < len(pools):
        yield f"{bare[0]} without a batch norm, which other pools have; need one after each pool, or after none"
    shapes = [shape_problem(one) for one in arrangements(match)]
    if shapes[0] and all(shapes):
        yield shapes[0]
    if match.preprocess is None and len(match.beside) not in (0, 2):
        yield f"{len(match.beside)} modules with tensors beside the mixed ops; need the 2 of the preprocessing, or none"
    read = [c for _, c in places] + ([match.preprocess] if match.preprocess else [])
    if len({norm.track_running_stats for c in read for norm in c.norms}) > 1:
        yield "batch norms with and without running statistics"
    if any(isinstance(m, nn.Dropout) for child in beside for m in child.modules()):
        yield "dropout beside the mixed ops"


def arrangements(match: Match) -> Iterator[Match]:
    """The edges as cells list them: node by node, source by source, node by node with the newest source first."""
    pairs = [(node, source) for node in range(match.nodes) for source in range(node + 2)]
    for order in (sorted(pairs), sorted(pairs, key=lambda p: (p[1], p[0])), sorted(pairs, key=lambda p: (p[0], -p[1]))):
        yield replace(match, edges=[match.edges[order.index(pair)] for pair in pairs])


def shape_problem(match: Match) -> str | None:
    if match.channels is None:
        return "mixed ops of different channels"
    for node in range(match.nodes):
        for source, index in enumerate(edges_of(node)):
            edge, stride = match.edges[index], 2 if match.kind == "reduce" and source < 2 else 1
            if edge.strides - {stride}:
                return f"{edge.path}: stride {max(map(str, edge.strides))}; need {stride}"
    return None
