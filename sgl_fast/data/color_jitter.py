"""Random brightness, contrast, saturation and hue, each image with its own draw, as torchvision's ColorJitter does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

T = TypeVar("T", Tensor, Image.Image)
ADJUST = ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue")


def draw(count: int, strength: float, generator: torch.Generator) -> Tensor:
    """(N, 8) float64: factors of brightness, contrast and saturation within 1 +- strength, a shift of the hue within
    +- strength / 2, in turns; and four keys, by whose order they are applied.
    """
    drawn = torch.rand(count, 8, generator=generator, dtype=torch.float64)
    spread = torch.tensor([strength, strength, strength, strength / 2], dtype=torch.float64)
    centre = torch.tensor([1.0, 1, 1, 0], dtype=torch.float64)
    return torch.cat([centre + (2 * drawn[:, :4] - 1) * spread, drawn[:, 4:]], dim=1)


def jitter(image: T, draws: Sequence[float]) -> T:
    """An image, PIL's or uint8 (3, H, W), by its row of `draw`."""
    from torchvision.transforms.v2 import functional  # loads torch's compiler, in two seconds

    for which in sorted(range(4), key=lambda i: draws[4 + i]):
        image = getattr(functional, ADJUST[which])(image, draws[which])
    return image


def jitter_all(images: Tensor, draws: Tensor) -> Tensor:
    """uint8 (N, 3, H, W), each by its own row."""
    return torch.stack([jitter(image, row) for image, row in zip(images, draws.tolist(), strict=True)])
