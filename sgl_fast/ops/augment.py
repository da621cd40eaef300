"""Batches of augmented images, straight from images that are all in memory: the same bits on every backend."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backends.choice import choose
from ..reference import augment as reference
from .registry import Operator, refuse_gradients, register, said

STEM = "augment"
MOST = 2**20  # pixels of padding or of a square's side; a centre lies as near


def _check(images: Tensor, draws: Tensor, levels: Tensor, crop: int, cutout: int) -> None:
    if images.dim() != 4 or images.numel() == 0 or images.dtype != torch.uint8:
        raise ValueError(f"need images (M, C, H, W), not empty, torch.uint8; got {said(images)}")
    if draws.dim() != 2 or draws.shape[1] != 6 or not len(draws) or draws.dtype != torch.int64:
        raise ValueError(f"need draws (N, 6), not empty, torch.int64; got {said(draws)}")
    C = images.shape[1]
    if levels.shape != (C, 256) or not levels.is_floating_point():
        raise ValueError(f"need levels ({C}, 256), floating point; got {said(levels)}")
    if crop < 0 or cutout < 0:
        raise ValueError(f"need crop and cutout of at least 0; got {crop}, {cutout}")
    if max(crop, cutout) >= MOST:
        raise ValueError(f"need crop and cutout from 0 to below {MOST}; got {crop}, {cutout}")
    if draws.device.type == "cpu" and not torch.compiler.is_compiling() and type(draws) is Tensor:
        _check_values(draws, len(images), crop)


def _check_values(draws: Tensor, images: int, crop: int) -> None:
    """Where they can be read without waiting. On a device an image of an index outside of [0, M) is all NaN."""
    low, high = (bound.tolist() for bound in draws.aminmax(dim=0))
    limits = {"index": images - 1, "dy": 2 * crop, "dx": 2 * crop, "flip": 1}
    for (name, most), least, largest in zip(limits.items(), low, high, strict=False):
        if least < 0 or largest > most:
            raise ValueError(f"need draws with {name} from 0 to {most}; got {least} to {largest}")
    if max(-min(low[4:]), max(high[4:])) >= MOST:
        raise ValueError(f"need draws with cy and cx within {MOST}; got {min(low[4:])} to {max(high[4:])}")


_augment: Operator[Tensor] = register(
    "augment(Tensor images, Tensor draws, Tensor levels, int crop, int cutout) -> Tensor",
    _check,
    lambda images, draws, levels, crop, cutout: levels.new_empty(draws.shape[0], *images.shape[1:]),
    STEM,
    reference.augment,
)
refuse_gradients(_augment)


def augment(
    images: Tensor, draws: Tensor, levels: Tensor, crop: int = 0, cutout: int = 0, backend: str | None = None
) -> Tensor:
    """Crop with zero padding and flip, then normalise, then cut out; each image by its own draws.

    images  uint8 (M, C, H, W)
    draws   int64 (N, 6): index of the image, offset (dy, dx) of the window in the padded image, 0 to 2 * crop, flip, 0
            or 1, and centre (cy, cx) of the square that is cut out; crop and cutout, the square's side, in pixels
    levels  (C, 256), the normalised value of each pixel; the reference computes other types than float32, whatever is
            asked for
    -> (N, C, H, W) of the levels' dtype, on the images' device, where all are
    """
    name = choose(backend, images.device) if levels.dtype == torch.float32 else "reference"
    return _augment.on(name)(images, draws, levels, crop, cutout)
