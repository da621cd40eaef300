"""Any folder of images, one folder a class, read into memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from .dataset import Dataset, Images
from .image_files import LeftOut, class_files, image_files
from .image_store import ImageStore
from .in_memory import load_images, split_dataset


def open_folder(root: Path, image_size: int | None, seed: int) -> Dataset:
    """root/<class>/**, split by seed; resized to image_size x image_size, or as they are where all have one size."""
    left = LeftOut()
    files = class_files(root, left)
    paths = [path for found in files.values() for path in found]
    labels = torch.tensor([label for label, found in enumerate(files.values()) for _ in found])
    images = load_images(paths, None if image_size is None else (image_size, image_size))
    dataset = split_dataset("folder", str(root), images, labels, tuple(files), seed)
    return replace(dataset, source=f"{dataset.source}{left}")


def unlabeled_images(root: Path, size: tuple[int, int], lazy: bool) -> tuple[Images, LeftOut]:
    """Every image under a folder, resized to size (H, W), and what else is there; lazy: decoded when asked."""
    left = LeftOut()
    paths = image_files(root, left)
    if not paths:
        raise ValueError(f"unlabeled: {root} has no images{left}")
    return (ImageStore(paths, size[0]) if lazy else load_images(paths, size)), left
