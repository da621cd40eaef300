"""How csrc/cuda cuts a cell: which convolutions share a launch, in which tiles, with how much shared memory.

As csrc/cuda/forward.cpp and backward.cpp do, from the cell's plan; tests/csrc/test_cuda.py compares both, launch by
launch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sgl_fast.ops.plan import Program
from sgl_fast.ops.rows import Conv

THREADS, WARPS, MATRIX, PAD = 256, 8, 16, 4  # of a block; a side of a matrix of tensor cores; border of a plane
SHARED_FLOATS, BAND_FLOATS = 11 << 10, 12288
MOST_SIXTEENS, GROUP_JOBS, IMAGE_GROUPS, SIDE, SWEEP, LANE_TAPS, MOST_TAPS = 4, 4, 4, 4, 2, 15, 25


def ceil(a: int, b: int) -> int:
    return -(-a // b)


class Tiling(NamedTuple):
    """256 threads over a plane's quads, four pixels of a row each, and its channels."""

    quads: int
    lanes: int

    @classmethod
    def of(cls, H: int, W: int, most: int = THREADS) -> Tiling:
        quads, lanes = H * ceil(W, 4), 16
        while lanes < quads and lanes < most:
            lanes *= 2
        return cls(quads, lanes)

    @property
    def groups(self) -> int:
        return THREADS // self.lanes

    @property
    def tiles(self) -> int:
        return ceil(self.quads, self.lanes)


def padded(stride: int, H: int, W: int, pad: int = PAD) -> int:
    """Floats of a plane with its border, which windows read for H x W outputs."""
    row = stride * ceil(W, 4) * 4 + pad
    return (stride * H + 2 * pad) * row + pad


def spread(floats: int) -> int:
    """The same with a plane's start moved to other banks than its neighbour's."""
    return (floats + 23) // 32 * 32 + 8


@dataclass
class Job:
    """A convolution where it stands: sizes of its input and output planes, whether it records its ReLU."""

    conv: Conv
    kind: str  # of its input: "input", "state" or "saved"
    H_in: int
    W_in: int
    H_out: int
    W_out: int
    record: bool = False
    chunk: int = 0  # input channels at a time
    lanes: int = 0  # of the weights' gradient: along a tile's quads; 0: by tensor cores
    band: int = 0  # then rows at a time

    @property
    def taps(self) -> int:
        return 0 if self.conv.kernel == 1 else self.conv.kernel**2

    @property
    def pad(self) -> int:
        return PAD if self.conv.kernel // 2 * self.conv.dilation <= PAD else 2 * PAD

    @property
    def padded_floats(self) -> int:
        return self.chunk * padded(self.conv.stride, self.H_out, self.W_out, self.pad) if self.taps else 0

    @property
    def source(self) -> tuple[str, tuple[int, int], int]:
        """Equal for jobs that read the same planes."""
        return self.kind, (self.conv.reads, self.conv.offset), self.conv.ins

    @property
    def gradient(self) -> tuple[bool, int]:
        """Equal for jobs whose results receive the same gradient."""
        return self.kind == "input", self.conv.grad

    @property
    def chunks(self) -> int:
        return ceil(self.conv.ins, self.chunk)


def input_jobs(plan: Program) -> list[Job]:
    sizes = [plan.input_size(which)[1:] for which in range(2)]
    convs = [plan.convs[row] for row in plan.inputs]
    return [Job(c, "input", *sizes[c.reads], plan.H, plan.W, not c.first) for c in convs]


def state_jobs(plan: Program, j: int) -> list[Job]:
    sizes = plan.states[j].height, plan.states[j].width, plan.out_H, plan.out_W
    return [Job(conv, "state", *sizes, i == 0) for i, conv in enumerate(plan.state_convs(j))]


def hidden_jobs(plan: Program, j: int) -> list[Job]:
    return [Job(conv, "saved", *(plan.out_H, plan.out_W) * 2, True) for conv in plan.state_halves(j)]


# Forward


def outs_a_thread(jobs: Sequence[Job]) -> int:
    """R of convolve_kernel_R."""
    most = max((ceil(j.conv.outs, Tiling.of(j.H_out, j.W_out).groups) for j in jobs), default=1)
    return next(R for R in (1, 2, 4, 8) if most <= R or R == 8)


def chunk_for(job: Job, R: int) -> int:
    """Sets how many channels at a time; floats of shared memory."""

    def floats() -> int:
        outs = Tiling.of(job.H_out, job.W_out).groups * R
        return 4 * THREADS + job.padded_floats + job.chunk * (job.taps + outs)

    job.chunk = min(job.conv.ins, 16)
    while job.chunk > 1 and floats() > SHARED_FLOATS:
        job.chunk -= 1
    return floats()


def grouped(jobs: Iterable[Job]) -> list[list[Job]]:
    """Jobs that read the same planes, if those fit into a block whole."""
    groups: list[list[Job]] = []
    for job in jobs:
        group = groups[-1] if groups else [job] * GROUP_JOBS
        whole = all(j.taps and j.chunk == j.conv.ins for j in (job, group[0]))
        if len(group) < GROUP_JOBS and whole and (group[0].source[:2], group[0].pad) == (job.source[:2], job.pad):
            group.append(job)
        else:
            groups.append([job])
    return groups


def pool_floats(plan: Program) -> int:
    one = padded(2 if plan.reduction else 1, plan.out_H, plan.out_W)
    return max(one, min(plan.M * one, SHARED_FLOATS))


# Backward


@dataclass
class Target:
    """What receives gradients through jobs: a hidden activation, a state or an input of the cell."""

    kind: str
    index: int
    H: int
    W: int
    H_out: int
    W_out: int
    channels: int
    all: int  # channels, those without convolutions too
    jobs: list[Job] = field(default_factory=list)
    normed: bool = False

    @property
    def pad(self) -> int:
        return max((job.pad for job in self.jobs), default=PAD)

    def floats(self, outs: int, R: int) -> int:
        tiling = Tiling.of(self.H, self.W)
        return tiling.groups * R * (padded(1, self.H_out, self.W_out, self.pad) + 4 * tiling.lanes + outs) + 4 * outs


def hidden_targets(plan: Program, j: int) -> list[Target]:
    sizes = (plan.out_H, plan.out_W) * 2
    return [Target("hidden", i, *sizes, plan.M, plan.M, [job], True) for i, job in enumerate(hidden_jobs(plan, j))]


def state_target(plan: Program, j: int) -> Target:
    state = plan.states[j]
    sizes = state.height, state.width, plan.out_H, plan.out_W
    return Target("state", j, *sizes, plan.M, plan.C, state_jobs(plan, j), j < 2 and bool(plan.preprocess))


def input_targets(plan: Program) -> list[Target]:
    found = []
    for which in range(2):
        channels, H, W = plan.input_size(which)
        jobs = [job for job in input_jobs(plan) if job.conv.reads == which]
        found.append(Target("input", which, H, W, plan.H, plan.W, channels, channels, jobs))
    return found


def weight_floats(job: Job) -> int:
    """Of the gradient of a job's weights, without tensor cores."""
    outs, ins = ceil(job.conv.outs, SIDE) * SIDE, ceil(job.chunk, SIDE) * SIDE
    floats = 4 * (outs + ins) * job.lanes + 4 * outs + job.padded_floats
    sums = max(SIDE * SIDE, job.taps if job.taps <= MOST_TAPS else 3 * 7)
    return max(floats + (job.chunk * (job.taps + job.conv.outs) if job.taps else 0), sums * (THREADS + 1))


def weight_tile_fits(job: Job) -> bool:
    return weight_floats(job) <= SHARED_FLOATS and ceil(job.conv.outs, SIDE) * ceil(job.chunk, SIDE) <= THREADS


def tensor_core_floats(job: Job) -> int:
    plane = spread(padded(job.conv.stride, job.band, job.W_out, job.pad)) if job.taps else 0
    floats = 2 * WARPS * MATRIX**2 + job.conv.outs * (job.chunk + 4) + job.chunk * (plane + job.taps)
    return max(floats, THREADS * LANE_TAPS if job.taps else 0)


def band_fits(job: Job) -> bool:
    slots = job.chunk // MATRIX
    while slots * MATRIX * SWEEP * MATRIX < job.chunk * job.conv.outs:
        slots *= 2
    return slots <= WARPS and tensor_core_floats(job) <= BAND_FLOATS


def choose_band(job: Job) -> bool:
    """Rows and sixteens of channels at a time, as many as fit; False where one of each does not."""
    if job.conv.ins % MATRIX or job.conv.outs % MATRIX or job.taps > MOST_TAPS:
        return False
    job.lanes, job.band, job.chunk = 0, job.H_out, MOST_SIXTEENS * MATRIX
    while job.chunk > MATRIX and (job.conv.ins % job.chunk or not band_fits(job)):
        job.chunk //= 2
    while job.band > 1 and not band_fits(job):
        job.band -= 1
    job.band = ceil(job.H_out, ceil(job.H_out, job.band))
    return band_fits(job)


def weight_tile_for(job: Job) -> int:
    """Sets a tile and how many channels fit beside it, such that gradients are read the fewest times; floats."""
    if choose_band(job):
        return tensor_core_floats(job)
    best = (0, 0)
    lanes = Tiling.of(job.H_out, job.W_out).lanes
    while lanes >= 16:
        job.lanes, job.chunk = lanes, min(job.conv.ins, 16)
        while job.chunk > 1 and not weight_tile_fits(job):
            job.chunk -= 1
        if (weight_tile_fits(job) or lanes == 16) and (not best[1] or job.chunks < ceil(job.conv.ins, best[1])):
            best = lanes, job.chunk
        lanes //= 2
    job.lanes, job.chunk = best
    return weight_floats(job)
