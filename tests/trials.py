"""What the tests of the fused operations share: fresh random sizes, errors against float64, threads."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

TOLERANCE = {torch.float64: 1e-12, torch.float32: 4e-6}  # of the largest value


def fresh() -> random.Random:
    """A generator with a new seed each time; pytest shows the seed where a test fails."""
    seed = random.randrange(2**32)
    print("seed", seed)
    torch.manual_seed(seed)
    return random.Random(seed)


def close(got: Tensor | Sequence[Tensor], want: Tensor | Sequence[Tensor], least: float = 1e-30) -> None:
    """Each tensor is that of float64, up to the tolerance of its dtype, relative to its largest value.

    least   that value is at least this: of the terms, where a sum of them cancels
    """
    if isinstance(got, Tensor):
        got, want = [got], [want]  # type: ignore[list-item]
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and b.dtype == torch.float64
        error = (a.double() - b).abs().max() / b.abs().max().clamp(min=least)
        assert error <= TOLERANCE[a.dtype], f"error {error:.1e} of {a.dtype}"


@contextmanager
def threads(count: int) -> Iterator[None]:
    """That many threads of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
