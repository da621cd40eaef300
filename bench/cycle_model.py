"""What a cycle-level simulator of a V100 makes of the kernels: figures of one study, kept as they were reported.

GPGPU-Sim (accel-sim/gpgpu-sim_distribution, dev, 667834cf) in its V100 configuration ran parts of single kernels, PTX
of compute_70 made from commit 4ba9084: one of 80 multiprocessors, one memory channel slowed to its share of 898 GB/s,
1530 MHz. It knows which warps wait for registers, barriers and memory; it does not know ptxas' schedule, the
instruction cache, or a step's other launches. Expect 50 % either way.
"""

from __future__ import annotations

from typing import NamedTuple

from .tables import number, table


class Part(NamedTuple):
    """Of a launch, pc_darts: microseconds simulated, those of the counts' floor, and shares of issue slots in percent.

    issued: slots that issued; waiting: every warp waits for a register; idle: no warp ready, or all at barriers.
    """

    kernel: str
    shape: str
    part: str
    us: float
    floor: float
    issued: int
    waiting: int
    idle: int


PARTS = (
    Part("node_slopes", "C64 8x8", "1 image", 379, 23, 7, 29, 64),
    Part("wide, first halves", "C64 8x8", "8 of 34 blocks", 80.5, 5.4, 15, 69, 15),
    Part("wide_gradient, middles", "C64 8x8", "2 of 16 blocks", 16.1, 2.8, 22, 62, 13),
    Part("node_slopes", "C16 32x32", "1 image", 383, 93, 6, 35, 60),
    Part("convolve", "C16 32x32", "4 of 10 blocks", 141, 35.7, 26, 65, 2),
    Part("gradient, node 2", "C16 32x32", "1 image", 422, 110, 10, 45, 44),
    Part("weight_gradient", "C16 32x32", "12 of 86 blocks", 422, 118, 29, 67, 0),
    Part("wide, 64 to 16 channels", "C16 32x32", "1 image", 232, 68.6, 14, 84, 3),
    Part("wide_gradient, inputs", "C16 32x32", "2 of 8 blocks", 65.2, 20.6, 28, 64, 3),
    Part("gradient, middles", "C16 32x32", "2 of 16 blocks", 27.3, 11.1, 20, 63, 10),
    Part("gradient, inputs", "C16 32x32", "2 images, 1 of 2 targets", 386, 164, 28, 65, 1),
    Part("combine", "C16 32x32", "3 images, 2 multiprocessors", 146, 139, 34, 43, 0),
)
# Milliseconds of a pc_darts step of 50 images, K = 2, the parts' ratios put on the counts; sizes not run at the same.
STEPS = {"first order, as released": (120, 165), "second order": (300, 420)}

ABOUT = """Counts know bytes and operations, and take every kernel to be bound by one of them. A cycle-level simulator
of a V100 (GPGPU-Sim) knows who waits for whom too. It ran parts of single kernels of pc_darts, of the PTX of commit
4ba9084, on one multiprocessor; **modelled, never timed**, within some 50 %. Most are bound by latency, with too few
warps.
"""


def section() -> str:
    head = ["kernel", "shape", "part", "us", "floor by counts, us", "ratio", "issued", "waiting", "idle"]
    rows = [
        [p.kernel, p.shape, p.part, number(p.us), number(p.floor), number(p.us / p.floor)]
        + [f"{share} %" for share in (p.issued, p.waiting, p.idle)]
        for p in PARTS
    ]
    return f"{ABOUT}\n{table(head, rows)}\nA step of pc_darts, 50 images, with these ratios: {steps()}.\n"


def steps() -> str:
    return ", ".join(f"{low} to {high} ms {name}" for name, (low, high) in STEPS.items())


def note() -> str:
    """The README's words below the counts."""
    return f"""
The counts are a floor: bytes and operations, as if nothing waited. A public cycle-level simulator of a V100, which
knows who waits for whom, ran parts of the same kernels and says about three times that for pc_darts, 50 images:
{steps()}. Modelled, never timed, within some 50 %:
[bench/results/cuda_work.md](bench/results/cuda_work.md).
"""
