"""Masks of the skip dropout in plain PyTorch: the specification.

A number's word of 32 bits comes from the seed of its virtual learner, the mask's number and its position in
(N, C, H, W), in integers alone: the same bits on every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

STEPS = 2**24  # a rate is a whole number of 1 / STEPS
GOLDEN = 0x9E3779B9 - 2**32  # words are int32, whose sums and products wrap


def threshold_of(rate: float) -> int:
    """The rate in STEPS. ValueError unless it is one."""
    if not 0 <= rate <= 1:
        raise ValueError(f"need a rate from 0 to 1; got {rate}")
    return round(rate * STEPS)


def dropout_masks(seeds: Tensor, masks: int, first: int, size: Sequence[int], threshold: int) -> Tensor:
    """Seeds (V) int64 -> (masks, V, N, C, H, W) bool: the upper 24 bits of each number's word are threshold or more.

    Numbers of the masks: `first` and on.
    """
    position = torch.arange(math.prod(size), device=seeds.device, dtype=torch.int32)
    return (upper_bits(position, *streams(seeds, masks, first)) >= threshold).view(masks, -1, *size)


def streams(seeds: Tensor, count: int, first: int) -> tuple[Tensor, Tensor]:
    """What makes the words of each seed and number, of the numbers `first` and on: two words (count, V, 1)."""
    low, high = seeds[:, None].int(), (seeds[:, None] >> 32).int()
    number = torch.arange(first, first + count, device=seeds.device)[:, None, None].int()
    start = mixed(low ^ mixed(high + GOLDEN))
    b = high ^ mixed(start + number)
    return start ^ mixed(b + GOLDEN), b


def upper_bits(position: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(count, V, positions): the upper 24 bits of the words at these positions; a, b: of `streams`."""
    return mixed(mixed(position ^ a).add_(b)).bitwise_right_shift_(8).bitwise_and_(STEPS - 1)


def mixed(x: Tensor) -> Tensor:
    """A bijection of words, each of whose bits depends on all of x about evenly; in place."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32)):
        x.bitwise_xor_((x >> shift).bitwise_and_(2 ** (32 - shift) - 1)).mul_(factor)
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))
