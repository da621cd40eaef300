"""How long a launch of the CUDA kernels takes on a GPU, by what its blocks do and wait for. Nothing is timed.

What a block does is counted by running it (cuda_trace): instructions of machine code, wavefronts of shared memory,
sectors of L2 and DRAM, and the cycles that it takes alone, which are chains of loads, arithmetic, barriers. Assumed:

* PTX stands for machine code. Moves, constant operands and conversions that change no bit are free, 64-bit integers
  cost two instructions, but one where they are addresses of shared memory alone, divisions some tens. Integer additions
  and left shifts go to the unit of integers or that of floats, whichever has less to do, as the assembler has it.
  Between two branches loads start as early as their addresses are known.
* A load takes the latency of the slowest sector that it asks for. L1 holds what the block touched last; what no block
  of an image touched before comes from DRAM, the rest from L2. Nothing survives from launch to launch.
* A block's chain takes CHAIN times that: registers bound how early loads start, warps of a scheduler wait for others.
* A multiprocessor has as many blocks as registers (csrc/cuda/resources.md), shared memory and threads allow. They hide
  each other's latency, so that loads in flight grow with them (Little's law), up to a bound: instructions issued, a
  unit, the multiprocessor's share of L2 or DRAM. Chain and bound overlap but for a norm of power POWER.
* Blocks go in the grid's order to the first place that is free: rounds. A launch ends with the last of them, and with
  what the last image does past the others: it finishes statistics.
* Launches follow each other after a gap. The instruction cache is never missed. All images do the same.

CHAIN and POWER are fitted: by them kernels take what a public cycle-level simulator of a V100 says (cycle_model).
"""

from __future__ import annotations

import heapq
import re
from functools import cache
from math import prod
from typing import NamedTuple

from .cuda_trace import Block, Launch
from .gpus import GPUS, ISSUE, Gpu
from .report import ROOT

CHAIN, POWER = 1.8, 4.0
SECTOR = 32  # bytes
THREADS, REGISTERS, BLOCKS = 2048, 65536, 32  # of a multiprocessor
RESERVED = 1 << 10  # bytes of shared memory that a block costs from sm_80 on


class Cost(NamedTuple):
    """Of a launch: seconds without the gap before it; of them what operations and bytes would take if nothing waited;
    blocks of a multiprocessor, and how often it has so many."""

    seconds: float
    floor: float
    resident: int
    rounds: float


def cost(launch: Launch, gpu: Gpu) -> Cost:
    """Of a launch on a whole GPU."""
    return cost_on(launch, gpu, gpu.multiprocessors, launch.images)


def cost_on(launch: Launch, gpu: Gpu, multiprocessors: int, images: int) -> Cost:
    """Of some of a launch's images, or groups of images, on a part of a GPU and of its memory's rate."""
    blocks = in_order(launch, images)
    places = min(occupancy(launch, gpu), -(-len(blocks) // multiprocessors))
    active = min(multiprocessors, len(blocks))
    share = multiprocessors / gpu.multiprocessors / active / gpu.hertz
    rates = Rates(gpu.cache * share, gpu.memory * share)
    cycles = {id(one): together(one, places, gpu, rates) for one in launch.blocks}
    total = makespan([cycles[id(one)] for one in blocks], multiprocessors * places) + tail(launch, gpu)
    busy = sum(max(bounds(one, gpu, rates)) for one in blocks) / active
    rounds = len(blocks) / (multiprocessors * places)
    return Cost(total / gpu.hertz, busy / gpu.hertz, places, rounds)


class Rates(NamedTuple):
    """Bytes a cycle that a multiprocessor has of L2 and of DRAM, beside the others."""

    cache: float
    memory: float


def bounds(block: Block, gpu: Gpu, rates: Rates) -> list[float]:
    """Cycles that a block keeps what blocks share: issue slots, units, L2, DRAM."""
    units = [n * cycles for n, cycles in zip(block.units, gpu.units, strict=True)]
    sectors = SECTOR * block.l2_sectors / rates.cache, SECTOR * block.dram_sectors / rates.memory
    return [ISSUE * block.slots, *units, *sectors]


def together(block: Block, places: int, gpu: Gpu, rates: Rates) -> float:
    """Cycles of a block beside others of its kind."""
    chain, bound = CHAIN * block.cycles[GPUS.index(gpu)], places * max(bounds(block, gpu, rates))
    return float((chain**POWER + bound**POWER) ** (1 / POWER))


def tail(launch: Launch, gpu: Gpu) -> float:
    """Cycles that the last image's blocks take past the others'."""
    i = GPUS.index(gpu)
    more = (last.cycles[i] - one.cycles[i] for one, last in zip(launch.blocks, launch.last, strict=False))
    return CHAIN * max(more, default=0)


def makespan(cycles: list[float], places: int) -> float:
    """When the last of these is done."""
    ends = [0.0] * min(places, len(cycles))
    for one in cycles:
        heapq.heapreplace(ends, ends[0] + one)
    return max(ends)


def in_order(launch: Launch, images: int) -> list[Block]:
    """The blocks of all images, x first, then y, then z."""
    if launch.axis is None:
        count = prod(launch.grid)
        return [launch.blocks[i * len(launch.blocks) // count] for i in range(count)]
    inner = prod(launch.grid[: launch.axis])
    rows = [launch.blocks[i : i + inner] for i in range(0, len(launch.blocks), inner)]
    return [one for row in rows for _ in range(images) for one in row]


def occupancy(launch: Launch, gpu: Gpu) -> int:
    """Blocks of a multiprocessor."""
    registers, fixed = resources()[launch.kernel, gpu.sm]
    granted = -(-registers // 8) * 8 * launch.threads
    shared = fixed + launch.shared + (RESERVED if gpu.sm >= 80 else 0)
    limits = REGISTERS // granted, THREADS // launch.threads, gpu.shared_bytes // max(shared, 1), BLOCKS
    return max(1, min(limits))


@cache
def resources() -> dict[tuple[str, int], tuple[int, int]]:
    """Registers of a thread and static bytes of shared memory, by kernel and architecture."""
    text = (ROOT / "csrc" / "cuda" / "resources.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \| \d+ \| \d+ \|$", text, re.MULTILINE)
    return {(name, int(sm)): (int(registers), int(shared)) for name, sm, registers, shared in rows}
