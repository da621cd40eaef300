"""The one form in which every source gives its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import one_line
from .batch import outside
from .image_store import ImageStore

Images = Tensor | ImageStore
Triple = tuple[float, float, float]
SAMPLED = 8192  # images that mean and standard deviation are taken of
MOST_CLASSES = 1 << 20  # a label beyond is no class index, whatever the classes are


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels of one source, checked when it is made.

    classes           the classes' names, or None where they have none
    train, val, test  (images, labels): uint8 [M, 3, H, W] in CPU memory, or an ImageStore that decodes them when
                      asked; int64 [M]
    unlabeled         images of the same size, never empty
    mean, std         of the channels, pixels counted from 0 to 1
    source            what this is and where it comes from, for `note`
    files             of each role whose images come from a folder, the files
    """

    name: str
    classes: tuple[str, ...] | None
    train: tuple[Images, Tensor]
    val: tuple[Images, Tensor]
    test: tuple[Images, Tensor]
    unlabeled: Images
    mean: Triple
    std: Triple
    source: str
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = self.train[0].shape[1:]
        for split in ("train", "val", "test"):
            images, labels = getattr(self, split)
            _check_images(f"{self.name} {split}", images, size)
            _check_labels(f"{self.name} {split}", labels, len(images), self.num_classes)
        _check_images(f"{self.name} unlabeled", self.unlabeled, size)

    @property
    def num_classes(self) -> int:
        """J; counted from the labels where the classes have no names."""
        if self.classes is not None:
            return len(self.classes)
        return 1 + max(int(labels.max()) for _, labels in (self.train, self.val, self.test) if len(labels))

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.train[0].shape[2], self.train[0].shape[3]

    @property
    def note(self) -> str:
        """One line for the user: what this is, where it comes from, how many images of which size."""
        train, val, test = len(self.train[1]), len(self.val[1]), len(self.test[1])
        same = " (the training images)" if self.unlabeled is self.train[0] else ""
        height, width = self.image_size
        sizes = f"{train} train, {val} val, {len(self.unlabeled)} unlabelled{same}, {test} test"
        classes = f"{self.num_classes} classes{self._without_images()}"
        return one_line(f"{self.name}: {self.source}; {sizes}; {classes}, {height}x{width} pixels")

    def _without_images(self) -> str:
        """Words for the classes that no training image has, as where labels count from 1."""
        empty = (self.train[1].bincount(minlength=self.num_classes) == 0).nonzero().flatten().tolist()
        named = ", ".join(str(i) if self.classes is None else self.classes[i] for i in empty[:3])
        more = f" and {len(empty) - 3} more" if len(empty) > 3 else ""
        return f" (no training image of {named}{more})" if empty else ""


def moments(images: Images) -> tuple[Triple, Triple]:
    """Mean and standard deviation of each channel of uint8 [M, 3, H, W], pixels counted from 0 to 1.

    Exact, of all images or, of more than SAMPLED, of so many at most, evenly spaced.
    """
    value, counts = torch.arange(256, dtype=torch.float64) / 255, torch.zeros(3, 256, dtype=torch.int64)
    for index in torch.arange(0, len(images), -(-len(images) // SAMPLED)).split(256):
        pixels = images[index]
        counts += torch.stack([torch.bincount(pixels[:, channel].flatten(), minlength=256) for channel in range(3)])
    means, stds = [], []
    for weight in counts.double() / counts[0].sum():
        mean = float(weight @ value)
        means.append(mean)
        # A channel that never varies would be divided by zero: half a grey level stands for its spread.
        stds.append(max(float(weight @ (value - mean) ** 2) ** 0.5, 0.5 / 255))
    return (means[0], means[1], means[2]), (stds[0], stds[1], stds[2])


def halved(dataset: Dataset) -> Dataset:
    """Its images at half the side, each pixel the mean of 2x2, rounded; images in memory."""
    train, val, test = ((_halved(images), labels) for images, labels in (dataset.train, dataset.val, dataset.test))
    source = f"{dataset.source}, at half the side"
    return replace(dataset, train=train, val=val, test=test, unlabeled=_halved(dataset.unlabeled), source=source)


def _halved(images: Images) -> Tensor:
    assert isinstance(images, Tensor)
    planes = images[:, :1] if images.stride(1) == 0 else images  # grey images have one plane in memory for all channels
    sums: Tensor = planes.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).sum((3, 5), dtype=torch.int16)
    return ((sums + 2) // 4).to(torch.uint8).expand(-1, 3, -1, -1)


def _check_images(what: str, images: Images, size: tuple[int, ...]) -> None:
    fits = len(images.shape) == 4 and images.shape[0] > 0 and images.shape[1] == 3 and images.shape[1:] == size
    if not fits or images.dtype != torch.uint8:
        need = f"need at least one image, uint8, {list(size)} as in train"
        raise ValueError(f"{what}: {need}; got {list(images.shape)} {images.dtype}")


def _check_labels(what: str, labels: Tensor, count: int, num_classes: int) -> None:
    if labels.dtype != torch.int64 or labels.shape != (count,):
        raise ValueError(f"{what}: need {count} labels int64; got {list(labels.shape)} {labels.dtype}")
    limit = min(num_classes, MOST_CLASSES)
    if (place := outside(labels, limit)) is not None:
        raise ValueError(f"{what}: need labels from 0 to {limit - 1}; got {int(labels[place])} at image {place[0]}")
