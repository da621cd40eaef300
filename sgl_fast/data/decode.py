"""Image files to RGB pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .errors import ImageError, one_line, reason

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".webp"})


def image_files(folder: Path) -> list[Path]:
    """The image files directly in a folder, sorted by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def to_pixels(image: Image.Image) -> Tensor:
    """A PIL image of any mode -> uint8 [3, H, W]."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def decode(path: Path, shape: Callable[[Image.Image], Image.Image]) -> Tensor:
    """One file, opened, shaped (cropped, resized) and decoded to uint8 [3, H, W]; an ImageError names a bad file."""
    try:
        with Image.open(path) as image:
            return to_pixels(shape(image))
    except Exception as error:  # a damaged file raises nearly anything
        raise ImageError(one_line(f"{path}: not a readable image ({reason(error)})")) from None


def decode_all(paths: Sequence[Path], shapes: Iterable[Callable[[Image.Image], Image.Image]]) -> list[Tensor]:
    """`decode` for each pair, in threads: PIL lets go of the interpreter while it decodes and resizes."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(decode, paths, shapes))
