"""A data set by its name."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from ..errors import told_in_one_line
from ..files import user_path
from ..integers import whole
from .cifar import open_cifar
from .cifar_forms import FORMS
from .dataset import Dataset, halved
from .fashion_mnist import embedded, full
from .image_folder import open_folder, with_folder
from .imagenet import open_imagenet, open_whole
from .in_memory import check_size
from .locate import FROM_PYTHON, PYTHON, choose, data_root, fashion_mnist_folder, imagenet_folder

_SIDE, _HALF = 32, 16  # of the sets that are neither folders nor ImageNet
_CHALLENGE = "ILSVRC/Data/CLS-LOC"  # where the challenge's own archive has ImageNet's folders


@told_in_one_line()
def open_dataset(
    name: str,
    root: str | None = None,
    unlabeled: str | None = None,
    image_size: int | None = None,
    seed: int = 0,
    download: bool = False,
    whole: bool = False,
) -> Dataset:
    """The data set `name`, one of `DATASETS`, split and checked; a ValueError of one line where it can't be.

    root        folder that data sets are looked for in; None: $SGL_FAST_DATA, else data/
    unlabeled   None: what the data set has for it (CIFAR: the other CIFAR's training images; a folder of images: its
                training images); "train": the training images, as the released code does; else a folder of images
    image_size  of "imagenet" (224 by default) and "folder:PATH" (the files' own by default); the others have 32, or 16,
                the mean of each 2x2 pixels
    seed        of the splits; CIFAR's split needs none, it is the first and the second half of the training file
    download    let torchvision fetch the CIFAR archives that are missing; without it nothing is ever fetched
    whole       of "imagenet" all training images, as train, val and unlabelled, not the subset of the searches
    """
    name = choose(name, root)
    image_size = _check_image_size(name, image_size)
    if unlabeled not in (None, "train") and not os.path.isdir(user_path(unlabeled)):
        raise ValueError(f"unlabeled: need the word train or a folder of images; there is no folder {unlabeled}")
    dataset = _open(name, data_root(root), image_size, seed, unlabeled is None, download, whole)
    if image_size not in (None, dataset.image_size[0]):
        dataset = halved(dataset)
    return with_unlabeled(dataset, unlabeled)


def with_unlabeled(dataset: Dataset, unlabeled: str | None) -> Dataset:
    """Its images without labels those of `open_dataset`'s `unlabeled`."""
    if unlabeled is None:
        return dataset
    if unlabeled != "train":
        return with_folder(dataset, user_path(unlabeled))
    files = {**dataset.files, "unlabeled": dataset.files["train"]} if dataset.files else {}
    return dataclasses.replace(dataset, unlabeled=dataset.train[0], files=files)


def _open(
    name: str, folder: Path, image_size: int | None, seed: int, external: bool, download: bool, whole: bool
) -> Dataset:
    if name.startswith("folder:"):
        return open_folder(user_path(name.removeprefix("folder:")), image_size, seed)
    if name.startswith(PYTHON):
        raise ValueError(f"{name}: {FROM_PYTHON}")
    if name in FORMS:
        return open_cifar(name, folder, external, download)
    if name == "embedded":
        return embedded()
    place = imagenet_folder(folder) if name == "imagenet" else fashion_mnist_folder(folder)
    if place is None:
        need = "folder with train/ and val/" if name == "imagenet" else "IDX files"
        hint = f"; {below} has one" if name == "imagenet" and imagenet_folder(below := folder / _CHALLENGE) else ""
        raise ValueError(f"{name}: no {need} in {folder} (root, SGL_FAST_DATA){hint}")
    if name != "imagenet":
        return full(place, seed)
    return open_whole(place, image_size or 224) if whole else open_imagenet(place, image_size or 224, seed)


def _check_image_size(name: str, image_size: int | None) -> int | None:
    if name == "imagenet" or name.startswith("folder:"):
        return check_size(image_size, name)
    if image_size is not None and whole(image_size) not in (_SIDE, _HALF):
        raise ValueError(f"image_size: {name} takes {_SIDE} or {_HALF}; got {image_size}")
    return image_size
