"""What of a GPU the cost model knows: data sheets, and latencies as published microbenchmarks measured them.

Latencies in cycles: V100 after Jia et al. (arXiv 1804.06826), A100 and H100 after Luo et al. (arXiv 2402.13499). Of
memory 85 % of the data sheet's rate is taken to be reached; L2's rates are of the same kind.
"""

from __future__ import annotations

from typing import NamedTuple


class Gpu(NamedTuple):
    name: str
    sm: int  # whose registers and machine code
    multiprocessors: int
    hertz: float
    memory: float  # bytes a second
    cache: float  # of L2, bytes a second
    shared_bytes: int  # of a multiprocessor
    l1_bytes: int  # with shared memory
    gap: float  # seconds from a kernel's end to the next one's start, in a graph
    # Cycles to the use of a result.
    alu: float
    fp64: float
    sfu: float
    shared: float
    l1: float
    l2: float
    dram: float
    shuffle: float
    barrier: float
    branch: float
    # Cycles of a multiprocessor that an instruction of a warp takes, by unit; product: 16 x 16 x 16 by tensor cores.
    float32: float
    double: float
    product: float

    @property
    def units(self) -> tuple[float, ...]:
        """In the order of csrc/tests/trace/operations.h."""
        return 0.0, 0.5, self.float32, 0.0, self.double, 2.0, 1.0, self.product


KB = 1 << 10
# fmt: off
V100 = Gpu("V100", 70, 80, 1.53e9, 0.85 * 900e9, 2.155e12, 96 * KB, 128 * KB, 2.0e-6,
           4, 8, 16, 19, 28, 193, 420, 22, 8, 8, 0.5, 1.0, 8)
A100 = Gpu("A100", 80, 108, 1.41e9, 0.85 * 1555e9, 4.5e12, 164 * KB, 192 * KB, 1.6e-6,
           4, 8, 18, 29, 38, 261, 466, 23, 8, 8, 0.5, 1.0, 4)
H100 = Gpu("H100", 90, 132, 1.755e9, 0.85 * 3350e9, 6.5e12, 228 * KB, 256 * KB, 1.4e-6,
           4, 8, 18, 29, 41, 263, 479, 23, 8, 8, 0.25, 0.5, 2)
# fmt: on
GPUS = V100, A100, H100
ISSUE = 0.25  # cycles of a multiprocessor of four schedulers that an instruction of a warp takes
