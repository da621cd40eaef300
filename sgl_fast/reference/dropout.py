"""Masks of the skip dropout in plain PyTorch: the specification.

A number's word of 32 bits comes from the seed of its virtual learner, the mask's number and its position in
(N, C, H, W), in integers alone: the same bits on every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = 2**24  # a rate is a whole number of 1 / STEPS
GOLDEN = 0x9E3779B9 - 2**32  # words are int32, whose sums and products wrap


def drops(rate: float | Tensor) -> bool:
    """Whether there is dropout: at a rate on a device, whose value nobody reads, always."""
    return isinstance(rate, Tensor) or rate > 0


@dataclass(frozen=True)
class Rate:
    """What a rate does, on a device, where a graph that is replayed finds the numbers of the day.

    threshold () int32, the rate in STEPS; kept () float64, 1 - rate; scale () float32, of what is kept: 1 / kept
    """

    threshold: Tensor
    kept: Tensor
    scale: Tensor

    @classmethod
    def of(cls, rate: float | Tensor, device: torch.device) -> Rate:
        """rate: a number, or float64 of no dimension on the device. ValueError for a number that is no rate."""
        if not isinstance(rate, Tensor):
            if not 0 <= rate <= 1:
                raise ValueError(f"need a rate from 0 to 1; got {rate}")
            rate = torch.full((), rate, dtype=torch.float64, device=device)
        kept = 1 - rate
        return cls((rate * STEPS).round().int(), kept, kept.reciprocal().float())


def dropout_masks(seeds: Tensor, masks: int, first: int, size: Sequence[int], threshold: Tensor) -> Tensor:
    """Seeds (V) int64 -> (masks, V, N, C, H, W) bool: the upper 24 bits of each number's word are threshold or more.

    Numbers of the masks: `first` and on; threshold () int32.
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
