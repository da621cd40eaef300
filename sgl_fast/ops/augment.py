"""Batches of augmented images, straight from images that are all in memory: the same bits on every backend."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import reference_augment as reference
from ..backend import choose
from .registry import register

STEM = "augment"
_augment = register(
    "augment(Tensor images, Tensor draws, Tensor levels, int crop, int cutout) -> Tensor",
    lambda images, draws, levels, crop, cutout: levels.new_empty(draws.shape[0], *images.shape[1:]),
    STEM,
)


def augment(
    images: Tensor, draws: Tensor, levels: Tensor, crop: int = 0, cutout: int = 0, backend: str | None = None
) -> Tensor:
    """Crop with zero padding and flip, then normalise, then cut out; each image by its own draws.

    images  uint8 (M, C, H, W)
    draws   int64 (N, 6), trusted: index of the image, offset (dy, dx) of the window in the padded image, 0 to 2 * crop,
            flip, and centre (cy, cx) of the square that is cut out; crop and cutout, the square's side, in pixels
    levels  (C, 256), the normalised value of each pixel; the reference computes other types than float32, whatever is
            asked for
    -> (N, C, H, W) of the levels' dtype, on the images' device, where all are
    """
    if images.dim() != 4 or images.numel() == 0 or images.dtype != torch.uint8:
        raise ValueError(f"need images (M, C, H, W), not empty, torch.uint8; got {tuple(images.shape)} {images.dtype}")
    if draws.dim() != 2 or draws.shape[1] != 6 or not len(draws) or draws.dtype != torch.int64:
        raise ValueError(f"need draws (N, 6), not empty, torch.int64; got {tuple(draws.shape)} {draws.dtype}")
    C = images.shape[1]
    if levels.shape != (C, 256) or not levels.is_floating_point():
        raise ValueError(f"need levels ({C}, 256), floating point; got {tuple(levels.shape)} {levels.dtype}")
    if crop < 0 or cutout < 0:
        raise ValueError(f"need crop and cutout of at least 0; got {crop}, {cutout}")
    name = choose(backend, images.device) if levels.dtype == torch.float32 else "reference"
    kernel = reference.augment if name == "reference" else _augment.on(name)
    return kernel(images, draws, levels, crop, cutout)
