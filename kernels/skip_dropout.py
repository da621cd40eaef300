"""Which numbers a skip's dropout keeps: words of 32 bits from the seed, the mask's number and the position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .jit import kernel
from .launch import ceil_div, device_guard

BLOCK = 1024  # positions of a program


@triton.jit
def mixed(x):
    """A bijection of 32-bit words, each of whose bits depends on all of x about evenly."""
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)


@kernel(plain=())
def dropout_masks_kernel(seeds, kept, P, first, threshold, BLOCK: tl.constexpr):
    """kept (masks, V, P) uint8, a mask a program_id 2, a learner a program_id 1; seeds (V), threshold ()."""
    v, m, least = tl.program_id(1), tl.program_id(2), tl.load(threshold)
    seed = tl.load(seeds + v)
    low, high = seed.to(tl.uint32), (seed >> 32).to(tl.uint32)
    start = mixed(low ^ mixed(high + 0x9E3779B9))
    b = high ^ mixed(start + (first + m).to(tl.uint32))
    a = start ^ mixed(b + 0x9E3779B9)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    word = mixed(mixed(i.to(tl.uint32) ^ a) + b)
    row = kept + (m.to(tl.int64) * tl.num_programs(1) + v) * P
    tl.store(row + i, ((word >> 8).to(tl.int32) >= least).to(tl.uint8), mask=i < P)


def dropout_masks(seeds: Tensor, masks: int, first: int, size: Sequence[int], threshold: Tensor) -> Tensor:
    """Seeds (V) -> (masks, V, N, C, H, W) bool; size (N, C, H, W), threshold () int32, of 2^24"""
    seeds = seeds.contiguous()
    V, kept = seeds.shape[0], seeds.new_empty((masks, seeds.shape[0], *size), dtype=torch.bool)
    P = kept[0, 0].numel()
    with device_guard(seeds):
        dropout_masks_kernel[(ceil_div(P, BLOCK), V, masks)](seeds, kept.view(torch.uint8), P, first, threshold, BLOCK)
    return kept
