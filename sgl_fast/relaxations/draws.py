"""Random numbers of virtual learners, a function of their seeds alone: every pass of a step finds the same ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..reference.dropout import streams, upper_bits

HALF_STEPS = 2**23  # (n + 1/2) / 2^23 is a float32 above 0 and below 1 for every n


class Draws:
    """Of V virtual learners, rows of one seed have the same numbers. What is drawn next differs from what was before.

    seeds (V) int64; dtype of the numbers. The words are integers, the same bits on every device.
    """

    def __init__(self, seeds: Tensor, dtype: torch.dtype) -> None:
        self._seeds, self._dtype, self._drawn = seeds, dtype, 0

    def uniform(self, *size: int) -> Tensor:
        """(V, *size), above 0 and below 1."""
        a, b = (word[0] for word in streams(self._seeds, 1, self._drawn))
        self._drawn += 1
        position = torch.arange(math.prod(size), device=self._seeds.device, dtype=torch.int32)
        words = upper_bits(position, a, b).bitwise_right_shift_(1)
        return ((words.to(self._dtype) + 0.5) / HALF_STEPS).view(-1, *size)

    def gumbel(self, *size: int) -> Tensor:
        """(V, *size), of the standard Gumbel distribution: -log(-log u)."""
        return -(-self.uniform(*size).log()).log()

    def normal(self, *size: int) -> Tensor:
        """(V, *size), standard normal, by Box and Muller."""
        radius = (-2 * self.uniform(*size).log()).sqrt()
        return radius * (2 * math.pi * self.uniform(*size)).cos()
