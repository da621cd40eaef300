"""Random images and the draws of their augmentation."""

from __future__ import annotations

import torch
from torch import Tensor

from sgl_fast.data.augment import draw, levels, table

CPU = torch.device("cpu")
MEAN, STD = (0.49, 0.48, 0.44), (0.25, 0.24, 0.26)


def inputs(N: int, H: int, W: int, crop: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Images, draws and levels."""
    images, generator = torch.randint(0, 256, (10, 3, H, W), dtype=torch.uint8), torch.Generator().manual_seed(N)
    draws = table(torch.randint(10, (N,)), draw(N, H, W, crop, generator))
    return images, draws, levels(MEAN, STD, dtype, CPU)
