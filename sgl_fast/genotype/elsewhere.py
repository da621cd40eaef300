"""Operations and cells as other codebases write them: names of NNI, triples of both ends, NNI's exported choices."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from ..integers import whole
from ..spaces import CODES, KINDS

# what a published genotype may name: 7x1 after 1x7 only in NASNet and AmoebaNet
EVAL_OPS = (*CODES, "conv_7x1_1x7")
_BARE = {op.replace("_", ""): op for op in EVAL_OPS} | {"maxpool": "max_pool_3x3", "avgpool": "avg_pool_3x3"}  # NNI's
_EDGE = re.compile(r"(normal|reduce)_n(\d{1,3})_p(\d{1,3})")  # state, source
_CHOICE = re.compile(r"(normal|reduce)/op_(\d{1,3})_(\d{1,3})")  # state, which edge of it


def op_named(name: object) -> str | None:
    """Our name of an operation, whose underscores may be missing; None for an unknown one."""
    if not isinstance(name, str):
        return None
    return str(name) if name in EVAL_OPS else _BARE.get(name)


def unknown_op(name: object, position: int) -> str:
    """What is said of an entry whose operation has no name of ours."""
    near = get_close_matches(str(name).replace("_", "")[:40], _BARE, n=1)
    nearest = f", near {_BARE[near[0]]}" if near else ""
    return f"unknown op {repr(name)[:80]} at position {position}{nearest}; the ops are {', '.join(EVAL_OPS)}"


def pairs_of(triples: Sequence[Any], kind: str) -> list[tuple[Any, int]]:
    """(op, source), node by node, from (op, state, state) in any order: an edge leads from the lower state.

    ValueError for what is no edge, and where a node has another number of edges than two.
    """
    edges = []
    for position, (op, *ends) in enumerate(triples):
        source, to = sorted(-1 if (state := whole(end)) is None else state for end in ends)
        if not 0 <= source < to or to < 2:
            got = f"{repr(ends)[:80]} at position {position}"
            raise ValueError(f"the {kind} cell needs edges from a state to a later one, 2 or higher; got {got}")
        edges.append((to, op, source))
    counts = Counter(to for to, _, _ in edges)
    for state in range(2, max(counts) + 1):
        if counts[state] != 2:
            raise ValueError(f"node {state - 2} of the {kind} cell has {counts[state]} edges; need two")
    return [(op, source) for _, op, source in sorted(edges, key=lambda edge: edge[0])]


def choices_of(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The fields of a genotype from the choices that NNI exports, None where a mapping holds none of them.

    {"normal_n2_p0": op, "normal_n2_switch": ["normal_n2_p0", ...], ...}: the op of the edge from state 0 to state 2,
    [] or none for no edge; {"normal/op_2_0": op, "normal/input_2_0": source, ...}: the first edge of state 2. All
    nodes make up the output.
    """
    cells: dict[str, list[tuple[Any, Any, int]]] = {kind: [] for kind in KINDS}
    for key, op in found.items():
        if match := _EDGE.fullmatch(key):
            kind, state, source = match[1], int(match[2]), int(match[3])
            chosen = found.get(f"{kind}_n{state}_switch")
            if op not in ([], None, "none") and (not isinstance(chosen, list) or key in chosen):
                cells[kind].append((op, source, state))
        elif match := _CHOICE.fullmatch(key):
            kind, state = match[1], int(match[2])
            given = found.get(f"{kind}/input_{state}_{match[3]}")
            cells[kind].append((op, given[0] if isinstance(given, list) and len(given) == 1 else given, state))
    if not any(cells.values()):
        return None
    concats = {f"{kind}_concat": sorted({state for *_, state in edges}) for kind, edges in cells.items()}
    return {**cells, **concats}
