"""Any folder of images, one folder a class: in memory, or, where they would fill it, read as they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from .dataset import Dataset, Images, moments
from .decode import decode
from .image_files import LeftOut, check_classes, class_files, image_files
from .image_store import FittedStore, WindowStore, check_like
from .in_memory import SHARES
from .room import fits
from .splits import split_by_class

ROLES = ("train", "val", "test")
Labeled = tuple[list[Path], Tensor]
_CHUNK = 1024  # images that are decoded at a time


def open_folder(root: Path, image_size: int | None, seed: int) -> Dataset:
    """root/<class>/**, split by seed, or root/train, val and test, each with the same classes.

    Resized to image_size x image_size, or as they are where all have one size. Without test/ val/ has the test images,
    and train/ is split in halves.
    """
    left = LeftOut()
    parts = {name: class_files(root / name, left) for name in _splits(root)}
    classes = [*next(iter(parts.values()))]
    for name, found in parts.items():
        check_classes(root, classes, name, [*found])
    labeled = {name: _labeled(found) for name, found in parts.items()}
    size = None if image_size is None else (image_size, image_size)
    whole = store_of([path for paths, _ in labeled.values() for path in paths], size)
    if lazy := not fits(len(whole), whole.size):
        check_sizes(whole)
    roles, words = _roles(labeled, seed, classes)
    images: dict[str, Images] = {}
    for role, (paths, _) in roles.items():
        images[role] = whole.of(paths) if lazy else in_memory(whole.of(paths))
    mean, std = moments(images["train"])
    return Dataset(
        name="folder",
        classes=tuple(classes),
        train=(images["train"], roles["train"][1]),
        val=(images["val"], roles["val"][1]),
        test=(images["test"], roles["test"][1]),
        unlabeled=images["train"],
        mean=mean,
        std=std,
        source=f"{root}, {words}{', images read as they are needed' if lazy else ''}{left}",
        files={role: paths for role, (paths, _) in roles.items()} | {"unlabeled": roles["train"][0]},
    )


def with_folder(dataset: Dataset, root: Path) -> Dataset:
    """Its images without labels every image under a folder, of the size of the others."""
    left = LeftOut()
    paths = image_files(root, left)
    if not paths:
        raise ValueError(f"unlabeled: {root} has no images{left}")
    train, size = dataset.train[0], dataset.image_size
    others: Images = train.of(paths) if isinstance(train, WindowStore) else FittedStore(paths, size)
    if isinstance(train, Tensor) and isinstance(others, FittedStore) and fits(len(paths), size):
        others = in_memory(others)
    source = f"{dataset.source}; unlabelled images from {root}{left}"
    return replace(dataset, unlabeled=others, source=source, files={**dataset.files, "unlabeled": paths})


def store_of(paths: Sequence[Path], size: tuple[int, int] | None) -> FittedStore:
    """size   (H, W): each one's largest centred window of that aspect ratio, resized; None: the first one's, of all"""
    if size is not None:
        return FittedStore(paths, size)
    _, height, width = decode(paths[0], lambda image: image).shape
    return FittedStore(paths, (height, width), paths[0])


def in_memory(store: FittedStore) -> Tensor:
    """All of its images, uint8 [M, 3, H, W]."""
    images = torch.empty(store.shape, dtype=torch.uint8)
    for index in torch.arange(len(store)).split(_CHUNK):
        images[index] = store[index]
    return images


def check_sizes(store: FittedStore) -> None:
    """ImageError for the first file whose head says another size than the sample's, upright or turned, if they are not
    resized.
    """
    if store.sample is None:
        return
    with ThreadPoolExecutor() as pool:
        for path, size in zip(store.paths, pool.map(_size, store.paths), strict=True):
            if size not in (None, store.size, store.size[::-1]):
                check_like(path, size, store.sample, store.size)


def _size(path: Path) -> tuple[int, int] | None:
    """(H, W) as the head of a file says; None: it does not."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
        return None


def _splits(root: Path) -> list[str]:
    """The folders of the splits; one without a name: the classes lie in root itself."""
    found = [name for name in ROLES if (root / name).is_dir()]
    return found if found[:2] == ["train", "val"] else [""]


def _labeled(files: dict[str, list[Path]]) -> Labeled:
    labels = [label for label, found in enumerate(files.values()) for _ in found]
    return [path for found in files.values() for path in found], torch.tensor(labels)


def _roles(parts: dict[str, Labeled], seed: int, classes: Sequence[str]) -> tuple[dict[str, Labeled], str]:
    """Files and labels of each role, and words on how they were chosen."""
    if "test" in parts:
        return parts, "its train/, val/ and test/"
    if "val" in parts:
        halves = _shares(parts["train"], (0.5, 0.5), seed, classes)
        return {**halves, "test": parts["val"]}, f"train/ split in halves by seed {seed}, tests from val/"
    return _shares(parts[""], SHARES, seed, classes), f"split by seed {seed}"


def _shares(files: Labeled, shares: Sequence[float], seed: int, classes: Sequence[str]) -> dict[str, Labeled]:
    paths, labels = files
    parts = split_by_class(labels.numpy(), shares, seed, classes)
    return {role: ([paths[i] for i in part], labels[part]) for role, part in zip(ROLES, parts, strict=False)}
