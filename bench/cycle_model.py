"""What a cycle-level simulator of a V100 said of the kernels, beside the cost model: figures of one study, as reported.

GPGPU-Sim (accel-sim/gpgpu-sim_distribution, dev, 667834cf) in its V100 configuration ran parts of single kernels of
pc_darts, PTX of compute_70: one of 80 multiprocessors (combine: two), a memory channel slowed to its share of 898 GB/s,
1530 MHz. Where the study says so the instructions between branches were moved by critical path, as ptxas would. Its
kernels are those of commit 4ba9084, node sums dealt to warps as they are now; the model's figures are those of commit
678105a, whose kernels are the same but for tensor cores and strided gradients, which are not in it.
"""

from __future__ import annotations

from typing import NamedTuple

from .tables import number, table


class Part(NamedTuple):
    """Of a launch: microseconds simulated, and by the model."""

    kernel: str
    shape: str
    part: str
    simulated: float
    modelled: float


PARTS = (
    Part("combine, node 3", "C16 32x32", "3 images, 2 multiprocessors", 146, 170),
    Part("convolve, states 0 and 1", "C16 32x32", "4 of 10 blocks, moved", 126, 109),
    Part("dgrad, hidden of states 0 and 1", "C16 32x32", "2 of 16 blocks", 27.3, 24.0),
    Part("dgrad, a state", "C16 32x32", "1 image, moved", 230, 270),
    Part("dgrad, a state", "C16 32x32", "2 images", 386, 351),
    Part("node sums, last node", "C16 32x32", "1 image", 216, 186),
    Part("node sums, last node", "C64 8x8", "1 image", 182, 154),
    Part("convolve, states 0 and 1", "C64 8x8", "2 of 10 blocks", 37, 42.4),
)


def section() -> str:
    rows = [
        [p.kernel, p.shape, p.part, number(p.simulated), number(p.modelled), f"{p.modelled / p.simulated:.2f}"]
        for p in PARTS
    ]
    return table(["kernel", "shape", "part", "simulated, us", "model, us", "ratio"], rows)
