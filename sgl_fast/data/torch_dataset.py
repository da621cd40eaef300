"""A torch Dataset of one's own, read into memory."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .dataset import Dataset
from .decode import to_pixels
from .in_memory import assemble, fit, split_dataset


def from_torch(
    train: Any,
    val: Any = None,
    test: Any = None,
    unlabeled: Any = None,
    image_size: int | None = None,
    seed: int = 0,
    name: str = "custom",
    classes: tuple[str, ...] | None = None,
) -> Dataset:
    """A Dataset from map-style torch Datasets of (image, label).

    image       PIL, or a tensor [H, W] or [C, H, W], C = 1 or 3: uint8, or floating point from 0 to 1
    val, test   both given: used as they are; no val: `train` is split in halves; neither: in 40% / 40% / 20%
    unlabeled   another Dataset, its labels ignored; None: the training images
    image_size  resize to image_size x image_size; None: all images must have one size
    classes     None: the attribute `classes` of `train` where it has one
    """
    if val is not None and test is None:
        raise ValueError("from_torch: need test where val is given")
    if classes is None and (named := getattr(train, "classes", None)) is not None:
        classes = tuple(str(c) for c in named)
    images, labels = _read(train, "train", image_size)
    tested = None if test is None else _read(test, "test", image_size)
    others = None if unlabeled is None else _read(unlabeled, "unlabeled", image_size)[0]
    source = f"a torch Dataset, {type(train).__name__}"
    if val is None or tested is None:
        return split_dataset(name, source, images, labels, classes, seed, others, tested)
    return assemble(name, source, classes, (images, labels), _read(val, "val", image_size), tested, others)


def _read(dataset: Any, role: str, size: int | None) -> tuple[Tensor, Tensor]:
    """(images uint8 [M, 3, H, W], labels int64 [M])"""
    images: list[Tensor] = []
    labels: list[int] = []
    for position in range(len(dataset)):
        image, label = dataset[position]
        pixels = _pixels(image, f"{role}[{position}]", size)
        if images and pixels.shape != images[0].shape:
            sizes = f"{list(pixels.shape)}, the first is {list(images[0].shape)}"
            raise ValueError(f"{role}[{position}]: image {sizes}; an image size (image_size) makes them equal")
        images.append(pixels)
        labels.append(int(label))
    if not images:
        raise ValueError(f"{role}: the torch Dataset is empty")
    return torch.stack(images), torch.tensor(labels)


def _pixels(image: Any, where: str, size: int | None) -> Tensor:
    """One image of any allowed kind -> uint8 [3, H, W]."""
    if isinstance(image, Image.Image):
        return to_pixels(image if size is None else fit(image, (size, size)))
    if not isinstance(image, Tensor) or image.ndim not in (2, 3) or (image.ndim == 3 and len(image) not in (1, 3)):
        got = f"{list(image.shape)} {image.dtype}" if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"{where}: need a PIL image or a tensor [H, W] or [1 or 3, H, W]; got {got}")
    if image.is_floating_point():
        # Normalised images would be clipped to noise: a range is asked for instead.
        if not (float(image.min()) >= 0 and float(image.max()) <= 1):
            raise ValueError(f"{where}: need floating-point pixels from 0 to 1, not normalised; got {_range(image)}")
        image = (image * 255).round().to(torch.uint8)
    if image.dtype != torch.uint8:
        raise ValueError(f"{where}: need uint8 or floating-point pixels; got {image.dtype}")
    image = image.expand(3, -1, -1)
    if size is None:
        return image
    shape = (size, size)
    return F.interpolate(image[None], shape, mode="bilinear", antialias=True, align_corners=False)[0]


def _range(image: Tensor) -> str:
    return f"{float(image.min()):.3g} to {float(image.max()):.3g}"
