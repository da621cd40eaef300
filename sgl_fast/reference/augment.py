"""Augmentation in plain PyTorch, in any floating-point type on any device: the specification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, draws: Tensor, levels: Tensor, crop: int, cutout_side: int) -> Tensor:
    """Crop, flip, normalise, cut out.

    images uint8 (M, C, H, W), draws int64 (N, 6) [index, dy, dx, flip, cy, cx]
    levels (C, 256), the value of each pixel                                        -> (N, C, H, W) of their dtype
    """
    index, dy, dx, flip, cy, cx = draws.unbind(1)
    pixels = crop_flip(images[index], dy, dx, flip, crop)
    N, C = pixels.shape[:2]
    x = levels.expand(N, C, 256).gather(2, pixels.flatten(2).long()).view(pixels.shape)
    return cutout(x, cy, cx, cutout_side) if cutout_side else x


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


def cutout(x: Tensor, cy: Tensor, cx: Tensor, side: int) -> Tensor:
    """Zero a square of side x side pixels centred at (cy, cx), clipped at the borders.        x [N, C, H, W]"""
    inside_y = _inside(x.shape[2], cy, side)
    inside_x = _inside(x.shape[3], cx, side)
    return x.masked_fill((inside_y[:, :, None] & inside_x[:, None, :])[:, None], 0)


def _inside(size: int, centre: Tensor, side: int) -> Tensor:
    """Which of `size` positions lie in the `side` ones around each centre.        centre [N] -> bool [N, size]"""
    offset = torch.arange(size, device=centre.device) - (centre[:, None] - side // 2)
    return (offset >= 0) & (offset < side)
