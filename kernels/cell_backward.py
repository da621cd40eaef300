"""Launches of a cell's backward."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from .alpha_beta_grad import alpha_beta_grad_kernel, skip_sums_kernel
from .arguments import Block, Images, Pair, PerImage, Result, Shares, Size, StateRows
from .cell import CellLaunches, Signature, twice
from .configurations import tiles_of
from .dgrad import depthwise_dgrad_kernel, pointwise_dgrad_kernel
from .launch import Slot, block_size, ceil_div
from .norms import dy_sums_kernel, mean_dy_kernel
from .pool_skip_dgrad import pool_skip_dgrad_kernel
from .wgrad import depthwise_wgrad_kernel, pointwise_wgrad_kernel

IMAGE_GROUPS = 4  # of a learner; weights' gradients are partial sums over each, so that more blocks run at once
IMAGES, CHANNELS = 64, 16  # whose sums are added at a time


class Wanted(NamedTuple):
    """Gradients that are asked for; those of operations' and edges' weights always are."""

    s0: bool
    s1: bool
    weights: bool


class Stage(NamedTuple):
    """Where a stage of the backward reads and writes.

    x   what its convolutions read, `size` the pixels of their results y
    to  gradients of x
    """

    x: Pair
    y: Result
    size: Size
    to: Pair


class Backward(CellLaunches):
    """training: the statistics were the batch's, so that they have gradients."""

    def __init__(self, signature: Signature, training: bool, wanted: Wanted) -> None:
        super().__init__(signature)
        program, N = self.program, self.N
        self.wanted, self.measured = wanted, program.measured if training else 0
        self.groups = min(N, IMAGE_GROUPS)
        states, self.size = 2 * program.C * program.H * program.W, Size(program.out_H, program.out_W)
        self.gradients = twice(Slot("gradients"), N, program.gradients)  # of nodes and hidden activations
        self.y = Result(self.saved, PerImage(Slot("gradients"), program.gradients))
        self.y_states = Result(PerImage(Slot("states"), states), PerImage(Slot("state_grads"), states))
        self.grad_inputs = Pair(*(self._grad_input(which) for which in range(2)))
        grad_states = twice(Slot("state_grads"), N, states) if program.preprocess else self.grad_inputs
        self.shares = Shares(Slot("shares"), program.weights, self.groups)
        self.skip_sums = PerImage(Slot("skip_sums"), len(program.edges) * 3)
        self._node(program.nodes - 1)
        for j in range(program.nodes, 1, -1):
            self._stage(j - 1, Stage(self.nodes, self.y, self.size, self.gradients))
            self._node(j - 2)
        if any(wanted):
            self._stage(0, Stage(self.sources, self.y, self.size, grad_states))
            if program.preprocess:
                self._inputs()
        self._alpha_beta()

    def _grad_input(self, which: int) -> Images:
        channels, height, width = self.program.input_size(which)
        image = channels * height * width
        return Images(Slot(f"grad_s{which}"), self.N * image, image)

    def _stage(self, number: int, at: Stage) -> None:
        """What states receive from all that leaves them."""
        stage, program = self.program.stages[number], self.program
        if stage.halves:
            hidden = at._replace(x=self.hidden, to=self.gradients)
            self._convolutions(stage.halves, hidden)
            self._depthwise_dgrad(stage.hidden, stage.halves, self.gradients, add=False)
            self._norms(stage.hidden, self.y, program.out_pixels)
        if stage.convs:
            self._convolutions(stage.convs, at)
            first = program.state_targets
            targets = range(first + stage.states.start, first + stage.states.stop)
            self._depthwise_dgrad(targets, stage.convs, at.to, add=True)
        self._pool_skip_dgrad(stage.states, at.to)

    def _inputs(self) -> None:
        program = self.program
        size = Size(program.H, program.W)
        self._norms(program.input_grads, self.y_states, program.H * program.W)
        self._convolutions(program.inputs, Stage(self.inputs, self.y_states, size, self.grad_inputs))
        for which, wanted in enumerate(self.wanted[:2]):
            if wanted:
                target = program.input_targets + which
                self._depthwise_dgrad(range(target, target + 1), program.inputs, self.grad_inputs, add=False)

    def _convolutions(self, rows: range, at: Stage) -> None:
        """What 1x1 convolutions give back to their inputs, and the gradients of all weights."""
        pixels = at.size.height * at.size.width
        tile, options = self.tile_of("pointwise_dgrad", rows, pixels)
        self.add(
            pointwise_dgrad_kernel,
            (ceil_div(pixels, tile.pixels), len(rows), self.images),
            options,
            y=at.y,
            norms=self.norms,
            weights=self.weights,
            mixture=self.mixture,
            scratch=self._scratch(rows, pixels),
            convs=self.table("convs"),
            first=rows.start,
            N=self.N,
            pixels=pixels,
            TILE=tile,
        )
        if self.wanted.weights:
            self._pointwise_wgrad(rows, at, pixels)
            self._depthwise_wgrad(rows, at, pixels)

    def _scratch(self, rows: range, pixels: int) -> PerImage:
        count = self.program.scratch(rows, pixels)
        return PerImage(self.buffer("scratch", self.images * count), count)

    def _pointwise_wgrad(self, rows: range, at: Stage, pixels: int) -> None:
        tile, options = self.tile_of("pointwise_wgrad", rows, pixels)
        ins = max(conv.ins for conv in self.program.convs[rows.start : rows.stop])
        self.add(
            pointwise_wgrad_kernel,
            (ceil_div(ins, tile.ins), len(rows), self.V * self.groups),
            options,
            x=at.x,
            weights=self.weights,
            y=at.y,
            norms=self.norms,
            mixture=self.mixture,
            pattern=self.pattern,
            shares=self.shares,
            convs=self.table("convs"),
            first=rows.start,
            N=self.N,
            size=at.size,
            TILE=tile,
        )

    def _depthwise_wgrad(self, rows: range, at: Stage, pixels: int) -> None:
        convs = self.program.convs[rows.start : rows.stop]
        if all(conv.depthwise < 0 for conv in convs):
            return
        ins, taps = max(conv.ins for conv in convs), max(conv.kernel**2 for conv in convs)
        block = tiles_of("depthwise_wgrad", self.device).block(ins, pixels)
        self.add(
            depthwise_wgrad_kernel,
            (ceil_div(ins, block.channels) * taps, len(rows), self.V * self.groups),
            block.options,
            x=at.x,
            scratch=self._scratch(rows, pixels),
            norms=self.norms,
            pattern=self.pattern,
            shares=self.shares,
            convs=self.table("convs"),
            first=rows.start,
            N=self.N,
            size=at.size,
            taps=taps,
            BLOCK=Block(*block[:2]),
        )

    def _depthwise_dgrad(self, targets: range, convs: range, to: Pair, add: bool) -> None:
        """targets: of one size, what the convolutions of these rows read"""
        row = self.program.targets[targets.start]
        pixels = row.height * row.width
        block = tiles_of("depthwise_dgrad", self.device).block(row.channels, pixels)
        results = self.program.H * self.program.W if convs == self.program.inputs else self.program.out_pixels
        self.add(
            depthwise_dgrad_kernel,
            (ceil_div(pixels, block.pixels) * ceil_div(row.channels, block.channels), len(targets), self.images),
            block.options,
            scratch=self._scratch(convs, results),
            weights=self.weights,
            pattern=self.pattern,
            to=to,
            targets=self.table("targets"),
            convs=self.table("convs"),
            first=targets.start,
            N=self.N,
            size=Size(row.height, row.width),
            add=add,
            BLOCK=Block(*block[:2]),
        )

    def _pool_skip_dgrad(self, states: range, to: Pair) -> None:
        program = self.program
        state = program.states[states.start]
        pixels = state.height * state.width
        block = tiles_of("pool_skip_dgrad", self.device).block(program.C, pixels)
        self.add(
            pool_skip_dgrad_kernel,
            (ceil_div(pixels, block.pixels), ceil_div(program.C, block.channels) * len(states), self.images),
            block.options,
            y=self.y,
            norms=self.norms,
            mixture=self.mixture,
            dropout=self.dropout,
            pattern=self.pattern,
            to=to,
            rows=StateRows(*map(self.table, ("states", "pools", "uses", "out_edges"))),
            first=states.start,
            source=Size(state.height, state.width),
            size=self.size,
            shape=self.shape,
            BLOCK=Block(*block[:2]),
        )

    def _node(self, node: int) -> None:
        """What the weights of a node's operations and edges, and the norms of their results, need of its gradient."""
        program = self.program
        self._norms(program.node_grads[node], self.y, program.out_pixels)
        block = tiles_of("skip_sums", self.device).block(program.C, program.out_pixels)
        self.add(
            skip_sums_kernel,
            (node + 2, self.images),
            block.options,
            x=self.sources,
            out=self.out,
            y=self.y,
            norms=self.norms,
            dropout=self.dropout,
            partial=self.skip_sums,
            edges=self.table("edges"),
            node=node,
            pixels=program.out_pixels,
            shape=self.shape,
            BLOCK=Block(*block[:2]),
        )

    def _norms(self, rows: range, y: Result, pixels: int) -> None:
        """The means that the backward of norms needs, of rows of norm_grads."""
        if not rows:
            return
        most = max(row.channels for row in self.program.norm_grads[rows.start : rows.stop])
        block = tiles_of("dy_sums", self.device).block(most, pixels)
        partial = self.buffer("partial", self.images * self.program.norms * 2)
        given = {
            "norms": self.norms,
            "rows": self.table("norm_grads"),
            "first": rows.start,
            "N": self.N,
            "pixels": pixels,
        }
        shape = Block(*block[:2])
        self.add(dy_sums_kernel, (len(rows), self.images), block.options, y=y, partial=partial, BLOCK=shape, **given)
        sizes = {"CHANNELS": CHANNELS, "IMAGES": block_size(self.N, IMAGES)}
        self.add(mean_dy_kernel, (len(rows), self.V), {}, partial=partial, measured=self.measured, **sizes, **given)

    def _alpha_beta(self) -> None:
        program = self.program
        self.add(
            alpha_beta_grad_kernel,
            (len(program.edges), self.V),
            {},
            norms=self.norms,
            partial=self.skip_sums,
            mixture=self.mixture,
            op_grads=Slot("op_grads"),
            edge_grads=Slot("edge_grads"),
            edges=self.table("edges"),
            terms=self.table("terms"),
            N=self.N,
            M=program.M,
            CHANNELS=CHANNELS,
            IMAGES=block_size(self.N, IMAGES),
        )


@lru_cache(maxsize=512)
def backward_launches(signature: Signature, training: bool, wanted: Wanted) -> Backward:
    return Backward(signature, training, wanted)
