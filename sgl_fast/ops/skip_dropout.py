"""Masks of P-DARTS's skip dropout: a function of a seed and of positions, on every backend the same bits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..backends.choice import choose
from ..reference import dropout as reference
from ..reference.dropout import Rate
from .registry import Operator, register, said

STEM = "skip_dropout"


def _check(seeds: Tensor, masks: int, first: int, size: Sequence[int], threshold: Tensor) -> None:
    if seeds.dim() != 1 or not len(seeds) or seeds.dtype != torch.int64:
        raise ValueError(f"need seeds (V), not empty, torch.int64; got {said(seeds)}")
    if len(size) != 4 or min(size) < 1 or math.prod(size) >= 2**31 or masks < 1:
        raise ValueError(f"need one mask or more (N, C, H, W), below 2^31 numbers; got {masks} of {tuple(size)}")
    if not (first >= 0 and first + masks <= 2**32):
        raise ValueError(f"need numbers of masks from 0 to 2^32 - 1; got {first} to {first + masks - 1}")
    if threshold.dim() or threshold.dtype != torch.int32 or threshold.device != seeds.device:
        raise ValueError(
            f"need a threshold () torch.int32 on {seeds.device}; got {said(threshold)} on {threshold.device}"
        )


_dropout_masks: Operator[Tensor] = register(
    "dropout_masks(Tensor seeds, int masks, int first, int[] size, Tensor threshold) -> Tensor",
    _check,
    lambda seeds, masks, first, size, threshold: seeds.new_empty((masks, *seeds.shape, *size), dtype=torch.bool),
    STEM,
    reference.dropout_masks,
)


def dropout_masks(
    seeds: Tensor, masks: int, first: int, size: Sequence[int], rate: float | Rate, backend: str | None = None
) -> Tensor:
    """What the skips keep, (masks, V, N, C, H, W) bool: each number with probability 1 - rate.

    seeds (V) int64, on the device where the masks are to be; size (N, C, H, W), below 2^31 numbers
    first   number of the first mask: masks of other numbers are independent, equal numbers give equal masks
    rate    a number, or what it does on that device
    """
    threshold = (rate if isinstance(rate, Rate) else Rate.of(rate, seeds.device)).threshold
    return _dropout_masks.on(choose(backend, seeds.device))(seeds, masks, first, list(size), threshold)
