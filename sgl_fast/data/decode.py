"""Image files to RGB pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..errors import ImageError, one_line, reason
from .pixels import rgb, tensor_of


def decode(path: Path, shape: Callable[[Image.Image], Image.Image]) -> Tensor:
    """One file, opened, made RGB, shaped (cropped, resized): uint8 [3, H, W]; an ImageError names a bad file."""
    try:
        with Image.open(path) as image:
            return tensor_of(shape(rgb(image)))
    except Exception as error:  # a damaged file raises nearly anything
        raise ImageError(one_line(f"{path}: not a readable image ({reason(error)})")) from None


def decode_all(paths: Sequence[Path], shapes: Iterable[Callable[[Image.Image], Image.Image]]) -> list[Tensor]:
    """`decode` for each pair, in threads: PIL lets go of the interpreter while it decodes and resizes."""
    return list(_threads(os.getpid()).map(decode, paths, shapes))


@lru_cache(1)
def _threads(process: int) -> ThreadPoolExecutor:
    """One for each core that the process may use; a child that was forked makes its own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ThreadPoolExecutor(cores, "decode")
