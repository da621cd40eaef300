"""A matched cell as the fused operation takes it: its layout, which module gives which piece, what a call computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from ..reference.cell import Cell, section_of
from ..spaces import CODES, is_pool
from .arguments import FROM_WEIGHTS, Reading, flat, get, leaves
from .matching import Match

Choice = tuple[tuple[int, ...], ...]  # of each edge, in the model's order, the operations that are computed
KNOWN = 64  # plans of choices that are kept
TINY = 1e-6  # no weight nearer to 0 was tried, and somebody's bound may lie there
# Whether the original computes an operation, by its weight or number and those of its edge.
RULES: dict[str, Callable[[float, Sequence[float]], bool]] = {
    "nonzero": lambda weight, _: weight != 0,
    "positive": lambda weight, _: weight > 0,
    "largest": lambda weight, row: weight == max(row),
    "numbers": lambda number, _: number != 0,
}


@dataclass
class Plan:
    """match         its edges node by node
    channels      of the states after preprocessing
    choice        None for all operations
    kept          nodes whose states the cell returns, the last ones; 0 for all
    convs, norms  in canonical order, that of section.entries and section.norms
    feeds         of each batch norm, the convolutions before it
    columns       where the model's op weights, flat over edges, lie in (E, O); None where they already lie so
    preprocess    the model's own two, where the fused ones cannot stand for them; else empty
    skips         the dropouts of the stride-1 skips, None for a skip without
    ValueError where the sizes do not fit.
    """

    match: Match
    channels: int
    aux_skip: bool
    kept: int = 0
    choice: Choice | None = None
    known: dict[Choice, Plan] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        match, pre, channels = self.match, self.match.preprocess, self.channels
        inner = match.channels or channels
        if channels % inner:
            raise ValueError(f"need states of a multiple of the {inner} channels of its mixed ops; got {channels}")
        if not self.aux_skip and any(e.aux for e in match.edges):
            raise ValueError("a factorised reduction beside the candidate operations")
        self.kept = self.kept or match.nodes
        edges = [
            sorted(
                ((i, c) for i, c in enumerate(e.candidates) if self.choice is None or i in self.choice[e.index]),
                key=lambda place: CODES.index(str(place[1].op)),
            )
            for e in match.edges
        ]
        O = max(map(len, edges))
        ops = tuple(("none",) * (O - len(edge)) + tuple(str(c.op) for _, c in edge) for edge in edges)
        pairs = list(zip(match.edges, edges, strict=True))  # a padded place takes the edge's first weight
        columns = [e.first + i for e, edge in pairs for i in [*[0] * (O - len(edge)), *(i for i, _ in edge)]]
        straight = columns == list(range(sum(match.widths)))
        self.columns = None if straight else torch.tensor(columns, device="cpu")
        used = [pre] if pre else []
        for e, edge in pairs:
            used += [*(c for _, c in edge), *([e.aux] if e.aux else [])]
        self.convs = [conv for c in used for conv in c.convs]
        self.norms = [norm for c in used for norm in c.norms]
        self.feeds = [convs for c in used for convs in c.feeds()]
        self.preprocess: list[nn.Module] = [] if pre else match.beside
        candidates = [c for edge in edges for _, c in edge]
        self.skips = [c.dropout for c in candidates if c.op == "skip_connect" and not c.convs]
        shrink0 = pre is not None and len(pre.convs) == 3
        sources = (pre.convs[0].in_channels, pre.convs[-1].in_channels) if pre else (channels, channels)
        shape = (0, match.kind, shrink0, *sources, channels, match.nodes, ops, channels // inner, self.aux_skip)
        pool_norm = all(c.norms for c in candidates if is_pool(str(c.op)))
        self.cell = Cell(*shape, preprocess=pre is not None, pool_norm=pool_norm)
        self.section = section_of(self.cell, match.path or "cell")
        self.check_sizes()

    def check_sizes(self) -> None:
        """Every convolution and batch norm has the size that the layout gives it."""
        for conv, entry in zip(self.convs, self.section.entries, strict=True):
            if tuple(conv.weight.shape) != entry.shape:
                raise ValueError(f"need {entry.name} {entry.shape}; got {tuple(conv.weight.shape)}")
        for norm, place in zip(self.norms, self.section.norms, strict=True):
            if norm.num_features != place.channels:
                raise ValueError(f"need {place.name} of {place.channels} channels; got {norm.num_features}")

    def __getstate__(self) -> dict[str, Any]:
        """A copy makes its plans of choices for itself."""
        return {**vars(self), "known": {}}

    def sampled(self, choice: Choice) -> Plan:
        """The plan of a call that computes only these operations."""
        if all(len(ops) == width for ops, width in zip(choice, self.match.widths, strict=True)):
            return self
        if choice not in self.known:
            if len(self.known) >= KNOWN:
                del self.known[next(iter(self.known))]
            self.known[choice] = replace(self, choice=choice)
        return self.known[choice]

    def of_call(self, reading: Reading, arguments: Mapping[str, Any]) -> Plan | str:
        """The plan of the operations that a call computes, or why the original must answer."""
        if reading.rule == "all":
            return self
        widths, values = self.match.widths, numbers_of(get(arguments, reading.by))
        if reading.rule == "named":
            if not all(0 <= i < width for i, width in zip(values, widths, strict=True)):
                return "an index of no operation"
            return self.sampled(tuple((int(i),) for i in values))
        if not all(value == 0 or abs(value) >= TINY for value in values):
            return "an op weight nearer to 0 than was tried"
        if reading.rule in FROM_WEIGHTS and reading.betas and not flat(get(arguments, reading.betas)).all():
            return "an edge weight of exactly 0"
        rows = [values[end - width : end] for end, width in zip(accumulate(widths), widths, strict=True)]
        computed = RULES[reading.rule]
        choice = tuple(tuple(i for i, value in enumerate(row) if computed(value, row)) for row in rows)
        if reading.rule == "largest" and any(len(ops) > 1 for ops in choice):
            return "op weights of which two are the largest"
        return self.sampled(choice) if all(choice) else "an edge none of whose operations is computed"

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


def numbers_of(value: Any) -> list[float]:
    """Of a tensor, or of nested containers of tensors and numbers."""
    found = (leaf.flatten().tolist() if isinstance(leaf, Tensor) else [leaf] for _, leaf in leaves(value))
    return [number for numbers in found for number in numbers]
