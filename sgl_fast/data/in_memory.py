"""Data sets from images that are all in memory."""

from __future__ import annotations

import torch
from torch import Tensor

from ..integers import whole
from .dataset import Dataset, moments
from .splits import split_by_class

SHARES = (0.4, 0.4, 0.2)
_LARGEST = 4096  # pixels a side


def check_size(size: int | None, what: str) -> int | None:
    """A side in pixels as an int, None as it is; ValueError for one that no image should have."""
    if size is not None and not 1 <= (whole(size) or 0) <= _LARGEST:
        raise ValueError(f"image_size: {what} takes one from 1 to {_LARGEST}; got {size!r}")
    return whole(size)


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
    shares = SHARES if test is None else (0.5, 0.5)
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
