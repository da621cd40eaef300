"""One cell's arithmetic laid out in memory: where its weights, norms, saved planes and pattern bits lie.

Weights and norms are in canonical order. A learner has `weights` floats and `measured` channels of batch norms; with
those of norms that change nothing, one for each pool that has no batch norm, `norms`. An image leaves `saved` numbers
of planes and `pattern` bytes: a bit a ReLU's element, four bits a max-pool's output.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

NONE, MAX_POOL, AVG_POOL, SKIP, SEP3, SEP5, DIL3, DIL5 = range(8)
SIDE = {SEP3: 3, SEP5: 5, DIL3: 3, DIL5: 5}
OUT = -1  # no offset, no norm, no operation


@dataclass
class Conv:
    """ReLU, depthwise convolution or none (depthwise = OUT), 1x1 convolution, batch norm.

    first: 1 where it starts at pixel (1, 1), as the second half of a factorised reduction does.
    source: of its input, a state or OUT for saved planes at from_z, normed by from_norm; input: of the cell's inputs.
    """

    ins: int
    outs: int
    depthwise: int
    pointwise: int
    norm: int
    z: int
    kernel: int = 1
    dilation: int = 1
    stride: int = 1
    first: int = 0
    bits: int = OUT
    source: int = OUT
    from_z: int = OUT
    from_norm: int = OUT
    edge: int = OUT
    op: int = OUT
    node: int = OUT
    channel: int = 0  # of the node's or the state's that its result starts at
    middle: int = OUT  # of a first half: whose gradient its result receives; of a second half: which one it reads


@dataclass
class Term:
    """What an operation adds to a node: planes z with a norm; op OUT is the auxiliary skip."""

    op: int
    norm: int
    z: int


@dataclass
class Edge:
    index: int
    source: int
    node: int
    terms: list[Term] = field(default_factory=list)
    skip: int = OUT  # operation of a stride-1 skip
    dropout: int = OUT  # which mask it has
    aux: bool = False  # a stride-1 auxiliary skip
    max_op: int = OUT
    max_norm: int = OUT
    avg_op: int = OUT
    avg_norm: int = OUT


@dataclass
class State:
    height: int
    width: int
    stride: int
    bits: int = OUT
    convs: list[Conv] = field(default_factory=list)  # that read it
    halves: list[Conv] = field(default_factory=list)  # the second ones of its separable convolutions
    edges: list[Edge] = field(default_factory=list)  # that leave it
    max_z: int = OUT
    avg_z: int = OUT
    codes: int = OUT
    bypass_z: int = OUT
    bypass_codes: int = OUT


class Plan:
    """cell: as ops.mixed_cell.numbers writes it; H, W: of the first two states."""

    def __init__(self, cell: tuple[int, ...], H: int, W: int) -> None:
        self.c_prev_prev, self.c_prev, self.C, self.nodes, self.partial, *rest = cell
        self.reduction, self.shrink0, self.aux, self.preprocess, self.pool_norm, width, *ops = rest
        self.ops = [ops[i : i + width] for i in range(0, len(ops), width)]
        self.width = width  # operations an edge
        self.M = self.C // self.partial
        self.H, self.W = H, W
        self.out_H, self.out_W = (H // 2, W // 2) if self.reduction else (H, W)
        self.weights = self.norms = self.bare = self.saved = self.pattern = self.middles = self.dropouts = 0
        self.inputs: list[Conv] = self._inputs() if self.preprocess else []
        self.state_norms = [c.norm for c in self.inputs if c.channel == 0] or [OUT, OUT]
        self.states = [self._state(j) for j in range(self.nodes + 2)]
        self.edges: list[Edge] = []
        for node in range(self.nodes):
            for source in range(node + 2):
                self.edges.append(self._edge(source, node))
        self.measured = self.norms
        self.norms += self.bare
        for state in self.states:
            self._shared(state)

    def in_edges(self, node: int) -> list[Edge]:
        return [edge for edge in self.edges if edge.node == node]

    def input_size(self, which: int) -> tuple[int, int, int]:
        """Channels, height and width of one of the cell's inputs."""
        if not self.preprocess:
            return self.C, self.H, self.W
        scale = 2 if self.shrink0 and which == 0 else 1
        return (self.c_prev, self.c_prev_prev)[which == 0], scale * self.H, scale * self.W

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Weights and norm channels of a learner, numbers and pattern bytes that an image leaves."""
        return self.weights, self.norms, self.saved, self.pattern

    @property
    def out_pixels(self) -> int:
        return self.out_H * self.out_W

    def _take(self, what: str, count: int) -> int:
        before = int(getattr(self, what))
        setattr(self, what, before + count)
        return before

    def _bits(self, channels: int, pixels: int) -> int:
        return self._take("pattern", channels * -(-pixels // 8))

    def _codes(self, channels: int) -> int:
        """Of pools' outputs."""
        return self._take("pattern", channels * -(-self.out_pixels // 2))

    def _inputs(self) -> list[Conv]:
        convs = []
        for which in range(2):
            ins, height, width = self.input_size(which)
            shrink = self.shrink0 and which == 0
            outs = self.C // 2 if shrink else self.C
            offsets = [self._take("weights", outs * ins) for _ in range(1 + shrink)]
            norm, bits = self._take("norms", self.C), self._bits(ins, height * width)
            for half, pointwise in enumerate(offsets):
                at = half * outs
                z = (which * self.C + at) * self.H * self.W
                conv = Conv(ins, outs, OUT, pointwise, norm + at, z, stride=2 if shrink else 1, first=half, bits=bits)
                conv.source, conv.channel = which, at
                convs.append(conv)
        return convs

    def _state(self, j: int) -> State:
        if j >= 2:
            return State(self.out_H, self.out_W, 1)
        return State(self.H, self.W, 2 if self.reduction else 1)

    def _edge(self, source: int, node: int) -> Edge:
        state = self.states[source]
        edge = Edge(len(self.edges), source, node)
        for index, op in enumerate(self.ops[edge.index]):
            self._mixed(state, edge, index, op)
        if self.aux and state.stride == 2:
            self._reduction(state, edge, OUT, self.C)
        edge.aux = bool(self.aux) and state.stride == 1
        state.edges.append(edge)
        return edge

    def _mixed(self, state: State, edge: Edge, index: int, op: int) -> None:
        if op in (MAX_POOL, AVG_POOL):
            norm = self._take("norms" if self.pool_norm else "bare", self.M)
            if op == MAX_POOL:
                edge.max_op, edge.max_norm = index, norm
            else:
                edge.avg_op, edge.avg_norm = index, norm
        elif op == SKIP and state.stride == 1:
            edge.skip, edge.dropout = index, self._take("dropouts", 1)
        elif op == SKIP:
            self._reduction(state, edge, index, self.M)
        elif op != NONE:
            self._convolution(state, edge, index, op)

    def _half(self, kernel: int) -> Conv:
        M = self.M
        depthwise, pointwise = self._take("weights", M * kernel * kernel), self._take("weights", M * M)
        z = self._take("saved", M * self.out_pixels)
        return Conv(M, M, depthwise, pointwise, self._take("norms", M), z, kernel)

    def _convolution(self, state: State, edge: Edge, index: int, op: int) -> None:
        conv = self._half(SIDE[op])
        conv.dilation, conv.stride, conv.source = 2 if op in (DIL3, DIL5) else 1, state.stride, edge.source
        conv.edge, conv.op, conv.node = edge.index, index, edge.node
        state.convs.append(conv)
        if op in (SEP3, SEP5):
            second = self._half(SIDE[op])
            second.bits = self._bits(self.M, self.out_pixels)
            second.from_z, second.from_norm = conv.z, conv.norm
            second.edge, second.op, second.node = edge.index, index, edge.node
            second.middle = conv.middle = self._take("middles", 1)
            state.halves.append(second)
            conv = second
        edge.terms.append(Term(index, conv.norm, conv.z))

    def _reduction(self, state: State, edge: Edge, op: int, channels: int) -> None:
        half = channels // 2
        offsets = [self._take("weights", half * channels) for _ in range(2)]
        norm, z = self._take("norms", channels), self._take("saved", channels * self.out_pixels)
        for odd, pointwise in enumerate(offsets):
            at = odd * half
            conv = Conv(channels, half, OUT, pointwise, norm + at, z + at * self.out_pixels, stride=2, first=odd)
            conv.source, conv.edge, conv.op, conv.node, conv.channel = edge.source, edge.index, op, edge.node, at
            state.convs.append(conv)
        edge.terms.append(Term(op, norm, z))

    def _shared(self, state: State) -> None:
        """What the edges out of a state share: its ReLU, its pools."""
        if state.convs:
            state.bits = self._bits(self.M, state.height * state.width)
        for conv in state.convs:
            conv.bits = state.bits
        pooled = self.M * self.out_pixels
        if any(e.max_op != OUT for e in state.edges):
            state.max_z, state.codes = self._take("saved", pooled), self._codes(self.M)
        if any(e.avg_op != OUT for e in state.edges):
            state.avg_z = self._take("saved", pooled)
        for edge in state.edges:
            if not self.pool_norm:
                edge.max_norm, edge.avg_norm = self.measured + edge.max_norm, self.measured + edge.avg_norm
            if edge.max_op != OUT:
                edge.terms.append(Term(edge.max_op, edge.max_norm, state.max_z))
            if edge.avg_op != OUT:
                edge.terms.append(Term(edge.avg_op, edge.avg_norm, state.avg_z))
        rest = self.C - self.M
        if rest and state.stride == 2 and state.edges:
            state.bypass_z, state.bypass_codes = self._take("saved", rest * self.out_pixels), self._codes(rest)


@lru_cache(maxsize=256)
def plan_of(cell: tuple[int, ...], H: int, W: int) -> Plan:
    return Plan(cell, H, W)
