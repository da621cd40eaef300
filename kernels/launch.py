"""What launches share: the tensors' device in force, sizes of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def on(tensor: Tensor) -> Iterator[None]:
    """Triton launches on the device in force: that of the tensor, until the end."""
    if tensor.device.type != "cuda":
        yield
        return
    with torch.cuda.device(tensor.device):
        yield


def kept_in(precision: str) -> torch.dtype:
    """Of the planes that a forward leaves to its backward."""
    return {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision, torch.float32)


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def power_of_two(n: int) -> int:
    """The least power of two that is not less."""
    return 1 << max(n - 1, 0).bit_length()


def blocked(n: int, most: int) -> int:
    """A power of two to take n at a time by, at most so many."""
    return min(power_of_two(n), most)
