"""Mixed ops: lists of candidate operations, and what stands beside the list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from .candidates import Candidate, describe, has_tensors, leaves_of, read

LISTS = (nn.ModuleList, nn.ModuleDict)
PARAMETERS = (nn.ParameterList, nn.ParameterDict)


@dataclass
class Edge:
    """One mixed op: its candidates in the order of its weights; aux: the factorised reduction beside them (DARTS-).

    index, first   its place among the model's edges, and that of its first weight among all weights
    """

    path: str
    candidates: list[Candidate]
    index: int
    first: int
    aux: Candidate | None = None
    problem: str | None = None

    @property
    def strides(self) -> set[Any]:
        return {c.stride for c in [*self.candidates, self.aux] if c is not None and c.op != "none"}


def op_lists(module: nn.Module) -> list[nn.Module]:
    """The modules whose children are candidate operations, half of them known or more; outermost, in order."""
    if isinstance(module, LISTS) and mostly_candidates(module):
        return [module]
    below = [found for child in module.children() for found in op_lists(child)]
    if below or type(module).__module__.startswith("torch."):
        return below
    several = len(list(module.children())) > 1 and mostly_candidates(module)
    return [module] if several and any(read(child).computes for child in module.children()) else []


def mostly_candidates(module: nn.Module) -> bool:
    """More than half are known, or half of them and one of those is no skip."""
    found = [read(child) for child in module.children()]
    known = [one for one in found if one.op is not None]
    return 2 * len(known) + any(one.computes for one in known) > len(found)


def parts_of(module: nn.Module) -> Iterator[tuple[nn.Module, list[nn.Module]]]:
    """The mixed ops of a cell, each with its list of candidates, and what stands beside them, with none."""
    for child in module.children():
        lists = op_lists(child)
        if len(lists) > 1:
            yield from parts_of(child)
        else:
            yield child, lists


def read_edge(module: nn.Module, ops: nn.Module, path: str, index: int, first: int) -> Edge:
    """module: the mixed op; ops: its list of candidates, or the module itself."""
    edge = Edge(path, [read(child) for child in ops.children()], index, first)
    beside = list(leaves_beside(module, ops))
    aux = [m for m in beside if has_tensors(m)]
    if Candidate(aux).letters == "ppn":
        edge.aux = read(nn.Sequential(*aux))
    elif aux:
        edge.problem = f"{describe(aux)} beside the candidate operations"
    if any(isinstance(m, nn.Dropout) for m in beside):
        edge.problem = "dropout beside the candidate operations"
    return edge


def leaves_beside(module: nn.Module, ops: nn.Module) -> Iterator[nn.Module]:
    if module is ops:
        return
    for child in module.children():
        if any(m is ops for m in child.modules()):
            yield from leaves_beside(child, ops)
        elif not isinstance(child, PARAMETERS):
            yield from leaves_of(child)


def own_parameters(module: nn.Module) -> dict[str, list[tuple[nn.Module, str]]]:
    """Parameters that a cell and its mixed ops hold themselves (alphas that live there), by name, in tree order."""
    found: dict[str, list[tuple[nn.Module, str]]] = {}
    for holder in filter(op_lists, module.modules()):
        for key, parameter in holder._parameters.items():
            if parameter is not None:
                found.setdefault(key, []).append((holder, key))
        for name, child in holder.named_children():
            if isinstance(child, PARAMETERS):
                found.setdefault(name, []).extend((child, key) for key in child._parameters)
    return found
