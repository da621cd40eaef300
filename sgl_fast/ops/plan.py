"""One cell as a program: where weights, norms, saved activations and patterns lie, and the rows that say what to do.

The order of weights and norms is the canonical one, that of reference.cell.write_cell. A learner has `weights` floats
and `measured` channels of batch norms; with those of norms that change nothing, one for each pool that has no batch
norm, `norms`. An image leaves `saved` numbers, activations before their norms, and `pattern` bytes. Its gradients are
those of its nodes, then of the hidden activations of separable convolutions: `gradients` numbers.
"""

from __future__ import annotations

from functools import lru_cache

from ..spaces import CODES, OPERATIONS, Operation
from .gradient_rows import GradientRows
from .rows import OUT, Conv, Edge, Head, Mask, Pick, Pool, State, Term, Use
from .stages import MOST_PLACES, Source, Stage

MOST_OFFSET = 2**31 - 1


class Program(GradientRows):
    """cell: as ops.cell_numbers.numbers writes it; H, W: of the first two states. ValueError where a row cannot be."""

    def __init__(self, cell: tuple[int, ...], H: int, W: int) -> None:
        self.c_prev_prev, self.c_prev, self.C, self.nodes, self.partial, *rest = cell
        self.reduction, self.shrink0, self.aux, self.preprocess, self.pool_norm, self.width, *codes = rest
        self.ops = [codes[i : i + self.width] for i in range(0, len(codes), self.width)]
        self.M = self.C // self.partial  # channels that operations mix
        self.H, self.W = H, W
        self.out_H, self.out_W = (H // 2, W // 2) if self.reduction else (H, W)
        self.out_pixels = self.out_H * self.out_W
        self.weights = self.norms = self.measured = self.bare = self.saved = self.pattern = self.dropouts = 0
        self.scratch = 0  # numbers of an image
        self.gradients = self.nodes * self.C * self.out_pixels
        self.convs: list[Conv] = []
        self.pools: list[Pool] = []
        self.uses: list[Use] = []
        self.edges: list[Edge] = []
        self.terms: list[Term] = []
        self.states: list[State] = []
        self.masks: list[Mask] = []
        self.halves: list[Pick] = []  # second halves of separable convolutions
        self._added: list[list[Term]] = []  # to each edge
        self.inputs = self._inputs()
        self.input_masks = range(len(self.masks))
        self.sources = [self._source(j) for j in range(self.nodes + 2)]
        for node in range(self.nodes):
            for source in self.sources[: node + 2]:
                self._edge(source, node)
        self.measured = self.norms
        self.norms += self.bare
        for source in self.sources[:-1]:
            self._share(source)
        self._finish_edges()
        readers = (range(2), *(range(j, j + 1) for j in range(2, self.nodes + 1)))
        self.stages = [self._stage(states) for states in readers]
        self.out_edges = [edge for j in range(self.nodes + 2) for edge in self.state_edges(j)]
        self.input_picks = [Pick(row, OUT) for row in self.inputs]
        self.channels = self._channels()
        self.node_norms = [self._node_norms(node) for node in range(self.nodes)]
        self.firsts = [Pick(row, OUT) for stage in self.stages for row in stage.convs]  # all of the cell's
        if (most := max(*self.sizes, self.gradients, self.scratch, 2 * self.C * H * W)) > MOST_OFFSET:
            raise ValueError(f"need a cell whose offsets fit into 32 bits; got one of {most} numbers")

    @property
    def head(self) -> Head:
        norms = self.norms, self.measured
        kept = self.weights, *norms, self.saved, self.pattern, self.dropouts, len(self.inputs)
        pixels = self.H, self.W, self.out_H, self.out_W
        return Head(self.C, self.M, self.nodes, self.width, self.preprocess, *pixels, *kept)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Weights and norm channels of a learner, numbers and pattern bytes that an image leaves."""
        return self.weights, self.norms, self.saved, self.pattern

    def input_size(self, which: int) -> tuple[int, int, int]:
        """Channels, height and width of one of the cell's inputs."""
        if not self.preprocess:
            return self.C, self.H, self.W
        scale = 2 if self.shrink0 and which == 0 else 1
        return (self.c_prev_prev, self.c_prev)[which], scale * self.H, scale * self.W

    def state_convs(self, j: int) -> list[Conv]:
        """Convolutions that read a state."""
        return self.sources[j].convs

    def state_halves(self, j: int) -> list[Conv]:
        """Second halves of the separable ones among them."""
        return [conv for conv, _ in self.sources[j].halves]

    def state_edges(self, j: int) -> list[Edge]:
        """Edges out of a state."""
        return [self.edges[edge] for edge in self.sources[j].edges]

    def _take(self, what: str, count: int) -> int:
        before = int(getattr(self, what))
        setattr(self, what, before + count)
        return before

    def _mask(self, channels: int, height: int, width: int) -> int:
        """Room for a ReLU's pattern: a bit a pixel, whole bytes a row."""
        return self._take("pattern", channels * height * -(-width // 8))

    def _argmax(self, channels: int) -> int:
        """Room for what a max-pool chose: four bits an output, whole bytes a row."""
        return self._take("pattern", channels * self.out_H * -(-self.out_W // 2))

    def _source(self, j: int) -> Source:
        if j >= 2:
            return Source(0, (j - 2) * self.C * self.out_pixels, OUT, self.out_H, self.out_W, 1)
        stride = 2 if self.reduction else 1
        if not self.preprocess:
            return Source(j, 0, OUT, self.H, self.W, stride)
        norm = next(conv.norm for conv in self.convs if conv.reads == j)
        return Source(0, j * self.C * self.H * self.W, norm, self.H, self.W, stride)

    def _conv(self, x: Source, ins: int, outs: int, z: int, norm: int, **columns: int) -> Conv:
        """A 1x1 convolution, but for other columns; what its gradient and its stage say comes later."""
        common = {"relu_mask": x.mask, "depthwise": OUT, "kernel": 1, "dilation": 1, "stride": x.stride, "first": 0}
        later = {"grad": OUT, "grad_step": self.partial * self.out_pixels, "edge": OUT, "op": OUT, "scratch": 0}
        values = common | later | columns
        return Conv(x.reads, x.offset, x.norm_in, x.height, x.width, ins=ins, outs=outs, z=z, norm=norm, **values)

    def _inputs(self) -> range:
        """The preprocessing: ReLU, a 1x1 convolution (one for each half of the channels where it shrinks), a norm."""
        for which in range(2 * self.preprocess):
            ins, height, width = self.input_size(which)
            stride = 2 if self.shrink0 and which == 0 else 1
            outs, pixels = self.C // stride, self.H * self.W
            pointwise = [self._take("weights", outs * ins) for _ in range(stride)]
            norm, mask = self._take("norms", self.C), self._mask(ins, height, width)
            x = Source(which, 0, OUT, height, width, stride, mask=mask)
            self.masks.append(Mask(len(self.convs)))
            for half, weights in enumerate(pointwise):
                z = (which * self.C + half * outs) * pixels
                conv = self._conv(x, ins, outs, z, norm + half * outs, pointwise=weights, first=half)
                self.convs.append(conv._replace(grad=z, grad_step=pixels))
        return range(len(self.convs))

    def _append(self, conv: Conv) -> None:
        self.convs.append(conv._replace(scratch=self._take("scratch", conv.ins * self.out_pixels)))

    def _edge(self, source: Source, node: int) -> None:
        """The operations of an edge, and where their weights, norms and results lie."""
        index, once = len(self.edges), source.stride == 1
        reads = source.reads if source in self.sources[:2] else 2
        where = self.sources.index(source), reads, source.offset, source.norm_in
        edge = Edge(index, node, *where, OUT, OUT, int(self.aux and once), OUT, 0, 0)
        self._added.append([])
        for op, code in enumerate(self.ops[index]):
            row = OPERATIONS[CODES[code]]
            if row.pool:
                norm = self._take("norms" if self.pool_norm else "bare", self.M)
                source.pools.setdefault(code, []).append(Use(index, node, op, norm))
            elif row.skip and once:
                edge = edge._replace(skip=op, dropout=self._take("dropouts", 1))
            elif row.skip:
                self._reduction(source, edge, op, self.M)
            elif row.halves:
                self._convolution(source, edge, op, row)
        if self.aux and not once:
            self._reduction(source, edge, OUT, self.C)
        self.edges.append(edge)
        source.edges.append(index)

    def _reduction(self, source: Source, edge: Edge, op: int, channels: int) -> None:
        """Two 1x1 convolutions of stride 2, the second one pixel further, each for half of the channels; one norm."""
        outs, grad = channels // 2, edge.node * self.C * self.out_pixels
        pointwise = [self._take("weights", outs * channels) for _ in range(2)]
        norm, z = self._take("norms", channels), self._take("saved", channels * self.out_pixels)
        for half, weights in enumerate(pointwise):
            at = half * outs
            conv = self._conv(
                source, channels, outs, z + at * self.out_pixels, norm + at, pointwise=weights, first=half
            )
            source.convs.append(conv._replace(grad=grad + at * conv.grad_step, edge=edge.edge, op=op))
        self._added[-1].append(Term(op, norm, z))

    def _convolution(self, source: Source, edge: Edge, op: int, row: Operation) -> None:
        """The halves of an operation. What lies between two is a hidden activation, whose gradient has a place."""
        conv = self._half(source, row)
        grad = {"grad": edge.node * self.C * self.out_pixels, "edge": edge.edge, "op": op}
        if row.halves == 1:
            source.convs.append(conv._replace(**grad))
        else:
            hidden = self._take("gradients", self.M * self.out_pixels)
            source.convs.append(conv._replace(grad=hidden, grad_step=self.out_pixels))
            x = Source(0, conv.z, conv.norm, self.out_H, self.out_W, 1)
            conv = self._half(x, row)._replace(relu_mask=self._mask(self.M, self.out_H, self.out_W), **grad)
            source.halves.append((conv, hidden))
        self._added[-1].append(Term(op, conv.norm, conv.z))

    def _half(self, x: Source, row: Operation) -> Conv:
        M = self.M
        depthwise, pointwise = self._take("weights", M * row.kernel**2), self._take("weights", M * M)
        norm, z = self._take("norms", M), self._take("saved", M * self.out_pixels)
        kernel = {"kernel": row.kernel, "dilation": row.dilation, "depthwise": depthwise}
        return self._conv(x, M, M, z, norm, pointwise=pointwise, **kernel)

    def _share(self, source: Source) -> None:
        """What the edges out of a state share: its ReLU, its pools, its pooled bypassing channels."""
        if source.convs:
            source.mask = self._mask(self.M, source.height, source.width)
        first = len(self.pools)
        for code in sorted(source.pools):
            self._pool(source, code)
        pools, argmax = len(self.pools) - first, OUT
        if self.partial > 1 and source.stride == 2:
            argmax = self._bypass(source)
        source.pool_rows = range(first, len(self.pools))
        where = source.reads, source.offset, source.height, source.width, source.stride
        leaves = argmax, first, pools, sum(s.edges for s in self.states), len(source.edges)
        self.states.append(State(*where, *leaves, source.norm_in, source.mask, 0, 0, 0, 0))

    def _pool(self, source: Source, code: int) -> None:
        """The pool of a state: one result, with a norm for each edge that has it; their statistics are one."""
        row, M = OPERATIONS[CODES[code]], self.M
        if row.pool == "max" and row.kernel**2 > MOST_PLACES:
            raise ValueError(f"need max-pools of at most {MOST_PLACES} places; got {CODES[code]}")
        bare = 0 if self.pool_norm else self.measured
        uses = [use._replace(norm=use.norm + bare) for use in source.pools[code]]
        z = self._take("saved", M * self.out_pixels)
        argmax = self._argmax(M) if row.pool == "max" else OUT
        norm = uses[0].norm if self.pool_norm else OUT
        where = source.reads, source.offset, source.norm_in, source.height, source.width
        window = int(row.pool == "max"), row.kernel, row.padding, source.stride
        self.pools.append(Pool(*where, 0, M, *window, z, argmax, norm, len(self.uses), len(uses)))
        self.uses += uses
        for use in uses:
            self._added[use.edge].append(Term(use.op, use.norm, z))

    def _bypass(self, source: Source) -> int:
        """Windows of 2x2 of the channels that operations do not mix; returns where the pattern lies."""
        channels = self.C - self.M
        z, argmax = self._take("saved", channels * self.out_pixels), self._argmax(channels)
        where = source.reads, source.offset, source.norm_in, source.height, source.width
        self.pools.append(Pool(*where, self.M, channels, 1, 2, 0, 2, z, argmax, OUT, len(self.uses), 0))
        for edge in source.edges:
            self.edges[edge] = self.edges[edge]._replace(bypass=z)
        return argmax

    def _finish_edges(self) -> None:
        for index, added in enumerate(self._added):
            self.edges[index] = self.edges[index]._replace(first_term=len(self.terms), terms=len(added))
            self.terms += added

    def _stage(self, states: range) -> Stage:
        sources, first, hidden = [self.sources[j] for j in states], len(self.convs), len(self.halves)
        before = len(self.masks)
        for j, source in zip(states, sources, strict=True):
            if source.convs:
                self.masks.append(Mask(len(self.convs)))
            self.states[j] = self.states[j]._replace(first_conv=len(self.convs), convs=len(source.convs))
            for conv in source.convs:
                self._append(conv._replace(relu_mask=source.mask))
        convs, masks = range(first, len(self.convs)), range(before, len(self.masks))
        for j, source in zip(states, sources, strict=True):
            self.states[j] = self.states[j]._replace(first_half=len(self.convs), halves=len(source.halves))
            for conv, grad in source.halves:
                self.masks.append(Mask(len(self.convs)))
                self.halves.append(Pick(len(self.convs), grad))
                self._append(conv)
        halves, hiddens = range(convs.stop, len(self.convs)), range(hidden, len(self.halves))
        pools = range(sources[0].pool_rows.start, sources[-1].pool_rows.stop)
        return Stage(states, convs, halves, pools, hiddens, masks, range(masks.stop, len(self.masks)))


@lru_cache(maxsize=1024)
def program_of(cell: tuple[int, ...], H: int, W: int) -> Program:
    return Program(cell, H, W)
