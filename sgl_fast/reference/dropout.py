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
WORD = 2**32 - 1
GOLDEN = 0x9E3779B9


def threshold_of(rate: float) -> int:
    """The rate in STEPS. ValueError unless it is one."""
    if not 0 <= rate <= 1:
        raise ValueError(f"need a rate from 0 to 1; got {rate}")
    return round(rate * STEPS)


def dropout_masks(seeds: Tensor, masks: int, first: int, size: Sequence[int], threshold: int) -> Tensor:
    """Seeds (V) int64 -> (masks, V, N, C, H, W) bool: the upper 24 bits of each number's word are threshold or more.

    Numbers of the masks: `first` and on.
    """
    a, b = streams(seeds, masks, first)
    position = torch.arange(math.prod(size), device=seeds.device)
    word = mixed((mixed(position ^ a[..., None]) + b[..., None]) & WORD)
    return (word >> 8 >= threshold).view(masks, -1, *size)


def streams(seeds: Tensor, count: int, first: int) -> tuple[Tensor, Tensor]:
    """What makes the words of each seed and number, of the numbers `first` and on: two words (count, V)."""
    low, high = seeds & WORD, (seeds >> 32) & WORD
    number = torch.arange(first, first + count, device=seeds.device)[:, None]
    start = mixed(low ^ mixed((high + GOLDEN) & WORD))
    b = high ^ mixed((start + number) & WORD)
    return start ^ mixed((b + GOLDEN) & WORD), b


def mixed(x: Tensor) -> Tensor:
    """A bijection of 32-bit words, each of whose bits depends on all of x about evenly."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & WORD
    x = (x ^ (x >> 15)) * 0x846CA68B & WORD
    return x ^ (x >> 16)
