"""Masks of the skip dropout for all skips of a P-DARTS cell, against one draw of the library a skip and learner."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sgl_fast.ops.skip_dropout import dropout_masks

from .interleave import Interleave, Row
from .settings import Settings

LIMITS = (4, 1.5)
V, SKIPS, RATE = 2, 14, 0.4


@pytest.mark.parametrize(("C", "side"), [(16, 32), (64, 8)])
def test_masks(C: int, side: int, device: str, settings: Settings, interleave: Interleave) -> None:
    seeds, size = torch.arange(V, device=device), (settings.pick(16, 2), C, side, side)

    def baseline() -> list[Tensor]:
        return [torch.rand(size, device=device) >= RATE for _ in range(SKIPS * V)]

    shape = f"V{V} N{size[0]} C{C} {side}x{side}, {SKIPS} skips"
    row = Row("skip_dropout: masks", shape, "rand", *LIMITS, moved=SKIPS * V * math.prod(size))
    interleave(row, lambda: dropout_masks(seeds, SKIPS, 0, size, RATE), baseline)
