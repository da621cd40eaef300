"""Augmentation of a whole batch where it lives, each image with its own draw.

The published order: crop with zero padding and flip on pixels, normalise, then cutout on the normalised image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
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


def crop_flip(images: Tensor, dy: Tensor, dx: Tensor, flip: Tensor, crop: int) -> Tensor:
    """Pad by `crop` zeros, cut a window of the old size at (dy, dx), mirror it where flip.

    images [N, C, H, W] -> [N, C, H, W], same dtype
    """
    _, channels, height, width = images.shape
    column = torch.arange(width, device=images.device)
    columns = torch.where(flip[:, None] > 0, width - 1 - column, column) + dx[:, None]
    rows = torch.arange(height, device=images.device) + dy[:, None]
    pixel = (rows[:, :, None] * (width + 2 * crop) + columns[:, None, :]).flatten(1)
    padded = F.pad(images, (crop, crop, crop, crop)).flatten(2)
    return padded.gather(2, pixel[:, None].expand(-1, channels, -1)).view_as(images)


def normalize(
    images: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32
) -> Tensor:
    """(images / 255 - mean) / std for each channel.        images uint8 [..., C, H, W] -> floating point"""
    # float64 stays exact, narrower types than float32 are rounded once, at the end.
    wide = torch.promote_types(dtype, torch.float32)
    scale, shift = _scale_shift(tuple(mean), tuple(std), wide, images.device)
    return images.to(wide).mul_(scale).sub_(shift).to(dtype)


def cutout(x: Tensor, cy: Tensor, cx: Tensor, side: int) -> Tensor:
    """Zero a square of side x side pixels centred at (cy, cx), clipped at the borders.        x [N, C, H, W]"""
    inside_y = _inside(x.shape[2], cy, side)
    inside_x = _inside(x.shape[3], cx, side)
    return x.masked_fill((inside_y[:, :, None] & inside_x[:, None, :])[:, None], 0)


def augment(
    images: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    generator: torch.Generator,
    *,
    crop: int = 4,
    flip: bool = True,
    cutout_side: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Crop, flip, normalise, cut out.        images uint8 [N, C, H, W] -> [N, C, H, W] of `dtype`, on their device

    crop is the padding, cutout_side the side of the square, both in pixels, 0 for none. A generator on the CPU gives
    the same batch on every device.
    """
    count, _, height, width = images.shape
    draws = draw(count, height, width, crop, generator)
    dy, dx, mirror, cy, cx = torch.stack(draws).to(images.device, non_blocking=True)
    if crop or flip:
        images = crop_flip(images, dy, dx, mirror if flip else torch.zeros_like(mirror), crop)
    x = normalize(images, mean, std, dtype)
    return cutout(x, cy, cx, cutout_side) if cutout_side else x


def _inside(size: int, centre: Tensor, side: int) -> Tensor:
    """Which of `size` positions lie in the `side` ones around each centre.        centre [N] -> bool [N, size]"""
    offset = torch.arange(size, device=centre.device) - (centre[:, None] - side // 2)
    return (offset >= 0) & (offset < side)


@lru_cache(maxsize=32)
def _scale_shift(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """x * scale - shift normalises uint8 x; kept, because a copy to the device each batch would stall it."""
    m, s = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (mean, std))
    return (1 / (255 * s)).to(device, dtype), (m / s).to(device, dtype)
