"""Launches of a cell's backward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import backward as device
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
from .configurations import tiles_of
from .launch import blocked, ceil_div
from .plan import OUT, Conv, Edge

IMAGE_GROUPS = 4  # whose weights' gradients are summed apart
TAPS = 25  # of the largest depthwise convolution
IMAGES, CHANNELS = 64, 16  # whose sums are added at a time


@dataclass
class Wanted:
    """Gradients to fill: of the inputs and the weights where they are wanted; zeros at first."""

    s: tuple[Tensor | None, Tensor | None]
    weights: bool
    op_weights: Tensor
    edge_weights: Tensor | None


@dataclass
class Planes:
    """Planes of every image: their tensor, and the step from image to image."""

    tensor: Tensor
    image: int


@dataclass
class Job:
    """A convolution to undo: the row of its forward, and where the gradient of its result lies."""

    conv: Conv
    row: tuple[int, ...]
    g: int
    step: int
    edge: int = OUT
    op: int = OUT


class Backward:
    def __init__(self, call: Call, saved: Saved, out: Tensor, grad: Tensor, training: bool, wanted: Wanted) -> None:
        self.call, self.saved, self.out, self.training, self.wanted = call, saved, out, training, wanted
        self.plan, self.device = call.plan, out.device
        plan = self.plan
        self.nodes = plan.nodes * plan.C * plan.out_pixels
        # Gradients of an image's nodes, then of the middles of separable convolutions.
        gradients = out.new_empty(call.images, self.nodes + plan.middles * plan.M * plan.out_pixels)
        gradients[:, : self.nodes] = grad.reshape(call.images, -1)
        self.g = Planes(gradients, gradients.shape[1])
        self.z = Planes(saved.planes, plan.saved)
        plane = plan.C * plan.H * plan.W
        self.state_grads = Planes(out.new_zeros(call.images, 2 * plan.preprocess * plane), 2 * plane)
        self.partial = out.new_empty(call.images, plan.norms, 2)
        self.slopes = out.new_zeros(call.V, 3, plan.norms)
        self.skips = out.new_empty(call.images, len(plan.edges), 3)
        self.groups = min(call.N, IMAGE_GROUPS)
        self.shares = out.new_empty(call.V, self.groups, plan.weights if wanted.weights else 0)

    def run(self) -> Tensor | None:
        """Fills what is wanted; returns the gradient of the weights (V, P), if it is."""
        self._node_sums(self.plan.nodes - 1)
        for j in range(self.plan.nodes, 1, -1):
            self._state([j])
            self._node_sums(j - 2)
        if self.wanted.weights or any(s is not None for s in self.wanted.s):
            self._state([0, 1])
            if self.plan.preprocess:
                self._inputs()
        self._mixture()
        return self.shares.sum(1) if self.wanted.weights else None

    def _state(self, indices: list[int]) -> None:
        """What states receive from the edges that leave them."""
        plan, states = self.plan, [self.plan.states[j] for j in indices]
        sources = [state_source(self.call, self.saved, self.out, j) for j in indices]
        pair = sources[0], sources[-1]
        self._halves([conv for state in states for conv in state.halves])
        jobs, targets = [], []
        for which, (j, state, source) in enumerate(zip(indices, states, sources, strict=True)):
            first = len(jobs)
            for conv in state.convs:
                row = conv_row(conv, which, state_offset(plan, j), source.norm, state.height, state.width)
                jobs.append(self._job(conv, row))
            targets.append((j, first, len(jobs) - first))
        undone, offsets = self._undo(jobs, self.g, self.z, plan.out_pixels)
        self._weights(jobs, pair, self.g, self.z, undone, offsets, plan.out_H, plan.out_W)
        for j, first, count in targets:
            state, to = plan.states[j], self._gradient_of(j)
            if count:
                row = (state_offset(plan, j), plan.M, state.bits, 0, count)
                some = range(first, first + count)
                self._gather(
                    [row],
                    [jobs[i] for i in some],
                    [offsets[i] for i in some],
                    undone,
                    to,
                    state.height,
                    state.width,
                    True,
                )
            self._rest(j, to)

    def _job(self, conv: Conv, row: tuple[int, ...]) -> Job:
        plan, pixels = self.plan, self.plan.out_pixels
        if conv.middle != OUT and conv.source != OUT:
            return Job(conv, row, self._middle(conv), pixels)
        step = plan.C // plan.M * pixels
        return Job(conv, row, conv.node * plan.C * pixels + conv.channel * step, step, conv.edge, conv.op)

    def _middle(self, conv: Conv) -> int:
        """Where the gradient of a separable convolution's middle lies."""
        return self.nodes + conv.middle * self.plan.M * self.plan.out_pixels

    def _halves(self, convs: list[Conv]) -> None:
        if not convs:
            return
        plan, pixels = self.plan, self.plan.out_pixels
        x = Source(self.saved.planes, self.call.N * plan.saved, plan.saved)
        jobs = [self._job(c, conv_row(c, 0, c.from_z, c.from_norm, plan.out_H, plan.out_W)) for c in convs]
        undone, offsets = self._undo(jobs, self.g, self.z, pixels)
        self._weights(jobs, (x, x), self.g, self.z, undone, offsets, plan.out_H, plan.out_W)
        rows = [(self._middle(c), plan.M, c.bits, i, 1) for i, c in enumerate(convs)]
        to = Source(self.g.tensor, self.call.N * self.g.image, self.g.image)
        self._gather(rows, jobs, offsets, undone, to, plan.out_H, plan.out_W, False)
        sums = [(self._middle(c), pixels, c.from_z, c.from_norm, plan.M) for c in convs]
        self._sums(sums, self.g, self.z, pixels)

    def _inputs(self) -> None:
        plan, pixels = self.plan, self.plan.H * self.plan.W
        plane = plan.C * pixels
        z = Planes(self.saved.states, 2 * plane)
        sums = [(which * plane, pixels, which * plane, norm, plan.C) for which, norm in enumerate(plan.state_norms)]
        self._sums(sums, self.state_grads, z, pixels)
        jobs = []
        for conv in plan.inputs:
            row = conv_row(conv, conv.source, 0, OUT, *plan.input_size(conv.source)[1:])
            jobs.append(Job(conv, row, conv.source * plane + conv.channel * pixels, pixels))
        undone, offsets = self._undo(jobs, self.state_grads, z, pixels)
        pair = self.call.input(0), self.call.input(1)
        self._weights(jobs, pair, self.state_grads, z, undone, offsets, plan.H, plan.W)
        for which, grad in enumerate(self.wanted.s):
            if grad is None:
                continue
            channels, height, width = plan.input_size(which)
            mine = [i for i, job in enumerate(jobs) if job.conv.source == which]
            row = (0, channels, jobs[mine[0]].conv.bits, 0, len(mine))
            to = Source(grad, grad.stride(0), grad.stride(1))
            self._gather([row], [jobs[i] for i in mine], [offsets[i] for i in mine], undone, to, height, width, False)

    def _gradient_of(self, j: int) -> Source:
        """Where the gradient of a state is summed."""
        plan = self.plan
        if j >= 2:
            return Source(self.g.tensor, self.call.N * self.g.image, self.g.image)
        if plan.preprocess:
            image = self.state_grads.image
            first = self.state_grads.tensor.view(-1)[j * plan.C * plan.H * plan.W :]
            return Source(first, self.call.N * image, image)
        grad = self.wanted.s[j]
        grad = torch.zeros_like(self.call.s[j], memory_format=torch.contiguous_format) if grad is None else grad
        return Source(grad, grad.stride(0), grad.stride(1))

    def _node_sums(self, node: int) -> None:
        plan, call, pixels = self.plan, self.call, self.plan.out_pixels
        step, edges = plan.C // plan.M * pixels, plan.in_edges(node)
        rows = [(node * plan.C * pixels, step, t.z, t.norm, plan.M) for e in edges for t in e.terms]
        self._sums(rows, self.g, self.z, pixels)
        x0, x1 = (state_source(call, self.saved, self.out, j) for j in range(2))
        skips = [(e.index, e.source, plan.states[e.source].bypass_z, e.skip, e.dropout, e.aux) for e in edges]
        block = tiles_of("skip_sums", self.device).block(plan.C, pixels)
        device.skip_sums_kernel[(len(skips), call.images)](
            *(x0.tensor, x1.tensor, x0.learner, x0.image, x1.learner, x1.image, x0.norm, x1.norm),
            *(self.out, self.nodes, self.saved.planes, plan.saved, self.saved.stats, plan.norms),
            *(self.g.tensor, self.g.image, call.dropout, call.dropout_scale, self.skips),
            *(table(tuple(skips), self.device), len(plan.edges), node, call.images, call.N, plan.C, plan.M, pixels),
            *(call.dropout is not None, block.channels, block.pixels),
            **block.options,
        )

    def _sums(self, rows: list[tuple[int, ...]], g: Planes, z: Planes, pixels: int) -> None:
        """What the norms need of the gradients of their results."""
        if not rows:
            return
        plan, call = self.plan, self.call
        most = max(row[4] for row in rows)
        block = tiles_of("sums", self.device).block(most, pixels)
        device.sums_kernel[(len(rows), call.images)](
            *(g.tensor, g.image, z.tensor, z.image, self.saved.stats, plan.norms, self.partial),
            *(table(tuple(rows), self.device), call.N, pixels, block.channels, block.pixels),
            **block.options,
        )
        for batch in (True, False):  # whether their statistics are the batch's
            some = tuple(row[3:] for row in rows if (self.training and row[3] < plan.measured) == batch)
            if not some:
                continue
            device.finish_sums_kernel[(len(some), call.V)](
                *(self.partial, self.saved.stats, self.slopes, table(some, self.device), call.N, plan.norms, pixels),
                *(batch, blocked(most, CHANNELS), blocked(call.N, IMAGES)),
            )

    def _rows(self, jobs: list[Job], offsets: list[int]) -> Rows:
        """As backward.undo_kernel reads them."""
        return tuple((*j.row, j.g, j.step, j.edge, j.op, o) for j, o in zip(jobs, offsets, strict=True))

    def _mixed(self) -> tuple[Tensor | int | float | None, ...]:
        call = self.call
        return call.op_weights, call.edge_weights, len(self.plan.edges), self.plan.width, call.skip_beta

    def _undo(self, jobs: list[Job], g: Planes, z: Planes, pixels: int) -> tuple[Tensor, list[int]]:
        """What the 1x1 convolutions' inputs receive, (images, ...), and where each job's begins."""
        offsets, total = [], 0
        for job in jobs:
            offsets.append(total)
            total += job.conv.ins * pixels
        undone = self.out.new_empty(self.call.images, total)
        if jobs:
            call, plan = self.call, self.plan
            tile = tile_of("undo", [job.conv for job in jobs], pixels, self.device)
            device.undo_kernel[(ceil_div(pixels, tile.pixels), len(jobs), call.images)](
                *(g.tensor, g.image, z.tensor, z.image, self.saved.stats, self.slopes, plan.norms),
                *(call.weights, call.weights.stride(0), *self._mixed(), undone, total),
                *(table(self._rows(jobs, offsets), self.device), call.N, pixels, call.edge_weights is not None),
                *(tile.ins, tile.outs, tile.pixels, tile.dot, products(call.precision, self.device)),
                **tile.options,
            )
        return undone, offsets

    def _weights(
        self,
        jobs: list[Job],
        sources: tuple[Source, Source],
        g: Planes,
        z: Planes,
        undone: Tensor,
        offsets: list[int],
        height: int,
        width: int,
    ) -> None:
        if not (self.wanted.weights and jobs):
            return
        call, plan, pixels = self.call, self.plan, height * width
        convs, parts = [job.conv for job in jobs], call.V * self.groups
        tile = tile_of("pointwise", convs, pixels, self.device)
        rows = table(self._rows(jobs, offsets), self.device)
        first, second = sources
        x = first.tensor, second.tensor, first.learner, first.image, second.learner, second.image
        pattern = self.saved.pattern, plan.pattern
        shares = self.shares, self.shares.shape[2], rows, call.N, self.groups, pixels, width
        ins = max(conv.ins for conv in convs)
        device.pointwise_kernel[(ceil_div(ins, tile.ins), len(jobs), parts)](
            *(*x, call.weights, call.weights.stride(0), g.tensor, g.image, z.tensor, z.image),
            *(self.saved.stats, self.slopes, plan.norms, *self._mixed(), *pattern, *shares),
            *(call.edge_weights is not None, tile.ins, tile.outs, tile.pixels, tile.dot),
            products(call.precision, self.device),
            **tile.options,
        )
        if all(conv.depthwise == OUT for conv in convs):
            return
        block = tiles_of("depthwise", self.device).block(ins, pixels)
        device.depthwise_kernel[(ceil_div(ins, block.channels) * TAPS, len(jobs), parts)](
            *(*x, undone, undone.shape[1], self.saved.stats, plan.norms, *pattern, *shares),
            *(block.channels, block.pixels),
            **block.options,
        )

    def _gather(
        self,
        rows: list[tuple[int, ...]],
        jobs: list[Job],
        offsets: list[int],
        undone: Tensor,
        to: Source,
        height: int,
        width: int,
        add: bool,
    ) -> None:
        """rows: targets, as backward.gather_kernel reads them."""
        call, plan, pixels = self.call, self.plan, height * width
        convs = [job.conv for job in jobs]
        ways = [
            (c.kernel, c.dilation, c.stride, c.first, c.depthwise, offset)
            for c, offset in zip(convs, offsets, strict=True)
        ]
        block = tiles_of("gather", self.device).block(rows[0][1], pixels)
        stride = convs[0].stride
        count = ceil_div(pixels, block.pixels) * ceil_div(rows[0][1], block.channels)
        device.gather_kernel[(count, len(rows), call.images)](
            *(undone, undone.shape[1], call.weights, call.weights.stride(0), self.saved.pattern, plan.pattern),
            *(to.tensor, to.learner, to.image, table(tuple(rows) + tuple(ways), self.device), 5 * len(rows), call.N),
            *(height, width, height // stride, width // stride, add, block.channels, block.pixels),
            **block.options,
        )

    def _rest(self, j: int, to: Source) -> None:
        plan, call = self.plan, self.call
        state, offset = plan.states[j], state_offset(plan, j)
        if not state.edges:
            return
        rows = tuple(self._way(edge) for edge in state.edges)
        pixels = state.height * state.width
        block = tiles_of("rest", self.device).block(plan.C, pixels)
        base = to.tensor.view(-1)[offset:] if offset else to.tensor
        device.rest_kernel[(ceil_div(pixels, block.pixels), ceil_div(plan.C, block.channels), call.images)](
            *(self.g.tensor, self.g.image, self.saved.planes, plan.saved, self.saved.stats, self.slopes, plan.norms),
            *(*self._mixed(), call.dropout, call.dropout_scale, self.saved.pattern, plan.pattern),
            *(base, to.learner, to.image, table(rows, self.device), len(rows)),
            *(state.max_z, state.avg_z, state.codes, state.bypass_codes, call.images, call.N, plan.C, plan.M),
            *(state.height, state.width, plan.out_H, plan.out_W, state.stride),
            *(call.dropout is not None, call.edge_weights is not None, block.channels, block.pixels),
            **block.options,
        )

    def _way(self, e: Edge) -> tuple[int, ...]:
        return e.index, e.node, e.skip, e.dropout, e.aux, e.max_op, e.max_norm, e.avg_op, e.avg_norm

    def _mixture(self) -> None:
        plan, call = self.plan, self.call
        edges, terms = [], []
        for edge in plan.edges:
            edges.append((edge.skip, edge.aux, len(edge.terms), len(terms)))
            terms += [(term.op, term.norm, plan.M) for term in edge.terms]
        device.mixture_kernel[(len(edges), call.V)](
            *(self.slopes, self.skips, call.op_weights, call.edge_weights),
            *(self.wanted.op_weights, self.wanted.edge_weights, table(tuple(edges + terms), self.device)),
            *(4 * len(edges), len(edges), plan.width, call.skip_beta, call.N, plan.norms),
            *(call.edge_weights is not None, blocked(plan.M, CHANNELS), blocked(call.N, IMAGES)),
        )
