"""The IDX files of (Fashion-)MNIST."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from ..errors import reason

_UINT8 = 0x08
_MOST = 1 << 28  # bytes of an array: five times Fashion-MNIST's


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """The uint8 array of an IDX file, gzipped or not; a ValueError names a file that isn't whole.

    The format: two zero bytes, the element type, the number of dimensions, each dimension as 4 bytes, big-endian.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * ndim)
            if head[:4] != bytes((0, 0, _UINT8, ndim)):
                raise ValueError(f"not an IDX file of {ndim}-dimensional uint8 data")
            shape = tuple(int.from_bytes(head[i : i + 4], "big") for i in range(4, len(head), 4))
            need = math.prod(shape)
            if need > _MOST:
                raise ValueError(f"{list(shape)}, says its header: more than {_MOST} bytes")
            body = file.read(need + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot read it ({reason(error)})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if len(head) != 4 + 4 * ndim or len(body) != need:
        raise ValueError(f"{path}: truncated or too long for its header: {list(shape)}, {need} bytes")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def find_idx(folder: Path, stem: str) -> Path | None:
    """The file `stem` in a folder, gzipped or not."""
    return next((p for p in (folder / stem, folder / f"{stem}.gz") if os.path.isfile(p)), None)


def read_labeled(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [M, 28, 28], labels uint8 [M]) of "train" or "t10k"; a ValueError where they don't fit."""
    arrays = []
    for stem, ndim in ((f"{split}-images-idx3-ubyte", 3), (f"{split}-labels-idx1-ubyte", 1)):
        path = find_idx(folder, stem)
        if path is None:
            raise ValueError(f"{folder}: {stem} or {stem}.gz is missing")
        arrays.append(read_idx(path, ndim))
    images, labels = arrays
    if images.shape != (len(labels), 28, 28) or len(labels) == 0 or labels.max() > 9:
        raise ValueError(f"{folder}: {split} is not Fashion-MNIST: images {images.shape}, labels {labels.shape}")
    return images, labels
