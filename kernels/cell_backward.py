"""Launches of a cell's backward."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from ..ops.rows import Conv
from .alpha_beta_grad import alpha_beta_grad_kernel
from .arguments import Asked, Block, Channels, GradRows, Images, Pair, PerImage, Result, Shares, Size, Sums
from .cell import CellLaunches, Signature, block_of, twice
from .configurations import tiles_of
from .dgrad import input_grad_kernel, pointwise_dgrad_kernel
from .hidden_grad import hidden_grad_kernel
from .launch import REGISTERS, Slot, ceil_div
from .node_sums import node_sums_kernel
from .state_grad import state_grad_kernel
from .wgrad import depthwise_wgrad_kernel, pointwise_wgrad_kernel

IMAGE_GROUPS = 4  # of a learner; weights' gradients are partial sums over each, so that more blocks run at once
PARTS, CHANNELS = 256, 16  # whose sums are added at a time


class Wanted(NamedTuple):
    """Gradients that are asked for; those of operations' and edges' weights always are."""

    s0: bool
    s1: bool
    weights: bool


class Backward(CellLaunches):
    """training: the statistics were the batch's, so that they have gradients."""

    def __init__(self, signature: Signature, training: bool, wanted: Wanted) -> None:
        super().__init__(signature)
        program, N = self.program, self.N
        self.wanted, self.size = wanted, Size(program.out_H, program.out_W)
        self.groups = min(N, IMAGE_GROUPS)
        states = 2 * program.C * program.H * program.W
        self.gradients = twice(Slot("gradients"), N, program.gradients)  # of nodes and hidden activations
        self.y = Result(self.saved, PerImage(Slot("gradients"), program.gradients))
        self.y_states = Result(PerImage(Slot("states"), states), PerImage(Slot("state_grads"), states))
        self.grad_inputs = Pair(*(self._grad_input(which) for which in range(2)))
        self.grad_states = twice(Slot("state_grads"), N, states) if program.preprocess else self.grad_inputs
        self.shares = Shares(Slot("shares"), program.weights, self.groups)
        self.scratch = PerImage(self.buffer("scratch", self.images * program.scratch), program.scratch)
        self.rows = GradRows(*map(self.table, GradRows._fields))
        block = tiles_of("state_grad", self.device).block(program.M, max(program.out_pixels, program.H * program.W))
        self.block, self.options = Block(*block[:2]), block.options | REGISTERS
        self.mixed_groups = ceil_div(program.M, block.channels)
        self.sums = self._sums(program.measured if training else 0)
        # Arguments of all kernels with 1x1 convolutions, and of those that end with the sums over a node.
        self.of_products = {
            "norms": self.norms,
            "weights": self.weights,
            "mixture": self.mixture,
            "convs": self.rows.convs,
            "N": N,
        }
        self.of_nodes = {
            "x": self.sources,
            "out": self.out,
            "y": self.y,
            "norms": self.norms,
            "dropout": self.dropout,
            "sums": self.sums,
            "rows": self.rows,
            "shape": self.shape,
            "BLOCK": self.block,
        }
        self._node_sums(program.nodes - 1)
        for stage in range(program.nodes - 1, 0, -1):
            self._stage(stage)
        if any(wanted):
            self._stage(0)
            if program.preprocess and (wanted.s0 or wanted.s1):
                self._inputs()
        if wanted.weights:
            self._weights()
        self._alpha_beta()

    def _grad_input(self, which: int) -> Images:
        channels, height, width = self.program.input_size(which)
        image = channels * height * width
        return Images(Slot(f"grad_s{which}"), self.N * image, image)

    def _blocks(self, pixels: int) -> int:
        return ceil_div(pixels, self.block.pixels)

    def _sums(self, measured: int) -> Sums:
        program, images = self.program, self.images
        norms, edges, slots = program.norms, len(program.edges), program.nodes + 2
        parts = self._blocks(max(program.out_pixels, program.H * program.W))
        skip_parts = self.mixed_groups * self._blocks(program.out_pixels)
        blocks = self.buffer("block_sums", images * norms * parts * 2)
        of_images, skips = (
            self.buffer("image_sums", images * norms * 2),
            self.buffer("skips", images * edges * 3 * skip_parts),
        )
        behind = self.V * (norms + slots)
        self.tickets = behind + images * slots
        return Sums(blocks, of_images, skips, Slot("tickets"), parts, skip_parts, edges, slots, behind, measured)

    def _channels(self, node: int) -> Channels:
        """Of the norms on a node's in-edges."""
        return Channels(*self.program.node_norms[node], self.table("channels"))

    def _node_sums(self, node: int) -> None:
        program = self.program
        self.add(
            node_sums_kernel,
            (self._blocks(program.out_pixels), self.mixed_groups, self.images),
            self.options,
            channels=self._channels(node),
            node=node,
            pixels=program.out_pixels,
            **self.of_nodes,
        )

    def _stage(self, number: int) -> None:
        """What states receive from all that leaves them."""
        stage = self.program.stages[number]
        if stage.halves:
            self._hidden(stage.halves, stage.hidden)
        if stage.convs:
            self._pointwise_dgrad(stage.convs)
        self._state_grad(number)

    def _hidden(self, halves: range, hidden: range) -> None:
        program = self.program
        tile, options = self.tile_of("pointwise_dgrad", self.convs(halves), program.out_pixels)
        self.add(
            hidden_grad_kernel,
            (len(halves), self.images),
            options | REGISTERS,
            y=self.y,
            scratch=self.scratch,
            pattern=self.pattern,
            sums=self.sums,
            halves=self.table("halves"),
            first=hidden.start,
            size=self.size,
            TILE=tile,
            BLOCK=block_of(program.M, options["num_warps"]),
            **self.of_products,
        )

    def _pointwise_dgrad(self, convs: range) -> None:
        pixels = self.program.out_pixels
        tile, options = self.tile_of("pointwise_dgrad", self.convs(convs), pixels)
        self.add(
            pointwise_dgrad_kernel,
            (ceil_div(pixels, tile.pixels), len(convs), self.images),
            options,
            y=self.y,
            scratch=self.scratch,
            first=convs.start,
            pixels=pixels,
            TILE=tile,
            **self.of_products,
        )

    def _state_grad(self, number: int) -> None:
        """Of a stage's states; then the sums over the node that it is, or over preprocessed states."""
        program, states = self.program, self.program.stages[number].states
        row, node = program.states[states.start], number - 1
        source, is_node = Size(row.height, row.width), number > 0
        self.add(
            state_grad_kernel,
            (self._blocks(row.height * row.width), self.mixed_groups * len(states), self.images),
            self.options,
            states=self.y_states.z if program.preprocess else None,
            scratch=self.scratch,
            weights=self.weights,
            mixture=self.mixture,
            pattern=self.pattern,
            to=self.gradients if is_node else self.grad_states,
            channels=self._channels(node) if is_node else Channels(0, 0, 0, 0, self.table("channels")),
            first=states.start,
            node=node if is_node else program.nodes,  # the slot of the first state's sums
            is_node=int(is_node),  # not a bool, which Triton 3.6 interprets wrongly
            source=source,
            size=self.size,
            **self.of_nodes,
        )

    def _inputs(self) -> None:
        program = self.program
        size = Size(program.H, program.W)
        pixels = program.H * program.W
        tile, options = self.tile_of("pointwise_dgrad", self.convs(program.inputs), pixels)
        self.add(
            input_grad_kernel,
            (ceil_div(pixels, tile.pixels), len(program.inputs), self.images),
            options,
            y=self.y_states,
            pattern=self.pattern,
            to=self.grad_inputs,
            first=program.inputs.start,
            wanted=Asked(int(self.wanted.s0), int(self.wanted.s1)),
            size=size,
            TILE=tile,
            **self.of_products,
        )

    def _weights(self) -> None:
        program, split = self.program, self.program.stages[0].convs.stop
        if program.preprocess:
            picks, size = self.table("input_picks"), Size(program.H, program.W)
            self._pointwise_wgrad(self.convs(program.inputs), picks, self.inputs, self.inputs, 0, self.y_states, size)
        for name, x, later in (("firsts", self.sources, self.nodes), ("halves", self.hidden, self.hidden)):
            convs = [program.convs[pick.conv] for pick in getattr(program, name)]
            if convs:
                self._pointwise_wgrad(convs, self.table(name), x, later, split, self.y, self.size)
                self._depthwise_wgrad(convs, self.table(name), x, later, split)

    def _pointwise_wgrad(
        self, convs: list[Conv], picks: Any, x: Pair, later: Pair, split: int, y: Result, size: Size
    ) -> None:
        tile, options = self.tile_of("pointwise_wgrad", convs, size.height * size.width)
        self.add(
            pointwise_wgrad_kernel,
            (ceil_div(max(conv.ins for conv in convs), tile.ins), len(convs), self.V * self.groups),
            options | REGISTERS,
            x=x,
            later=later,
            y=y,
            pattern=self.pattern,
            shares=self.shares,
            picks=picks,
            split=split,
            size=size,
            TILE=tile,
            **self.of_products,
        )

    def _depthwise_wgrad(self, convs: list[Conv], picks: Any, x: Pair, later: Pair, split: int) -> None:
        ins, taps = max(conv.ins for conv in convs), max(conv.kernel**2 for conv in convs)
        if all(conv.depthwise < 0 for conv in convs):
            return
        block = tiles_of("depthwise_wgrad", self.device).block(ins, self.program.out_pixels)
        self.add(
            depthwise_wgrad_kernel,
            (ceil_div(ins, block.channels) * taps, len(convs), self.V * self.groups),
            block.options | REGISTERS,
            x=x,
            later=later,
            scratch=self.scratch,
            norms=self.norms,
            pattern=self.pattern,
            shares=self.shares,
            convs=self.rows.convs,
            picks=picks,
            split=split,
            N=self.N,
            size=self.size,
            taps=taps,
            BLOCK=Block(*block[:2]),
        )

    def _alpha_beta(self) -> None:
        program = self.program
        self.add(
            alpha_beta_grad_kernel,
            (len(program.edges), self.V),
            {},
            norms=self.norms,
            sums=self.sums,
            mixture=self.mixture,
            op_grads=Slot("op_grads"),
            edge_grads=Slot("edge_grads"),
            edges=self.rows.edges,
            terms=self.rows.terms,
            N=self.N,
            M=program.M,
            CHANNELS=CHANNELS,
            PARTS=PARTS,
        )


@lru_cache(maxsize=512)
def backward_launches(signature: Signature, training: bool, wanted: Wanted) -> Backward:
    return Backward(signature, training, wanted)
