"""The compiled part of one Python: what is not a tensor, of the library of operators (sgl_fast.backends.extension)."""

from collections.abc import Sequence
from typing import Protocol

Rows = Sequence[Sequence[int]]

def program(
    head: Sequence[int],
    convs: Rows,
    pools: Rows,
    uses: Rows,
    edges: Rows,
    out_edges: Rows,
    terms: Rows,
    states: Rows,
    /,
) -> int:
    """The number by which operators know the rows of a sgl_fast.ops.plan.Program; equal ones have one.

    RuntimeError for rows of other columns, ValueError for rows that lead outside.
    """

def isa() -> str:
    """The instruction set of the CPU kernels: plain, avx2 or avx512."""

class Cuda(Protocol):
    """What loads the CUDA kernels."""
    def why_no_driver(self) -> str:
        """Empty where there is a driver."""
    def load(self, device: int, modules: Sequence[bytes], /) -> None:
        """Cubins or PTX that have every kernel."""
    def loaded(self, device: int, /) -> bool: ...

cuda: Cuda
