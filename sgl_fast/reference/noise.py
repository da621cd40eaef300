"""Noise: standard normal numbers from the seeds of dropout, by words as its masks have, of numbers of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .dropout import streams

FIRST = 2**31  # of the noises' numbers, which no mask has
BLOCK = 2**15  # words at a time, so that they stay in a cache


def noise(seeds: Tensor, number: int, size: Sequence[int]) -> Tensor:
    """Seeds (V) int64 -> (V, N, C, H, W) float32; size (N, C, H, W), noises of other numbers are independent.

    By Box and Muller: two words of 24 bits make a radius and an angle, and they two numbers, half a tensor apart.
    """
    V, half = len(seeds), -(-math.prod(size) // 2)
    a, b = (word[0, :, None].int() for word in streams(seeds, 1, FIRST + number))
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
    """(V, positions) float32 above 0 and below 1, from the upper 24 bits of the words."""
    word = mixed(mixed(position ^ a).add_(b))
    return word.bitwise_right_shift_(8).bitwise_and_(0xFFFFFF).float().add_(0.5).mul_(2.0**-24)


def mixed(x: Tensor) -> Tensor:
    """dropout.mixed in int32, whose products and sums wrap, in place: a third of the time of int64."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32)):
        x.bitwise_xor_((x >> shift).bitwise_and_(2 ** (32 - shift) - 1)).mul_(factor)
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))
