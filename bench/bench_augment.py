"""A batch of augmented images, against the same steps by the library's operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sgl_fast.data.augment import draw, levels, normalize, table
from sgl_fast.ops.augment import augment
from sgl_fast.reference.augment import crop_flip, cutout

from .interleave import Interleave, Row
from .settings import Settings

LIMITS = (4, 1.5)
CROP, CUTOUT = 4, 16
MEAN, STD = (0.49, 0.48, 0.44), (0.25, 0.24, 0.26)


@pytest.mark.parametrize("N", [50, 256])
def test_batch(N: int, device: str, settings: Settings, interleave: Interleave) -> None:
    M, N = settings.pick(25_000, 100), settings.pick(N, 4)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (M, 3, 32, 32), dtype=torch.uint8, generator=generator).to(device)
    index = torch.randperm(M, generator=generator)[:N]
    draws = table(index, draw(N, 32, 32, CROP, generator)).to(device)
    values = levels(MEAN, STD, torch.float32, images.device)

    def baseline() -> Tensor:
        chosen, dy, dx, flip, cy, cx = draws.unbind(1)
        return cutout(normalize(crop_flip(images[chosen], dy, dx, flip, CROP), MEAN, STD), cy, cx, CUTOUT)

    row = Row("augment: crop, flip, cutout", f"N{N} 3x32x32", "library", *LIMITS, moved=5 * N * images[0].numel())
    interleave(row, lambda: augment(images, draws, values, CROP, CUTOUT), baseline)
