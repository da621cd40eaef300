"""Noise: standard normal numbers from the seeds of dropout, by words as its masks have, of numbers of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .dropout import STEPS, streams, upper_bits

FIRST = 2**31  # of the noises' numbers, which no mask has
BLOCK = 2**15  # words at a time, so that they stay in a cache


def noise(seeds: Tensor, number: int, size: Sequence[int]) -> Tensor:
    """Seeds (V) int64 -> (V, N, C, H, W) float32; size (N, C, H, W), noises of other numbers are independent.

    By Box and Muller: two words of 24 bits make a radius and an angle, and they two numbers, half a tensor apart.
    """
    V, half = len(seeds), -(-math.prod(size) // 2)
    a, b = (word[0] for word in streams(seeds, 1, FIRST + number))
    out = torch.empty(V, 2, half, device=seeds.device)
    step = max(1, BLOCK // V)
    for start in range(0, half, step):
        position = torch.arange(start, min(start + step, half), device=seeds.device, dtype=torch.int32)
        radius = (-2 * uniform(position, a, b).log_()).sqrt_()
        angle = uniform(position + half, a, b).mul_(2 * math.pi)
        torch.mul(radius, angle.cos(), out=out[:, 0, start : start + step])
        torch.mul(radius, angle.sin(), out=out[:, 1, start : start + step])
    return out.flatten(1)[:, : math.prod(size)].view(V, *size)


def uniform(position: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(V, positions) float32 above 0 and below 1."""
    return upper_bits(position, a, b).float().add_(0.5).div_(STEPS)
