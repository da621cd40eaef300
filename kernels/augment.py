"""Crop, flip, normalise, cut out. A program takes pixels of an image, all channels."""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from .jit import kernel
from .launch import ceil_div, device_guard, power_of_two

BLOCK = 1024  # pixels of a program, at most


@kernel
def augment_kernel(images, draws, levels, out, M, image, channel, C, H, W, crop, cutout, BLOCK: tl.constexpr):
    """draws (N, 6) [index, dy, dx, flip, cy, cx], levels (C, 256), out (N, C, H, W)

    images (M, C, H, W), `image` and `channel` pixels from one to the next; all NaN where the index is none of the M
    """
    n, pixels = tl.program_id(0).to(tl.int64), H * W
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    y, x, here = i // W, i % W, i < pixels
    draw = draws + n * 6
    index, flip = tl.load(draw), tl.load(draw + 3)
    known = (index >= 0) & (index < M)
    dy, dx = tl.load(draw + 1).to(tl.int32), tl.load(draw + 2).to(tl.int32)
    down = y - (tl.load(draw + 4).to(tl.int32) - cutout // 2)
    right = x - (tl.load(draw + 5).to(tl.int32) - cutout // 2)
    cut = (down >= 0) & (down < cutout) & (right >= 0) & (right < cutout)
    row, column = y + dy - crop, tl.where(flip > 0, W - 1 - x, x) + dx - crop
    inside = (row >= 0) & (row < H) & (column >= 0) & (column < W) & here & known
    for c in range(C):
        pixel = tl.load(images + index * image + c * channel + row * W + column, mask=inside, other=0).to(tl.int32)
        value = tl.load(levels + c * 256 + pixel)
        value = tl.where(known, tl.where(cut, 0.0, value), float("nan"))
        tl.store(out + (n * C + c) * pixels + i, value, mask=here)


def augment(images: Tensor, draws: Tensor, levels: Tensor, crop: int, cutout: int) -> Tensor:
    """(M, C, H, W) uint8, (N, 6) int64, (C, 256) -> (N, C, H, W) float32"""
    draws, levels = draws.contiguous(), levels.contiguous()
    (_, C, H, W), N = images.shape, len(draws)
    if images.stride()[2:] != (W, 1):
        images = images.contiguous()
    out, block = images.new_empty(N, C, H, W, dtype=torch.float32), min(BLOCK, power_of_two(H * W))
    sizes = len(images), *images.stride()[:2], C, H, W
    with device_guard(images):
        augment_kernel[(N, ceil_div(H * W, block))](images, draws, levels, out, *sizes, crop, cutout, block)
    return out
