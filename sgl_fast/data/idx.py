"""The IDX files of (Fashion-)MNIST."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from .errors import reason

_UINT8 = 0x08


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """The uint8 array of an IDX file, gzipped or not; a ValueError names a file that isn't whole.

    The format: two zero bytes, the element type, the number of dimensions, each dimension as 4 bytes, big-endian.
    """
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot read it ({reason(error)})") from None
    if data[:4] != bytes((0, 0, _UINT8, ndim)):
        raise ValueError(f"{path}: not an IDX file of {ndim}-dimensional uint8 data")
    header, body = data[4 : 4 + 4 * ndim], data[4 + 4 * ndim :]
    shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(0, 4 * ndim, 4))
    if len(header) != 4 * ndim or len(body) != math.prod(shape):
        raise ValueError(f"{path}: truncated or too long for its header: {len(body)} bytes for {list(shape)}")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def find_idx(folder: Path, stem: str) -> Path | None:
    """The file `stem` in a folder, gzipped or not."""
    return next((p for p in (folder / stem, folder / f"{stem}.gz") if p.is_file()), None)


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
