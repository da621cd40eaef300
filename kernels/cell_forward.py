"""Launches of a cell's forward."""

from __future__ import annotations

from functools import lru_cache

from .arguments import Block, Pair, PerImage, Size
from .cell import CellLaunches, Signature
from .combine import combine_kernel
from .configurations import tiles_of
from .convolve import convolve_kernel, record_kernel
from .launch import Slot, ceil_div
from .norms import norm_moments_kernel
from .pool import pool_kernel

PARTS = 64  # blocks of pixels whose statistics are added at a time
MOST_CHANNELS = 4  # whose statistics are


class Forward(CellLaunches):
    """replay: the pattern is read, not written; training: statistics are the batch's."""

    def __init__(self, signature: Signature, replay: bool, training: bool) -> None:
        super().__init__(signature)
        self.norms = self.norms._replace(grads=None)
        self.replay, self.training = replay, training
        program = self.program
        if program.preprocess:
            self._preprocess()
        for node, stage in enumerate(program.stages):
            x = self.states(stage.states)
            for row in () if replay else stage.masks:
                self._record(x, range(row, row + 1))
            self._pool(x, stage.pools, stage.moments)
            self._convolve(x, stage.convs, self.saved, program.out_H, program.out_W)
            if stage.halves and not replay:
                self._record(self.hidden, stage.halves)
            self._convolve(self.hidden, stage.halves, self.saved, program.out_H, program.out_W)
            self._combine(node)

    def _preprocess(self) -> None:
        program = self.program
        firsts = {program.convs[row].reads: row for row in reversed(program.inputs)}
        for row in () if self.replay else sorted(firsts.values()):
            self._record(self.inputs, range(row, row + 1))
        states = PerImage(Slot("states"), 2 * program.C * program.H * program.W)
        self._convolve(self.inputs, program.inputs, states, program.H, program.W)

    def _record(self, x: Pair, rows: range) -> None:
        conv = self.program.convs[rows.start]
        count = conv.height * ceil_div(conv.width, 8)  # bytes
        block = tiles_of("record", self.device).block(conv.ins, count)
        grid = ceil_div(conv.ins, block.channels) * ceil_div(count, block.pixels), len(rows), self.images
        self.add(
            record_kernel,
            grid,
            block.options,
            x=x,
            norms=self.norms,
            pattern=self.pattern,
            convs=self.table("convs"),
            first=rows.start,
            N=self.N,
            size=Size(conv.height, conv.width),
            BLOCK=Block(*block[:2]),
        )

    def _partial(self, blocks: int) -> Slot:
        """Of each image's blocks of pixels: mean and sum of squared deviations of every norm's channels."""
        return self.buffer("partial", self.images * self.program.norms * blocks * 2)

    def _convolve(self, x: Pair, rows: range, z: PerImage, height: int, width: int) -> None:
        if not rows:
            return
        tile, options = self.tile_of("convolve", rows, height * width)
        blocks = ceil_div(height * width, tile.pixels)
        self.add(
            convolve_kernel,
            (blocks, len(rows), self.images),
            options,
            x=x,
            weights=self.weights,
            norms=self.norms,
            pattern=self.pattern,
            z=z,
            partial=self._partial(blocks),
            convs=self.table("convs"),
            first=rows.start,
            N=self.N,
            size=Size(height, width),
            REPLAY=self.replay,
            TILE=tile,
        )
        first = self.program.conv_moments
        moments = range(first + rows.start, first + rows.stop)
        self._moments(moments, blocks, Size(height, width), width, tile.pixels)

    def _pool(self, x: Pair, rows: range, moments: range) -> None:
        if not rows:
            return
        program, size = self.program, Size(self.program.out_H, self.program.out_W)
        columns, channels = ceil_div(size.width, 2) * 2, max(program.pools[row].channels for row in rows)
        pool = program.pools[rows.start]
        block = tiles_of("pool", self.device).block(channels, size.height * columns, least=2)
        blocks = ceil_div(size.height * columns, block.pixels)
        self.add(
            pool_kernel,
            (blocks * ceil_div(channels, block.channels), len(rows), self.images),
            block.options,
            x=x,
            norms=self.norms,
            pattern=self.pattern,
            saved=self.saved,
            partial=self._partial(blocks),
            pools=self.table("pools"),
            first=rows.start,
            N=self.N,
            source=Size(pool.height, pool.width),
            size=size,
            replay=self.replay,
            BLOCK=Block(*block[:2]),
        )
        self._moments(moments, blocks, size, columns, block.pixels)

    def _moments(self, rows: range, blocks: int, size: Size, columns: int, block: int) -> None:
        if not (self.training and rows):
            return
        self.add(
            norm_moments_kernel,
            (len(rows), self.V),
            {},
            partial=self._partial(blocks),
            norms=self.norms,
            moments=self.table("moments"),
            first=rows.start,
            N=self.N,
            blocks=blocks,
            size=size,
            block=block,
            COLUMNS=columns if columns > size.width else 0,
            CHANNELS=MOST_CHANNELS,
            PARTS=PARTS,
        )

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


@lru_cache(maxsize=512)
def forward_launches(signature: Signature, replay: bool, training: bool) -> Forward:
    return Forward(signature, replay, training)
