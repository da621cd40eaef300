"""Any folder of images, one folder a class, read into memory."""

from __future__ import annotations

from pathlib import Path

import torch

from .dataset import Dataset, Images
from .decode import image_files
from .image_store import ImageStore
from .in_memory import load_images, split_dataset


def class_files(root: Path) -> dict[str, list[Path]]:
    """The image files of every class, by the name of its folder in `root`, both sorted."""
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    files = {p.name: image_files(p) for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")}
    empty = [name for name, found in files.items() if not found]
    if len(files) < 2 or empty:
        found = f"{empty[0]}/ has no images" if empty else f"it has {len(files)}"
        raise ValueError(f"{root}: need two or more folders of images, one for each class; {found}")
    return files


def open_folder(root: Path, image_size: int | None, seed: int) -> Dataset:
    """root/<class>/*, split by seed; all resized to image_size x image_size, or as they are where all have one size."""
    files = class_files(root)
    paths = [path for found in files.values() for path in found]
    labels = torch.tensor([label for label, found in enumerate(files.values()) for _ in found])
    images = load_images(paths, None if image_size is None else (image_size, image_size))
    return split_dataset("folder", str(root), images, labels, tuple(files), seed)


def unlabeled_images(root: Path, size: tuple[int, int], lazy: bool) -> Images:
    """Every image under a folder, at any depth, resized to size (H, W); lazy: decoded when asked."""
    folders = sorted([root, *(p for p in root.rglob("*") if p.is_dir())])
    paths = [path for folder in folders for path in image_files(folder)]
    if not paths:
        raise ValueError(f"unlabeled: {root} has no images")
    return ImageStore(paths, size[0]) if lazy else load_images(paths, size)
