"""A torch Dataset of one's own, read into memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import ImageError, reason, told_in_one_line
from ..integers import whole
from .dataset import MOST_CLASSES, Dataset
from .image_store import fit
from .in_memory import assemble, check_size, split_dataset
from .pixels import rgb, tensor_of, to_bytes
from .room import fits


@told_in_one_line()
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
    """A Dataset from map-style torch Datasets of (image, label), kept in memory.

    image       PIL of any mode (see `pixels.rgb`), or a tensor [H, W] or [C, H, W], or a numpy array [H, W] or
                [H, W, C], C = 1 or 3: bool, uint8 or uint16 by their whole range, or floating point from 0 to 1
    label       a whole number from 0, int or numpy's or torch's
    val, test   both given: used as they are; no val: `train` is split in halves; neither: in 40% / 40% / 20%
    unlabeled   another Dataset, its labels ignored; None: the training images
    image_size  resize to image_size x image_size; None: all images must have one size
    classes     None: the attribute `classes` of `train` where it has one
    A ValueError of one line names the role and position of what cannot be taken, or says what would fill the memory.
    """
    if val is not None and test is None:
        raise ValueError("from_torch: need test where val is given")
    image_size = check_size(image_size, "from_torch")
    if classes is None and isinstance(named := getattr(train, "classes", None), (tuple, list)):
        classes = tuple(str(c) for c in named)
    limit = MOST_CLASSES if classes is None else len(classes)
    images, labels = _read(train, "train", image_size, limit)
    tested = None if test is None else _read(test, "test", image_size, limit)
    others = None if unlabeled is None else _read(unlabeled, "unlabeled", image_size, None)[0]
    source = f"a torch Dataset, {type(train).__name__}"
    if val is None or tested is None:
        return split_dataset(name, source, images, labels, classes, seed, others, tested)
    return assemble(name, source, classes, (images, labels), _read(val, "val", image_size, limit), tested, others)


def _read(dataset: Any, role: str, size: int | None, classes: int | None) -> tuple[Tensor, Tensor]:
    """(images uint8 [M, 3, H, W], labels int64 [M], below `classes`; 0 where that is None)"""
    count = _length(dataset, role)
    if not count:
        raise ValueError(f"{role}: the torch Dataset is empty")
    images, labels = torch.empty(0), torch.zeros(count, dtype=torch.int64)
    for position in range(count):
        where = f"{role}[{position}]"
        image, label = _pair(dataset[position], where)
        pixels = _pixels(image, where, size)
        if not position:
            images = _room(count, pixels.shape, role)
        elif pixels.shape != images.shape[1:]:
            sizes = f"{list(pixels.shape)}, the first is {list(images.shape[1:])}"
            raise ValueError(f"{where}: image {sizes}; an image size (image_size) makes them equal")
        images[position] = pixels
        labels[position] = 0 if classes is None else _label(label, where, classes)
    return images, labels


def _room(count: int, shape: torch.Size, role: str) -> Tensor:
    """For so many images of a shape [3, H, W]; a ValueError where they would fill the memory."""
    _, height, width = shape
    if not fits(count, (height, width)):
        need = f"{role}: {count} images of {height}x{width} pixels would fill the memory"
        raise ValueError(f"{need}; a smaller image_size, or a folder of image files, which are read as they are needed")
    return torch.empty(count, *shape, dtype=torch.uint8)


def _length(dataset: Any, role: str) -> int:
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise ValueError(f"{role}: need a map-style Dataset, with a length; got {type(dataset).__name__}")
    return len(dataset)


def _pair(item: Any, where: str) -> Sequence[Any]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        got = f"{len(item)} of them" if isinstance(item, (tuple, list)) else type(item).__name__
        raise ValueError(f"{where}: need a pair (image, label); got {got}")
    return item


def _label(label: Any, where: str, classes: int) -> int:
    index = whole(label.reshape(()) if isinstance(label, np.ndarray) and label.size == 1 else label)
    if index is None or not 0 <= index < classes:
        need = f"need a label that is a whole number from 0 to {classes - 1}"
        raise ValueError(f"{where}: {need}; got {repr(label)[:60]}")
    return index


def _pixels(image: Any, where: str, size: int | None) -> Tensor:
    """One image of any allowed kind -> uint8 [3, H, W]."""
    try:
        picture = rgb(image) if isinstance(image, Image.Image) else to_bytes(_channels_last(image))
    except Exception as error:  # a PIL image may be decoded only now
        raise ImageError(f"{where}: {reason(error)}") from None
    if size is None:
        return tensor_of(picture)
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(np.repeat(picture, 3 // picture.shape[2], axis=2))
    return tensor_of(fit(picture, (size, size)))


def _channels_last(image: Any) -> np.ndarray:
    """A tensor [H, W] or [C, H, W], or an array [H, W] or [H, W, C] -> [H, W, C] of its own type."""
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        values = (image.float() if image.is_floating_point() and image.itemsize < 4 else image).numpy()
        values = values.transpose(1, 2, 0) if values.ndim == 3 else values
    elif isinstance(image, np.ndarray):
        values = image
    else:
        raise ValueError(f"need a PIL image, a tensor or an array; got {type(image).__name__}")
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[2] not in (1, 3) or not values.size:
        need = "a tensor [H, W] or [C, H, W]" if isinstance(image, Tensor) else "an array [H, W] or [H, W, C]"
        raise ValueError(f"need {need}, C 1 or 3; got {list(image.shape)} {image.dtype}")
    out: np.ndarray = values
    return out
