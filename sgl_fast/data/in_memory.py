"""Data sets from images that are all in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..integers import whole
from .dataset import Dataset, moments
from .decode import decode_all
from .splits import split_by_class

_SHARES = (0.4, 0.4, 0.2)
_LARGEST = 4096  # pixels a side


def check_size(size: int | None, what: str) -> int | None:
    """A side in pixels as an int, None as it is; ValueError for one that no image should have."""
    if size is not None and not 1 <= (whole(size) or 0) <= _LARGEST:
        raise ValueError(f"image_size: {what} takes one from 1 to {_LARGEST}; got {size!r}")
    return whole(size)


def load_images(paths: Sequence[Path], size: tuple[int, int] | None) -> Tensor:
    """Decode files to uint8 [M, 3, H, W].

    size   (H, W): the largest centred window of that aspect ratio, resized; None: all files must have one size
    """
    shape = _as_is if size is None else partial(fit, size=size)
    images = decode_all(paths, [shape] * len(paths))
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            sizes = f"{_pixels(image)} pixels, {paths[0].name} has {_pixels(images[0])}"
            raise ValueError(f"{path}: {sizes}; an image size (image_size) makes them equal")
    return torch.stack(images)


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest centred window of an RGB image with the aspect ratio of size (H, W), resized to it."""
    height, width = size
    return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)


def split_dataset(
    name: str,
    source: str,
    images: Tensor,
    labels: Tensor,
    classes: tuple[str, ...] | None,
    seed: int,
    unlabeled: Tensor | None = None,
    test: tuple[Tensor, Tensor] | None = None,
) -> Dataset:
    """Split class by class into 40% train, 40% val, 20% test, or into halves where there is a test set.

    The training images serve as the unlabelled ones where there are none.
    """
    shares = _SHARES if test is None else (0.5, 0.5)
    parts = [torch.from_numpy(p) for p in split_by_class(labels.numpy(), shares, seed, classes)]
    train, val = ((images[p], labels[p]) for p in parts[:2])
    if test is None:
        test = images[parts[2]], labels[parts[2]]
    return assemble(name, f"{source}, split by seed {seed}", classes, train, val, test, unlabeled)


def assemble(
    name: str,
    source: str,
    classes: tuple[str, ...] | None,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    unlabeled: Tensor | None,
) -> Dataset:
    """A Dataset from its parts; mean and standard deviation are the training images'."""
    mean, std = moments(train[0])
    others = train[0] if unlabeled is None else unlabeled
    return Dataset(name, classes, train, val, test, others, mean, std, source)


def _as_is(image: Image.Image) -> Image.Image:
    return image


def _pixels(image: Tensor) -> str:
    return f"{image.shape[1]}x{image.shape[2]}"
