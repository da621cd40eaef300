"""Where the tensors of an eager supernet lie in our flat weights, told by their names and sizes.

A supernet of the family is a list of cells, a cell two preprocessings and a list of mixed ops, a mixed op a list of
candidates: `cells.3._ops.7._ops.4.op.1.weight` is candidate 4 of edge 7 of cell 3, whatever the lists are called. Mixed
ops may be listed by node, too: `cells.3.dag.2.1._ops.4.net.1.weight`, from state 1 to node 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor

from ..spaces import KINDS, Space, edges_of
from .layout import build

Named = list[tuple[str, Tensor]]
STATISTICS = ("running_mean", "running_var")
CLASSIFIERS = ("classifier", "fc", "head", "linear")
_WRAPPERS = re.compile(r"(?:(?:module|_orig_mod|model|net)\.)+")  # DataParallel's, torch.compile's, those of trainers
_PREPROCESS = re.compile(r"\w+\.(\d+)\.preproc(?:ess)?_?([01])\.")  # cell, which
# Cell, edge or node and source, list of candidates, which.
_CANDIDATE = re.compile(r"\w+\.(\d+)\.\w+\.(\d+)(?:\.(\d+))?\.([^\W\d]\w*)\.(\w+)\.")
_OURS = re.compile(r"cells\.\d+\.(?:preprocess\d|edges\.\d+\.\w+)|stem|classifier")


def unwrapped(state: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors by their names in the network itself. ValueError where two have one name."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if isinstance(name, str) and isinstance(tensor, Tensor):
            bare = _WRAPPERS.sub("", name, count=1) if _WRAPPERS.match(name) else name
            if bare in found:
                raise ValueError(f"it has two tensors {bare}, one of them as {name}")
            found[bare] = tensor
    return found


def flat_weights(state: Mapping[str, Tensor], space: Space) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(P,) weights, (S,) running means and variances, None where the state has none; float64 or else float32.

    state   of the network alone, by the names that it has itself
    ValueError that names the first tensor which is missing, too much, of another size, or not finite.
    """
    cells = {int(match[1]) for match in map(_CANDIDATE.match, state) if match}
    if cells and max(cells) + 1 != space.layers:
        raise ValueError(f"need {space.layers} cells (layers); got {max(cells) + 1}")
    by_place: dict[str, Named] = {}
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            by_place.setdefault(place_of(name, space), []).append((name, tensor))
    sections = build(space).sections
    entries = [(entry.name, entry.shape) for s in sections for entry in s.entries]
    norms = [(norm.name, (norm.channels,)) for s in sections for norm in s.norms]
    known = {place for wanted in (entries, norms) for place, _ in places(wanted)}
    if strangers := [given for place, given in by_place.items() if place not in known]:
        raise ValueError(f"it has {strangers[0][0][0]}, which the space has not")
    weights = {place: [one for one in given if not one[0].endswith(STATISTICS)] for place, given in by_place.items()}
    flat = joined(entries, weights)
    if not any(name.endswith(STATISTICS) for name in state):
        return flat, None, None
    rows = []
    for which in STATISTICS:
        given = {place: [one for one in named if one[0].endswith(which)] for place, named in by_place.items()}
        rows.append(joined([(f"{name}.{which}", shape) for name, shape in norms], given).to(flat.dtype))
    return flat, rows[0], rows[1]


def place_of(name: str, space: Space) -> str:
    """The part of our network that a tensor belongs to; its first component where that is none that we know."""
    if match := _PREPROCESS.match(name):
        return f"cells.{match[1]}.preprocess{match[2]}"
    if not (match := _CANDIDATE.match(name)):
        first = name.partition(".")[0]
        return "stem" if first.startswith("stem") else "classifier" if first in CLASSIFIERS else first
    cell, edge, op = int(match[1]), int(match[2]), match[5]
    ops = space.ops(KINDS[cell in space.reductions])
    if match[3]:
        edge = edges_of(edge).start + int(match[3]) if int(match[3]) < edge + 2 else space.edges
    if edge >= space.edges or (op.isdecimal() and int(op) >= space.ops_per_edge and "aux" not in match[4]):
        raise ValueError(f"it has {name}; the space has {space.edges} edges of {space.ops_per_edge} operations")
    if "aux" in match[4]:
        op = "aux_skip"
    elif op.isdecimal():
        op = ops[edge][int(op)]
    return f"cells.{cell}.edges.{edge}.{op}"


def places(wanted: Iterable[tuple[str, tuple[int, ...]]]) -> Iterable[tuple[str, list[tuple[str, tuple[int, ...]]]]]:
    """Names and shapes of ours, part by part."""
    for place, items in groupby(wanted, lambda item: match[0] if (match := _OURS.match(item[0])) else ""):
        yield place, list(items)


def joined(wanted: Sequence[tuple[str, tuple[int, ...]]], given: Mapping[str, Named]) -> Tensor:
    """One row of all that is wanted: within a part the tensors are in the order of their first use, here as there."""
    rows = []
    for place, items in places(wanted):
        named = given.get(place, [])
        if len(named) != len(items):
            got = ", ".join(name for name, _ in named[:8]) or "none"
            raise ValueError(f"need {len(items)} tensors of {place}: {', '.join(n for n, _ in items)}; got {got}")
        for (name, shape), (theirs, tensor) in zip(items, named, strict=True):
            if tuple(tensor.shape) != shape or theirs.rpartition(".")[2] != name.rpartition(".")[2]:
                raise ValueError(f"need {name} {shape}; got {theirs} {tuple(tensor.shape)}")
            if not tensor.is_floating_point() or tensor.layout != torch.strided or not tensor.isfinite().all():
                raise ValueError(f"need {theirs} a dense tensor of finite floating-point numbers")
            rows.append(tensor.detach().flatten())
    dtypes = {row.dtype for row in rows}
    dtype = torch.float64 if dtypes == {torch.float64} else torch.float32
    return torch.cat([row.to(dtype) for row in rows])
