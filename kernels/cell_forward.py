"""Launches of a cell's forward."""

from __future__ import annotations

from torch import Tensor

from . import forward as device
from .cell import (
    Call,
    Rows,
    Saved,
    Source,
    conv_row,
    products,
    state_offset,
    state_source,
    table,
    tile_of,
)
from .configurations import Block, tiles_of
from .launch import blocked, ceil_div
from .plan import OUT, Conv, State

PARTS = 64  # blocks of pixels whose statistics are added at a time
MOST_CHANNELS = 4  # whose statistics are


class Forward:
    """replay: saved.pattern is read, not written; training: statistics are the batch's."""

    def __init__(self, call: Call, saved: Saved, out: Tensor, replay: bool, training: bool) -> None:
        self.call, self.saved, self.out, self.replay, self.training = call, saved, out, replay, training
        self.plan, self.device = call.plan, out.device

    def run(self) -> None:
        if not self.training:
            _, scale, variance = self.saved.stats[..., : self.plan.measured].unbind(1)
            scale.copy_((variance + device.EPS.value).rsqrt())
        self._preprocess()
        self._sources([0, 1])
        for node in range(self.plan.nodes):
            self._combine(node)
            if node + 1 < self.plan.nodes:
                self._sources([node + 2])

    def _preprocess(self) -> None:
        plan, call = self.plan, self.call
        if not plan.preprocess:
            return
        inputs = (call.input(0), call.input(1))
        for which in range(2):
            channels, height, width = plan.input_size(which)
            bits = next(conv.bits for conv in plan.inputs if conv.source == which)
            self._record(inputs[which], [(0, OUT, channels, bits, height * width)], height * width)
        rows = [conv_row(c, c.source, 0, OUT, *plan.input_size(c.source)[1:]) for c in plan.inputs]
        self._convolve(plan.inputs, tuple(rows), inputs, self.saved.states, plan.H, plan.W)

    def _sources(self, indices: list[int]) -> None:
        """What the edges out of these states need: convolutions, then second halves of separable ones; pools."""
        plan, states = self.plan, [self.plan.states[j] for j in indices]
        sources = [state_source(self.call, self.saved, self.out, j) for j in indices]
        convs, rows = [], []
        for which, (j, state, source) in enumerate(zip(indices, states, sources, strict=True)):
            offset = state_offset(plan, j)
            if state.convs:
                pixels = state.height * state.width
                self._record(source, [(offset, source.norm, self._active(state), state.bits, pixels)], pixels)
            for conv in state.convs:
                convs.append(conv)
                rows.append(conv_row(conv, which, offset, source.norm, state.height, state.width))
            self._pool(state, source, offset)
        pair = (sources[0], sources[-1])
        if convs:
            self._convolve(convs, tuple(rows), pair, self.saved.planes, plan.out_H, plan.out_W)
        self._halves([conv for state in states for conv in state.halves])

    def _active(self, state: State) -> int:
        return max(conv.ins for conv in state.convs)

    def _halves(self, convs: list[Conv]) -> None:
        if not convs:
            return
        plan, planes = self.plan, Source(self.saved.planes, self.call.N * self.plan.saved, self.plan.saved)
        pixels = plan.out_pixels
        self._record(planes, [(c.from_z, c.from_norm, plan.M, c.bits, pixels) for c in convs], pixels)
        rows = [conv_row(c, 0, c.from_z, c.from_norm, plan.out_H, plan.out_W) for c in convs]
        self._convolve(convs, tuple(rows), (planes, planes), self.saved.planes, plan.out_H, plan.out_W)

    def _record(self, x: Source, rows: list[tuple[int, ...]], pixels: int) -> None:
        if self.replay:
            return
        count = ceil_div(pixels, 8)  # bytes
        block = tiles_of("record", self.device).block(rows[0][2], count)
        grid = (ceil_div(rows[0][2], block.channels) * ceil_div(count, block.pixels), len(rows), self.call.images)
        device.record_kernel[grid](
            *(x.tensor, x.learner, x.image, self.saved.stats, self.plan.norms, self.saved.pattern, self.plan.pattern),
            *(table(tuple(rows), self.device), self.call.N, pixels, block.channels, block.pixels),
            **block.options,
        )

    def _convolve(
        self, convs: list[Conv], rows: Rows, sources: tuple[Source, Source], z: Tensor, height: int, width: int
    ) -> None:
        plan, call, pixels = self.plan, self.call, height * width
        tile = tile_of("convolve", convs, pixels, self.device)
        count = ceil_div(pixels, tile.pixels)
        partial = self._partial(count)
        first, second = sources
        device.convolve_kernel[(count, len(rows), call.images)](
            *(first.tensor, second.tensor, first.learner, first.image, second.learner, second.image),
            *(call.weights, call.weights.stride(0), self.saved.stats, plan.norms, self.saved.pattern, plan.pattern),
            *(z, z[0, 0].numel(), partial, table(rows, self.device), call.N, height, width, self.replay),
            *(tile.ins, tile.outs, tile.pixels, tile.dot, products(call.precision, self.device)),
            **tile.options,
        )
        self._finish([(c.norm, c.norm, c.outs) for c in convs], partial, pixels, tile.pixels)

    def _pool(self, state: State, x: Source, offset: int) -> None:
        plan, call, pixels = self.plan, self.call, self.plan.out_pixels
        maxes = [e.max_norm for e in state.edges if e.max_op != OUT]
        means = [e.avg_norm for e in state.edges if e.avg_op != OUT]
        base = x.tensor.reshape(-1)[offset:] if offset else x.tensor
        start = base, x.learner, x.image, self.saved.stats, plan.norms, x.norm, self.saved.pattern, plan.pattern
        sizes = state.height, state.width, plan.out_H, plan.out_W
        if maxes or means:
            block = tiles_of("pool", self.device).block(plan.M, pixels, least=2)
            partial = self._partial(ceil_div(pixels, block.pixels))
            device.pool_kernel[self._grid(plan.M, pixels, block)](
                *start,
                *(self.saved.planes, plan.saved, partial, state.max_z, maxes[0] if maxes else OUT),
                *(state.avg_z, means[0] if means else OUT, state.codes, call.N, plan.M, *sizes, state.stride),
                *(self.replay, block.channels, block.pixels),
                **block.options,
            )
            rows = [(norms[0], norm, plan.M) for norms in (maxes, means) for norm in norms if plan.pool_norm]
            self._finish(rows, partial, pixels, block.pixels)
        if state.bypass_z != OUT:
            block = tiles_of("bypass", self.device).block(plan.C - plan.M, pixels, least=2)
            device.bypass_kernel[self._grid(plan.C - plan.M, pixels, block)](
                *start,
                *(self.saved.planes, plan.saved, state.bypass_z, state.bypass_codes, call.N, plan.M, plan.C, *sizes),
                *(self.replay, block.channels, block.pixels),
                **block.options,
            )

    def _grid(self, channels: int, pixels: int, block: Block) -> tuple[int, int, int]:
        return ceil_div(pixels, block.pixels), ceil_div(channels, block.channels), self.call.images

    def _partial(self, count: int) -> Tensor:
        """Of each image's blocks of pixels: mean and sum of squared deviations of every norm's channels."""
        return self.out.new_empty(self.call.images, self.plan.norms, count, 2)

    def _finish(self, rows: list[tuple[int, ...]], partial: Tensor, pixels: int, tile: int) -> None:
        if not (self.training and rows):
            return
        size, channels = float(self.call.N * pixels), blocked(max(row[2] for row in rows), MOST_CHANNELS)
        device.finish_norms_kernel[(len(rows), self.call.V)](
            *(partial, self.saved.stats, table(tuple(rows), self.device), self.call.N, self.plan.norms),
            *(partial.shape[2], pixels, size, tile, channels, PARTS),
        )

    def _combine(self, node: int) -> None:
        plan, call, pixels = self.plan, self.call, self.plan.out_pixels
        edges, terms = [], []
        for edge in plan.in_edges(node):
            bypass = plan.states[edge.source].bypass_z
            edges.append(
                (edge.index, edge.source, bypass, edge.skip, edge.dropout, edge.aux, len(edge.terms), len(terms))
            )
            terms += [(term.op, term.norm, term.z) for term in edge.terms]
        x0, x1 = (state_source(call, self.saved, self.out, j) for j in range(2))
        block = tiles_of("combine", self.device).block(plan.C, pixels)
        device.combine_kernel[self._grid(plan.C, pixels, block)](
            *(x0.tensor, x1.tensor, x0.learner, x0.image, x1.learner, x1.image, x0.norm, x1.norm),
            *(self.out, plan.nodes * plan.C * pixels, self.saved.planes, plan.saved, self.saved.stats, plan.norms),
            *(call.op_weights, call.edge_weights, len(plan.edges), plan.width, call.skip_beta),
            *(call.dropout, call.dropout_scale, table(tuple(edges + terms), self.device), len(edges), node),
            *(call.images, call.N, plan.C, plan.M, pixels),
            *(call.dropout is not None, call.edge_weights is not None, block.channels, block.pixels),
            **block.options,
        )
