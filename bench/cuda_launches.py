"""The launches of a cell's forward and backward on CUDA, and what each computes and asks of memory.

ReLU patterns, pool codes, weights and statistics, a few percent, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from sgl_fast.ops.plan import Program
from sgl_fast.ops.rows import OUT

from . import cuda_jobs as jobs_of
from .cuda_jobs import IMAGE_GROUPS, MATRIX, SWEEP, THREADS, Job, Target, Tiling, ceil

Key = tuple[bool, int]


@dataclass
class Work:
    """Of one image. asked: floats loaded and stored, repeats counted (an upper bound on traffic); distinct: each
    address once (the lower bound, a perfect cache); products: operations of tensor cores."""

    flops: float = 0
    asked: float = 0
    distinct: float = 0
    products: float = 0

    def __add__(self, more: Work) -> Work:
        return Work(*(a + b for a, b in zip(vars(self).values(), vars(more).values(), strict=True)))


@dataclass
class Launch:
    """A launch over all images: floating-point operations, those of tensor cores, bytes; blocks, shared bytes."""

    kernel: str
    flops: float
    products: float
    asked: float
    distinct: float
    blocks: int
    shared: int


def overlap(rows: int, band: int, reach: int) -> float:
    """Rows that bands read with `reach` more to either side, over those that there are."""
    return sum(min(rows, y + band + reach) - max(0, y - reach) for y in range(0, rows, band)) / rows


class CellLaunches:
    """Of a cell, V learners, N images; training, with the gradients of both inputs; kept: floats a saved number."""

    def __init__(self, plan: Program, V: int, N: int, half: bool = False) -> None:
        self.plan, self.V, self.N, self.images = plan, V, N, V * N
        self.kept = 0.5 if half else 1.0
        self.C, self.M, self.pixels = plan.C, plan.M, plan.out_pixels
        self.launches: list[Launch] = []

    def _launch(self, kernel: str, blocks: int, floats: int, work: Work, images: int | None = None) -> None:
        n = self.images if images is None else images
        moved = 4 * n * work.asked, 4 * n * work.distinct
        self.launches.append(Launch(kernel, n * work.flops, n * work.products, *moved, blocks, 4 * floats))

    def _conv(self, job: Job, flops: float, sweeps: int, loads: int, fresh: bool) -> Work:
        """Outputs in sweeps, planes brought in `loads` times; a 1x1 convolution reads for itself, once a sweep."""
        pixels = job.H_out * job.W_out
        kept = self.kept if job.kind == "saved" else 1
        planes = kept * job.conv.ins * job.H_in * job.W_in
        z = (1 if job.kind == "input" else self.kept) * job.conv.outs * pixels
        read = sweeps * kept * job.conv.ins * pixels if job.conv.kernel == 1 else loads * planes
        return Work(flops, read + job.record * planes + 3 * z, fresh * planes + z)

    # Forward

    def forward(self) -> list[Launch]:
        if self.plan.preprocess:
            self._convolve(jobs_of.input_jobs(self.plan), [])
        self._sources([0, 1])
        for node in range(self.plan.nodes):
            self._combine(node)
            if node + 1 < self.plan.nodes:
                self._sources([node + 2])
        return self.launches

    def _sources(self, states: list[int]) -> None:
        rows = [(j, self.plan.states[j]) for j in states]
        pools = [j for j, state in rows if state.pools or state.argmax != OUT]
        self._convolve([job for s in states for job in jobs_of.state_jobs(self.plan, s)], pools)
        self._convolve([job for s in states for job in jobs_of.hidden_jobs(self.plan, s)], [])

    def _convolve(self, jobs: list[Job], pools: list[int]) -> None:
        if not jobs and not pools:
            return
        floats = jobs_of.pool_floats(self.plan) if pools else 0
        R, seen, work = jobs_of.outs_a_thread(jobs), set(), Work()
        for job in jobs:
            floats = max(floats, jobs_of.chunk_for(job, R))
        groups = jobs_of.grouped(sorted(jobs, key=lambda job: job.conv.kernel == 1))
        for group in groups:
            for job in group:
                work += self._convolution(job, R, job is group[0], job.source not in seen)
                seen.add(job.source)
        for j in pools:
            work += self._pool(j)
        self._launch(f"convolve_kernel_{R}", (len(groups) + len(pools)) * self.images, floats, work)

    def _convolution(self, job: Job, R: int, first: bool, fresh: bool) -> Work:
        tiling = Tiling.of(job.H_out, job.W_out)
        sweeps = ceil(job.conv.outs, tiling.groups * R)
        flops = 2 * job.conv.ins * job.H_out * job.W_out * (sweeps * job.taps + job.conv.outs)
        return self._conv(job, flops, sweeps, sweeps * tiling.tiles if job.chunk < job.conv.ins else first, fresh)

    def _pool(self, j: int) -> Work:
        state = self.plan.states[j]
        kinds, bypass = state.pools, (self.C - self.M) * (state.argmax != OUT)
        pooled, in_pixels = kinds * self.M * self.pixels, state.stride**2 * self.pixels
        moved = ((kinds > 0) * self.M + bypass) * in_pixels + self.kept * (pooled + bypass * self.pixels)
        return Work(9 * pooled, moved + 2 * self.kept * pooled * bool(self.plan.pool_norm), moved)

    def _terms(self, node: int) -> tuple[int, float]:
        """Planes that a node is summed from, and the planes' worth of memory that they take."""
        planes, floats = 0, 0.0
        for edge in (edge for edge in self.plan.edges if edge.node == node):
            saved = edge.terms * self.M
            own = ((edge.skip != OUT) + edge.aux) * self.M
            bypass, pooled = self.C - self.M, edge.bypass != OUT
            planes += saved + own + bypass
            floats += self.kept * saved + own + (self.kept if pooled else 1) * bypass
        return planes, floats

    def _combine(self, node: int) -> None:
        planes, floats = self._terms(node)
        moved = (floats + self.C) * self.pixels
        parts = ceil(self.C * Tiling.of(self.plan.out_H, self.plan.out_W).quads, THREADS)
        self._launch("combine_kernel", self.images * parts, 0, Work(4 * planes * self.pixels, moved, moved))

    # Backward

    def backward(self, weights: bool = True) -> list[Launch]:
        plan = self.plan
        self._launch("node_sums_kernel", self.images, 0, self._node_sums(plan.nodes - 1))
        groups = [[j] for j in range(plan.nodes, 1, -1)] + [[0, 1]]
        for states in groups:
            hidden = [t for j in states for t in jobs_of.hidden_targets(plan, j)]
            self._dgrad(hidden, self.M, self.M)
            self._dgrad([jobs_of.state_target(plan, j) for j in states], self.C, self.M)
        if plan.preprocess:
            targets = jobs_of.input_targets(plan)
            self._dgrad(targets, max(t.channels for t in targets), self.C)
        if weights:
            self._weights()
        self._launch("alpha_beta_grad_kernel", self.V, 0, Work())
        return self.launches

    def _node_sums(self, node: int) -> Work:
        planes, floats = self._terms(node)
        asked, distinct = (planes + floats) * self.pixels, (floats + self.C) * self.pixels
        return Work(4 * planes * self.pixels, asked, distinct)

    def _dgrad(self, targets: list[Target], channels: int, outs: int) -> None:
        """channels, outs: the most of a target, of a gradient that it receives."""
        if not targets:
            return
        work, seen = Work(), set[Key]()
        sizes = {R: max(t.floats(outs, R) for t in targets) for R in (4, 2, 1)}
        R = next(R for R in sizes if sizes[R] <= jobs_of.SHARED_FLOATS or R == 1)
        parts = max(ceil(channels, Tiling.of(t.H, t.W).groups * R) for t in targets)
        for target in targets:
            work += self._target(target, *passes(target, R), seen)
        self._launch(f"dgrad_kernel_{R}", parts * self.images * len(targets), sizes[R], work)

    def _target(self, t: Target, times: int, computed: int, seen: set[Key]) -> Work:
        """times: that a job's gradients are read; computed: that each of their planes is."""
        pixels, out_pixels = t.H * t.W, t.H_out * t.W_out
        work = Work(0, t.all * pixels, t.all * pixels)
        for job in t.jobs:
            taps = job.taps or 1
            grads, z = job.conv.outs * out_pixels, 1 if job.kind == "input" else self.kept
            flops = 5 * times * grads + 2 * taps * t.channels * out_pixels + 2 * computed * grads * t.channels
            fresh = job.gradient not in seen
            seen.add(job.gradient)
            work += Work(flops, (1 + z) * times * grads, (z + fresh) * grads)
        if t.normed:
            z = self.kept if t.kind == "hidden" else 1
            work += Work(0, (1 + z) * t.all * pixels, z * t.all * pixels)
        if t.kind == "state":
            work += self._pools_and_skips(t)
            if t.index >= 2:
                work += self._node_sums(t.index - 2)
        return work

    def _pools_and_skips(self, t: Target) -> Work:
        """Past the convolutions of a state: pools, skips, bypassing channels, the gradient of its output."""
        pixels, out, bypass, C, M = t.H * t.W, self.pixels, self.C - self.M, self.C, self.M
        edges = self.plan.state_edges(t.index)
        kinds, node = self.plan.states[t.index].pools, t.index >= 2
        asked: float = (2 + node) * C * pixels + 2 * kinds * M * pixels
        distinct = node * C * pixels + self.kept * kinds * M * out + len(edges) * bypass * out
        flops = 9 * kinds * M * pixels
        for edge in edges:
            pools, skips = sum(use.edge == edge.edge for use in self.plan.uses), int(edge.skip != OUT or edge.aux)
            asked += ((1 + self.kept) * pools + skips) * M * out + bypass * out
            flops += 4 * (pools + skips) * M * out
        return Work(flops, asked, distinct)

    def _weights(self) -> None:
        plan, sources, gradients = self.plan, set(), set()
        jobs = jobs_of.input_jobs(plan) if plan.preprocess else []
        for j in range(plan.nodes + 1):
            jobs += jobs_of.state_jobs(plan, j) + jobs_of.hidden_jobs(plan, j)
        groups, work, floats = min(self.N, IMAGE_GROUPS), Work(), 0
        for job in jobs:
            floats = max(floats, jobs_of.weight_tile_for(job))
            work += self._weight(job, job.source not in sources, job.gradient not in gradients)
            sources.add(job.source)
            gradients.add(job.gradient)
        if not jobs:
            return
        chunks = max(job.chunks for job in jobs)
        self._launch("wgrad_kernel", chunks * self.V * groups * len(jobs), floats, work)
        added = Work(10 * plan.weights, (groups + 1) * plan.weights, (groups + 1) * plan.weights)
        self._launch("add_shares_kernel", ceil(plan.weights, THREADS) * self.V, 0, added, self.V)

    def _weight(self, job: Job, fresh: bool, fresh_gradient: bool) -> Work:
        cores, conv, pixels = job.lanes == 0, job.conv, job.H_out * job.W_out
        grads, times, sweeps = conv.outs * pixels, job.chunks, ceil(conv.outs, SWEEP * MATRIX) if cores else 1
        multiplied = (4 if job.taps else 2) * conv.ins * grads
        reach = conv.kernel // 2 * conv.dilation // conv.stride
        overlapping = overlap(job.H_out, job.band, reach) if cores and job.taps else 1
        kept, z = self.kept if job.kind == "saved" else 1, 1 if job.kind == "input" else self.kept
        planes = kept * conv.ins * (pixels if conv.kernel == 1 else job.H_in * job.W_in)
        flops = 5 * times * grads + sweeps * 4 * job.taps * conv.ins * pixels + (0 if cores else multiplied)
        asked = (overlapping if job.taps else sweeps) * planes + (1 + z) * times * grads
        return Work(flops, asked, fresh * planes + (z + fresh_gradient) * grads, 3 * multiplied * cores)


def passes(target: Target, R: int) -> tuple[int, int]:
    """How often a job's gradients are read, how often each of their planes is computed."""
    tiling = Tiling.of(target.H, target.W)
    return ceil(target.channels, tiling.groups * R) * tiling.tiles, tiling.tiles
