"""Genotypes: the discrete cells that a search ends with, and what derives them from an Arch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..integers import whole
from ..limits import LIMITS
from ..spaces import KINDS, Space, edges_of
from .derivation import DERIVATIONS, SKIP, Choose, EdgeScores, choose_cell, edge_scores, probabilities
from .elsewhere import op_named, pairs_of, unknown_op
from .text import CALL, last_call

if TYPE_CHECKING:
    from ..spaces.arch import Arch

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")


class Row(tuple[Any, ...]):
    """A tuple that also equals a list or range of the same entries, as JSON and the original codebases hold them."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, tuple, range)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__


@dataclass(frozen=True)
class Genotype:
    """Two cells, each as its edges and as the states that its output concatenates.

    normal, reduce                 (op, source), two a node, in the order of the nodes; sources 0 and 1 are the outputs
                                   of the two cells before, source i + 2 is node i
    normal_concat, reduce_concat   states whose channels make up the cell's output
    Any sequence is accepted and compared by value; so are (op, from, to) and operations without underscores, as NNI
    names them. A cell that cannot be built is a ValueError. `str` gives the text that the DARTS family prints.

    >>> found = Genotype.from_text("Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=[2], "
    ...                            "reduce=[('max_pool_3x3', 0), ('none', 1)], reduce_concat=[2])")
    >>> Genotype.from_json(found.to_json()) == found == Genotype.from_text(str(found))
    True
    >>> print(found)
    Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=range(2, 3),
             reduce=[('max_pool_3x3', 0), ('none', 1)], reduce_concat=range(2, 3))
    """

    normal: Sequence[tuple[str, int]]
    normal_concat: Sequence[int]
    reduce: Sequence[tuple[str, int]]
    reduce_concat: Sequence[int]

    def __post_init__(self) -> None:
        for kind in KINDS:
            edges = check_edges(getattr(self, kind), kind)
            concat = check_concat(getattr(self, f"{kind}_concat"), len(edges) // 2, kind)
            object.__setattr__(self, kind, edges)
            object.__setattr__(self, f"{kind}_concat", concat)

    def __repr__(self) -> str:
        cells = ", ".join(
            f"{kind}={list(getattr(self, kind))}, {kind}_concat={_concat_text(getattr(self, f'{kind}_concat'))}"
            for kind in KINDS
        )
        return f"Genotype({cells})"

    def to_json(self) -> str:
        """One line of JSON, keys in the order of the fields."""
        return json.dumps({field: getattr(self, field) for field in FIELDS})

    @classmethod
    def from_json(cls, text: str) -> Genotype:
        """The inverse of `to_json`; ValueError for anything else. Nothing in the text is evaluated."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            hint = "; Genotype.from_text reads Genotype(...)" if CALL.search(text) else ""
            raise ValueError(f"genotype is not JSON: {error}{hint}") from error
        if not isinstance(found, dict) or set(found) != set(FIELDS):
            got = sorted(found) if isinstance(found, dict) else type(found).__name__
            raise ValueError(f"need a genotype with the keys {', '.join(FIELDS)}; got {got}")
        return cls(**found)

    @classmethod
    def from_text(cls, text: str) -> Genotype:
        """From the last `Genotype(...)` in a text: `str` of a genotype, source or a log of the DARTS family.

        ValueError where there is none, or it is none. Nothing in the text is evaluated.
        """
        return cls(**last_call(text, FIELDS))


def check_edges(edges: Any, kind: str) -> Row:
    """Rows of (op, source), or a ValueError that names the entry at fault."""
    edges = _listed(edges)
    if isinstance(edges, (list, tuple)) and edges and all(_is_triple(entry) for entry in edges):
        edges = pairs_of(edges, kind)
    if isinstance(edges, str) or not isinstance(edges, Sequence) or not edges or len(edges) % 2:
        got = f"{len(edges)} entries" if isinstance(edges, Sequence) else type(edges).__name__
        raise ValueError(f"need two (op, source) entries a node in the {kind} cell; got {got}")
    if (nodes := len(edges) // 2) > LIMITS["nodes"]:
        raise ValueError(f"need at most {LIMITS['nodes']} nodes in the {kind} cell; got {nodes}")
    rows = []
    for position, entry in enumerate(edges):
        entry = _listed(entry)
        if isinstance(entry, str) or not isinstance(entry, Sequence) or len(entry) != 2:
            raise ValueError(f"need (op, source) at position {position} of the {kind} cell; got {repr(entry)[:80]}")
        op, source, node = op_named(entry[0]), whole(entry[1]), position // 2
        if op is None:
            raise ValueError(f"the {kind} cell names an {unknown_op(entry[0], position)}")
        if source is None or not 0 <= source < node + 2:
            got = repr(entry[1])[:80]
            raise ValueError(f"node {node} of the {kind} cell needs a source from 0 to {node + 1}; got {got}")
        rows.append(Row((op, source)))
    return Row(rows)


def check_concat(concat: Any, nodes: int, kind: str) -> Row:
    """The states, or a ValueError if one is not a node of the cell or is named twice."""
    concat = _listed(concat)
    if not isinstance(concat, (list, tuple, range)) or not concat:
        raise ValueError(f"need {kind}_concat a list of states; got {repr(concat)[:80]}")
    states = [whole(state) for state in concat[: nodes + 1]]
    if not all(state is not None and 2 <= state < nodes + 2 for state in states) or len(set(states)) != len(concat):
        raise ValueError(f"need {kind}_concat different states from 2 to {nodes + 1}; got {repr(list(concat))[:80]}")
    return Row(states)


def _is_triple(entry: Any) -> bool:
    return isinstance(entry, (list, tuple)) and len(entry) == 3


def _listed(values: Any) -> Any:
    """A numpy array or a tensor as a list, all else as it is."""
    return values.tolist() if hasattr(values, "tolist") else values


def _concat_text(concat: Sequence[int]) -> str:
    """range(first, last + 1) where the states are one, as the originals write it, else a list."""
    span = range(concat[0], concat[-1] + 1)
    return repr(span if concat == span else list(concat))


def derive(
    space: Space,
    arch: Arch,
    learner: int = 0,
    max_skips: int | None = None,
    choose: Choose | None = None,
    probable: Callable[[Any], Any] | None = None,
) -> Genotype:
    """The genotype of one learner's architecture in `arch`, by the rule of the space.

    DARTS, DARTS-, PC-DARTS: two edges a node by their largest probability other than none's, strongest first, on each
    the best op but none; ties go to the lower source and the lower op. PC-DARTS ranks alpha times beta probabilities.
    P-DARTS: the same choice listed by source, ties to the later edge and op.
    max_skips: at most so many skip_connect in the normal cell, by P-DARTS's restriction; None leaves it as it is.
    choose: of a node's edges, in place of the space's rule; probable: alphas -> probabilities, in place of softmax

    >>> net = Supernet(space("darts", channels=4, nodes=2))
    >>> arch = net.init_arch(2)
    >>> arch.alphas_normal[1, :, 4] = 3.0  # sep_conv_3x3 of every edge
    >>> derive(net.space, arch, learner=1).normal[0][0]
    'sep_conv_3x3'
    """
    scores = [edge_scores(space, arch, learner, kind, probable) for kind in KINDS]
    genotype = from_scores(space, scores, choose)
    if max_skips is None or count_skips(genotype)["normal"] <= max_skips:
        return genotype
    if max_skips < 0:
        raise ValueError(f"need max_skips of at least 0; got {max_skips}")
    return dict(_restricted(space, scores, choose))[max_skips]


def restricted(space: Space, arch: Arch, learner: int = 0) -> list[tuple[int, Genotype]]:
    """(budget, genotype) for every skip budget of the normal cell below the unrestricted count, down to 0.

    While the normal cell has too many skips, the weakest one among its edges gets probability 0 and the whole cell is
    chosen again, so that another edge may come in and the count need not fall at once (P-DARTS).
    """
    return _restricted(space, [edge_scores(space, arch, learner, kind) for kind in KINDS], None)


def _restricted(space: Space, scores: list[EdgeScores], choose: Choose | None) -> list[tuple[int, Genotype]]:
    genotype = from_scores(space, scores, choose)
    found = []
    for budget in range(count_skips(genotype)["normal"] - 1, -1, -1):
        while count_skips(genotype)["normal"] > budget:
            drop_weakest_skip(scores[0], genotype)
            genotype = from_scores(space, scores, choose)
        found.append((budget, genotype))
    return found


def drop_weakest_skip(scores: EdgeScores, genotype: Genotype) -> None:
    """Sets the probability of the weakest skip that the normal cell holds to 0, in place."""
    edges = [edges_of(i // 2)[source] for i, (op, source) in enumerate(genotype.normal) if op == SKIP]
    weakest = min(sorted(edges), key=lambda edge: scores[edge][SKIP])
    if scores[weakest][SKIP] == 0:
        raise ValueError(f"edge {weakest} of the normal cell has no op to put in the place of skip_connect")
    scores[weakest][SKIP] = 0.0


def drop_ops(space: Space, arch: Arch, learner: int, count: int) -> dict[str, list[list[str]]]:
    """What is left of every edge after its `count` least probable ops are gone, none treated like any other (P-DARTS).

    Returns edge_ops for the next stage, canonical order. Ties: the lower op goes first.
    """
    if not 0 <= count < space.ops_per_edge:
        raise ValueError(f"need to drop 0 to {space.ops_per_edge - 1} of {space.ops_per_edge} ops an edge; got {count}")
    left = {}
    for kind in KINDS:
        left[kind] = [
            [ops[i] for i in sorted(sorted(range(len(ops)), key=row.__getitem__)[count:])]
            for ops, row in zip(space.ops(kind), probabilities(arch, learner, kind), strict=True)
        ]
    return left


def count_skips(genotype: Genotype) -> dict[str, int]:
    """Edges that are skip_connect, per kind of cell."""
    return {kind: sum(op == SKIP for op, _ in getattr(genotype, kind)) for kind in KINDS}


def from_scores(space: Space, scores: Sequence[EdgeScores], choose: Choose | None = None) -> Genotype:
    """Applies a rule, None: the space's, to the scores of the normal and of the reduction cell."""
    choose = choose or DERIVATIONS[space.rules.derivation]
    normal, reduce = (choose_cell(s, space.nodes, choose) for s in scores)
    concat = range(2, space.nodes + 2)
    return Genotype(normal, concat, reduce, concat)
