"""Augmentation of a whole batch where it lives, each image with its own draw.

The published order: crop with zero padding and flip on pixels, normalise, then cutout on the normalised image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class Draws(NamedTuple):
    """The random choices of N images, each int64 [N].

    dy, dx   offset of the crop in the padded image, 0 to 2 * crop
    flip     1 where the image is mirrored
    cy, cx   centre of the cutout square, in pixels
    """

    dy: Tensor
    dx: Tensor
    flip: Tensor
    cy: Tensor
    cx: Tensor


def draw(count: int, height: int, width: int, crop: int, generator: torch.Generator) -> Draws:
    """Draws for `count` images of height x width, on the generator's device.

    All are drawn whatever is used of them, so that an option that is switched off leaves the others' values alone.
    """
    limits = (2 * crop + 1, 2 * crop + 1, 2, height, width)
    return Draws(*(torch.randint(n, (count,), generator=generator, device=generator.device) for n in limits))


def table(index: Tensor, draws: Draws, flip: bool = True) -> Tensor:
    """Each image's index and draws, int64 [N, 6]; flip False: none is mirrored."""
    if not flip:
        draws = draws._replace(flip=torch.zeros_like(draws.flip))
    return torch.stack([index.to(draws.dy.device), *draws], dim=1)


def normalize(
    images: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32
) -> Tensor:
    """(images / 255 - mean) / std for each channel.        images uint8 [..., C, H, W] -> floating point"""
    # float64 stays exact, narrower types than float32 are rounded once, at the end.
    wide = torch.promote_types(dtype, torch.float32)
    scale, shift = _scale_shift(tuple(mean), tuple(std), wide, images.device)
    return images.to(wide).mul_(scale).sub_(shift).to(dtype)


@lru_cache(maxsize=32)
def levels(mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """What `normalize` makes of each of the 256 pixels, [C, 256]; kept where the images are."""
    pixels = torch.arange(256, dtype=torch.uint8).expand(len(mean), 1, 256)
    return normalize(pixels, mean, std, dtype)[:, 0].to(device)


@lru_cache(maxsize=32)
def _scale_shift(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """x * scale - shift normalises uint8 x; kept, because a copy to the device each batch would stall it."""
    m, s = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (mean, std))
    return (1 / (255 * s)).to(device, dtype), (m / s).to(device, dtype)
