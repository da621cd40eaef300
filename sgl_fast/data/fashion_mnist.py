"""Fashion-MNIST: the subset in the package and the full set from its IDX files, as 32x32 colour images."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import reason
from .dataset import Dataset
from .idx import read_labeled
from .make_embedded import EMBEDDED
from .splits import split_by_class

CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
# Of the 60,000 training images at 28x28, before they are padded.
MEAN, STD = 0.28604, 0.35302
_MOST = 1 << 26  # bytes of the subset, five times what it has


def embedded(path: Path = EMBEDDED) -> Dataset:
    """The subset in the package: 2,000 / 2,000 / 1,000 unlabelled / 1,000 test images."""
    try:
        # Opened here: np.load leaves a file that it refuses open.
        with path.open("rb") as opened:
            if sum(entry.file_size for entry in zipfile.ZipFile(opened).infolist()) > _MOST:
                raise ValueError(f"it holds more than {_MOST} bytes")
            with np.load(opened, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
        parts = [(arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in ("train", "val", "test")]
        unlabeled = arrays["unlabeled_images"]
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not the embedded data ({reason(error)})") from None
    return _dataset("embedded", parts, unlabeled, "the subset of Fashion-MNIST in the package")


def full(folder: Path, seed: int) -> Dataset:
    """All of it: the training file split by seed, class by class, into 25/60, 25/60 and 10/60 unlabelled."""
    images, labels = read_labeled(folder, "train")
    train, val, unlabeled = split_by_class(labels, (25 / 60, 25 / 60, 10 / 60), seed)
    parts = [(images[train], labels[train]), (images[val], labels[val]), read_labeled(folder, "t10k")]
    return _dataset(
        "fashion_mnist", parts, images[unlabeled], f"all of Fashion-MNIST, from {folder}, split by seed {seed}"
    )


def _dataset(name: str, parts: list[tuple[np.ndarray, np.ndarray]], unlabeled: np.ndarray, source: str) -> Dataset:
    train, val, test = ((_colour(images), torch.from_numpy(labels.astype(np.int64))) for images, labels in parts)
    return Dataset(
        name=name,
        classes=CLASSES,
        train=train,
        val=val,
        test=test,
        unlabeled=_colour(unlabeled),
        mean=(MEAN,) * 3,
        std=(STD,) * 3,
        source=source,
    )


def _colour(images: np.ndarray) -> Tensor:
    """Grey uint8 [M, 28, 28] -> [M, 3, 32, 32], zeros around it; the three channels are one memory."""
    padded = torch.from_numpy(np.pad(images, ((0, 0), (2, 2), (2, 2))))
    return padded[:, None].expand(-1, 3, -1, -1)
