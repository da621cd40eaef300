"""Values of tensors that come back to the bit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class Kept:
    """Tensors and the values that they have now."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = list(tensors)
        self.values = [t.detach().clone() for t in self.tensors]

    def put_back(self) -> None:
        assign(self.tensors, self.values)


@torch.no_grad()
def assign(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """In place, seen by autograd: a graph that needs the values before is refused."""
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
