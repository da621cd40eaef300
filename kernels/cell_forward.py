"""Launches of a cell's forward."""

from __future__ import annotations

from functools import lru_cache

from .arguments import Batch, Block, ForwardRows, ForwardWork, Pair, PerImage, Size, Some
from .cell import CellLaunches, Signature, block_of
from .combine import combine_kernel
from .configurations import tiles_of
from .launch import REGISTERS, Slot, ceil_div
from .stage import stage_kernel

NOTHING = range(0)


class Forward(CellLaunches):
    """replay: the pattern is read, not written; training: statistics are the batch's."""

    def __init__(self, signature: Signature, replay: bool, training: bool) -> None:
        super().__init__(signature)
        self.norms = self.norms._replace(grads=None)
        self.replay, self.training = replay, training
        program = self.program
        out = Size(program.out_H, program.out_W)
        self.rows = ForwardRows(*map(self.table, ("convs", "pools", "uses", "masks")))
        if program.preprocess:
            states = PerImage(Slot("states"), 2 * program.C * program.H * program.W)
            size = Size(program.H, program.W)
            self._stage(self.inputs, program.inputs, NOTHING, program.input_masks, states, size)
        for node, stage in enumerate(program.stages):
            self._stage(self.states(stage.states), stage.convs, stage.pools, stage.masks, self.saved, out)
            self._stage(self.hidden, stage.halves, NOTHING, stage.half_masks, self.saved, out)
            self._combine(node)

    def _stage(self, x: Pair, convs: range, pools: range, masks: range, z: PerImage, size: Size) -> None:
        if not (convs or pools):
            return
        pixels = size.height * size.width
        tile, options = self.tile_of("convolve", self.convs(convs), pixels)
        most = max((self._read(mask)[0] for mask in masks), default=self.program.M)
        pool, mask = (block_of(channels, options["num_warps"]) for channels in (self.program.M, most))
        work = ForwardWork(
            Some(convs.start, len(convs), ceil_div(pixels, tile.pixels)),
            self._pools(pools, size, pool),
            self._masks(NOTHING if self.replay else masks, mask),
        )
        self.add(
            stage_kernel,
            (sum(some.count * some.programs for some in work), self.images),
            options | REGISTERS,
            x=x,
            weights=self.weights,
            norms=self.norms,
            pattern=self.pattern,
            z=z,
            batch=self._batch(max(work.convs.programs, pool_blocks(size, pool) if pools else 0)),
            rows=self.rows,
            work=work,
            N=self.N,
            size=size,
            REPLAY=self.replay,
            TILE=tile,
            POOL_BLOCK=pool,
            MASK_BLOCK=mask,
        )

    def _pools(self, rows: range, size: Size, block: Block) -> Some:
        channels = max((self.program.pools[row].channels for row in rows), default=0)
        return Some(rows.start, len(rows), ceil_div(channels, block.channels) * pool_blocks(size, block))

    def _masks(self, rows: range, block: Block) -> Some:
        groups = [ceil_div(c, block.channels) * ceil_div(count, block.pixels) for c, count in map(self._read, rows)]
        return Some(rows.start, len(rows), max(groups, default=0))

    def _read(self, mask: int) -> tuple[int, int]:
        """Channels of what a ReLU reads, and bytes of the pattern of one."""
        conv = self.program.convs[self.program.masks[mask].conv]
        return conv.ins, conv.height * ceil_div(conv.width, 8)

    def _batch(self, blocks: int) -> Batch:
        """Of images of so many blocks at most."""
        if not self.training:
            return Batch(None, None, 0)
        partial = self.buffer("partial", self.images * self.program.norms * blocks * 2)
        return Batch(partial, Slot("tickets"), blocks)

    def _combine(self, node: int) -> None:
        program = self.program
        block = tiles_of("combine", self.device).block(program.C, program.out_pixels)
        self.add(
            combine_kernel,
            (ceil_div(program.out_pixels, block.pixels), ceil_div(program.C, block.channels), self.images),
            block.options,
            x=self.sources,
            out=self.out,
            saved=self.saved,
            norms=self.norms,
            mixture=self.mixture,
            dropout=self.dropout,
            edges=self.table("edges"),
            terms=self.table("terms"),
            node=node,
            pixels=program.out_pixels,
            shape=self.shape,
            BLOCK=Block(*block[:2]),
        )


def pool_blocks(size: Size, block: Block) -> int:
    """Of an image's places: a row of outputs has an even number."""
    return ceil_div(size.height * ceil_div(size.width, 2) * 2, block.pixels)


@lru_cache(maxsize=512)
def forward_launches(signature: Signature, replay: bool, training: bool) -> Forward:
    return Forward(signature, replay, training)
