"""Training and validation images as one set for training from scratch, and images held out of both."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .dataset import Dataset, Images
from .image_store import ImageStore
from .seeds import shuffled

_HELD_OUT = 5_000_000  # what a shuffle is for; the same for every seed of a run
Split = tuple[Images, Tensor]


def with_validation(dataset: Dataset, limit: int | None = None) -> Dataset:
    """The data set whose training images are training and validation images, each cut to `limit` before.

    Where both are one split already, as of the whole of ImageNet, they are that one's images.
    """
    splits = [dataset.train] if dataset.val is dataset.train else [dataset.train, dataset.val]
    cut = [chosen(split, torch.arange(min(len(split[1]), limit or len(split[1])))) for split in splits]
    both = joined(dataset.name, [images for images, _ in cut]), torch.cat([labels for _, labels in cut])
    return replace(dataset, train=both, val=both, unlabeled=both[0])


def hold_out(dataset: Dataset, count: int) -> Dataset:
    """Tested on `count` images, drawn uniformly from the training and validation images, which lose them.

    They do not depend on any seed: searches and trainings that hold out as many hold out the same. ValueError where
    none would be left.
    """
    sizes = [len(dataset.train[1]), 0 if dataset.val is dataset.train else len(dataset.val[1])]
    order = torch.from_numpy(shuffled(sum(sizes), _HELD_OUT))
    out, kept = order[:count], order[count:].sort().values
    cuts = [kept[kept < sizes[0]], kept[kept >= sizes[0]] - sizes[0]]
    if any(not len(cut) for cut, size in zip(cuts, sizes, strict=True) if size):
        raise ValueError(f"held_out: need fewer than the {sum(sizes)} images to train on; got {count}")
    train = chosen(dataset.train, cuts[0])
    if not sizes[1]:
        return replace(dataset, train=train, val=train, test=chosen(dataset.train, out), unlabeled=train[0])
    outs = [chosen(dataset.train, out[out < sizes[0]]), chosen(dataset.val, out[out >= sizes[0]] - sizes[0])]
    test = joined(dataset.name, [images for images, _ in outs]), torch.cat([labels for _, labels in outs])
    unlabeled = train[0] if dataset.unlabeled is dataset.train[0] else dataset.unlabeled
    source = f"{dataset.source}; {count} images held out, tested in place of the test set"
    return replace(
        dataset, train=train, val=chosen(dataset.val, cuts[1]), test=test, unlabeled=unlabeled, source=source
    )


def chosen(split: Split, positions: Tensor) -> Split:
    """The images and labels at these positions."""
    images, labels = split
    if len(positions) == len(labels) and torch.equal(positions, torch.arange(len(labels))):
        return split
    return images.select(positions) if isinstance(images, ImageStore) else images[positions], labels[positions]


def joined(name: str, parts: list[Images]) -> Images:
    """The images of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    tensors = [images for images in parts if isinstance(images, Tensor)]
    stores = [images for images in parts if isinstance(images, ImageStore)]
    if len(tensors) == len(parts):
        return torch.cat(tensors)
    if len(stores) == len(parts):
        return stores[0].of([path for store in stores for path in store.paths])
    raise ValueError(f"{name}: need training and validation images both in memory or both in files")
