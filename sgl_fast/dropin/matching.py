"""Finds the cells of a model: modules of two inputs over 2, 5, 9, 14, ... mixed ops."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from ..spaces import edges_of, is_pool, num_edges
from .candidates import Candidate, conv_problem, norm_problem
from .edges import PARAMETERS, Edge, op_lists, own_parameters, parts_of, read_edge, strides_of
from .leaves import has_tensors, leaves_of, letter

MOST_NODES = 16


@dataclass
class Match:
    """What was found of one cell; problem: the first thing that does not fit, None if all does.

    edges        node by node, as `arranged`
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
    covered: int = field(default=0)


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
    complete = sum(m.covered for m in below) >= len(lists)
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
            edge = read_edge(child, lists[0], names[id(lists[0])])
            edge.index, edge.first = len(edges), sum(len(e.candidates) for e in edges)
            edges.append(edge)
        else:
            beside.append(child)
    tensors = [m for m in beside if has_tensors(m) and not isinstance(m, PARAMETERS)]
    match = Match(path, module, edges, tensors, own_parameters(module), covered=len(edges))
    nodes = [n for n in range(1, MOST_NODES) if num_edges(n) == len(edges)]
    if not nodes:
        match.problem = f"{len(edges)} mixed ops; need 2, 5, 9, 14, ... for 1, 2, 3, 4, ... nodes"
        return match
    match.nodes = nodes[0]
    match.preprocess = read_preprocess(match.beside)
    match.kind = "reduce" if 2 in strides_of(edges[0]) else "normal"
    channels = {c.channels for e in edges for c in e.candidates if c.channels}
    if len(channels) < 2:
        match.channels = channels.pop() if channels else 0
    dropout = any(isinstance(m, nn.Dropout) for child in beside for m in child.modules())
    problems = [shape_problem(one) for one in arrangements(match)]
    match.problem = edge_problem(edges) or (problems[0] if all(problems) else None) or beside_problem(match)
    if dropout and match.problem is None:
        match.problem = "dropout beside the mixed ops"
    return match


def read_preprocess(beside: Sequence[nn.Module]) -> Candidate | None:
    """A 1x1 convolution or a factorised reduction, then a 1x1 convolution."""
    leaves = [leaf for m in beside for leaf in leaves_of(m)]
    letters = "".join(map(letter, leaves)).replace("b", "")
    convs = [m for m in leaves if isinstance(m, nn.Conv2d)]
    norms = [m for m in leaves if isinstance(m, nn.BatchNorm2d)]
    strides = [tuple(c.stride) for c in convs]
    plain = {"pnpn": [(1, 1)] * 2, "ppnpn": [(2, 2), (2, 2), (1, 1)]}
    if plain.get(letters) != strides or any(map(conv_problem, convs)) or any(map(norm_problem, norms)):
        return None
    return Candidate("preprocess", letters, convs, norms, channels=norms[0].num_features)


def edge_problem(edges: Sequence[Edge]) -> str | None:
    """The first thing that does not fit in a mixed op."""
    for edge in edges:
        if edge.problem:
            return f"{edge.path}: {edge.problem}"
        for index, candidate in enumerate(edge.candidates):
            if candidate.problem:
                return f"{edge.path}.{index}: {candidate.problem}"
        ops = [c.op for c in edge.candidates]
        twice = [op for op in ops if ops.count(op) > 1]
        if twice:
            return f"{edge.path}: {twice[0]} twice"
    return mixed_pools(edges)


def mixed_pools(edges: Sequence[Edge]) -> str | None:
    """The first pool without a batch norm where others have one."""
    pools = [(e, i, c) for e in edges for i, c in enumerate(e.candidates) if is_pool(str(c.op))]
    bare = [f"{e.path}.{i}: {c.op}" for e, i, c in pools if not c.norms]
    if len(bare) in (0, len(pools)):
        return None
    return f"{bare[0]} without a batch norm, which other pools have; need one after each pool, or after none"


def arrangements(match: Match) -> Iterator[Match]:
    """The edges as cells list them: node by node, source by source, node by node with the newest source first."""
    pairs = [(node, source) for node in range(match.nodes) for source in range(node + 2)]
    for order in (sorted(pairs), sorted(pairs, key=lambda p: (p[1], p[0])), sorted(pairs, key=lambda p: (p[0], -p[1]))):
        yield arranged(match, [order.index(pair) for pair in pairs])


def arranged(match: Match, order: Sequence[int]) -> Match:
    """order: of each edge, node by node, its place in the model."""
    return replace(match, edges=[match.edges[i] for i in order])


def shape_problem(match: Match) -> str | None:
    if match.channels is None:
        return "mixed ops of different channels"
    for node in range(match.nodes):
        for source, index in enumerate(edges_of(node)):
            stride = 2 if match.kind == "reduce" and source < 2 else 1
            if strides_of(match.edges[index]) - {stride}:
                return (
                    f"{match.edges[index].path}: stride {max(map(str, strides_of(match.edges[index])))}; need {stride}"
                )
    return None


def beside_problem(match: Match) -> str | None:
    if match.preprocess is None and len(match.beside) not in (0, 2):
        return (
            f"{len(match.beside)} modules with tensors beside the mixed ops; need the 2 of the preprocessing, or none"
        )
    norms = [n for e in match.edges for c in e.candidates for n in c.norms]
    if match.preprocess:
        norms += match.preprocess.norms
    if len({n.track_running_stats for n in norms}) > 1:
        return "batch norms with and without running statistics"
    return None
