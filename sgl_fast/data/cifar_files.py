"""The published files of CIFAR-10 and CIFAR-100, archives or extracted folders, checked before use."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import reason
from ..files import read_bytes, read_most
from .cifar_forms import Form
from .safe_pickle import loads

_PIXELS = 3 * 32 * 32


class Cifar(NamedTuple):
    """Everything in one archive, in its own order: images uint8 [M, 3, 32, 32], labels int64 [M]."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: tuple[str, ...]


def read(form: Form, path: Path) -> Cifar:
    """Read an archive or an extracted folder; a ValueError names what is wrong in it."""
    files = _read_folder(form, path) if path.is_dir() else _read_archive(form, path)
    train = [_parse(form, files[name], form.rows, f"{path}: {name}") for name in form.train]
    test = [_parse(form, files[form.test], form.test_rows, f"{path}: {form.test}")]
    return Cifar(_join(train), _join(test), _class_names(form, files[form.names], f"{path}: {form.names}"))


def _names(form: Form) -> tuple[str, ...]:
    return (*form.train, form.test, form.names)


def _read_folder(form: Form, path: Path) -> dict[str, bytes]:
    try:
        return {name: read_bytes(path / name, form.most) for name in _names(form)}
    except OSError as error:
        raise ValueError(f"{path}: cannot read {error.filename} ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"{path}: a file in it: {error}") from None


def _read_archive(form: Form, path: Path) -> dict[str, bytes]:
    """The members that are needed, in memory: nothing is extracted to disk."""
    wanted = {f"{form.folder}/{name}": name for name in _names(form)}
    files: dict[str, bytes] = {}
    try:
        _check_md5(form, path)
        with gzip.open(path) as unpacked, tarfile.open(fileobj=_Bounded(unpacked, form.whole), mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.name in wanted and member.isfile() else None
                if content:
                    files[wanted[member.name]] = read_most(content, form.most)
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise ValueError(f"{path}: truncated or damaged ({reason(error)})") from None
    missing = sorted(set(wanted.values()) - set(files))
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} missing in {form.folder}/")
    return files


class _Bounded(io.RawIOBase):
    """A file that is never read, nor sought, past a number of bytes: tarfile asks for as many as an archive says."""

    def __init__(self, file: gzip.GzipFile, most: int) -> None:
        self._file, self._most = file, most

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        self._check(self.tell() + size)
        return self._file.read(size)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        self._check(position)
        return self._file.seek(position)

    def _check(self, end: int) -> None:
        if end > self._most:
            raise ValueError(f"it says that it holds more than {self._most} bytes")


def _check_md5(form: Form, path: Path) -> None:
    if form.md5 is None:
        return
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != form.md5:
        raise ValueError(f"{path}: md5 is {digest.hexdigest()}, the published archive has {form.md5}")


def _parse(form: Form, raw: bytes, rows: int, source: str) -> tuple[np.ndarray, np.ndarray]:
    """(pixels uint8 [rows, 3072], labels int64 [rows])"""
    if isinstance(form.label, int):
        pixels, labels = _parse_binary(raw, rows, form.label, source)
    else:
        pixels, labels = _parse_pickle(raw, rows, form.label, source)
    if labels.min() < 0 or labels.max() >= form.classes:
        low, high = labels.min(), labels.max()
        raise ValueError(f"{source}: labels from {low} to {high}, need 0 to {form.classes - 1}")
    return pixels, labels


def _parse_binary(raw: bytes, rows: int, label_bytes: int, source: str) -> tuple[np.ndarray, np.ndarray]:
    need = rows * (label_bytes + _PIXELS)
    if len(raw) != need:
        raise ValueError(f"{source}: {len(raw)} bytes, need {need} for {rows} images")
    table = np.frombuffer(raw, dtype=np.uint8).reshape(rows, label_bytes + _PIXELS)
    return table[:, label_bytes:], table[:, label_bytes - 1].astype(np.int64)


def _parse_pickle(raw: bytes, rows: int, key: bytes, source: str) -> tuple[np.ndarray, np.ndarray]:
    content = loads(raw, source)
    pixels, labels = (content.get(b"data"), content.get(key)) if isinstance(content, dict) else (None, None)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (rows, _PIXELS):
        raise ValueError(f"{source}: need data uint8 [{rows}, {_PIXELS}]")
    if not isinstance(labels, list) or len(labels) != rows or not all(type(label) is int for label in labels):
        raise ValueError(f"{source}: need {key.decode()}, a list of {rows} integers")
    # Any integer may stand in a pickle; clipped, one too large for int64 is still out of range.
    return pixels, np.array([min(max(label, -1), 1 << 32) for label in labels], dtype=np.int64)


def _class_names(form: Form, raw: bytes, source: str) -> tuple[str, ...]:
    names: object
    if isinstance(form.label, int):
        names = raw.split()
    else:
        content = loads(raw, source)
        names = content.get(form.names_key) if isinstance(content, dict) else None
    if not isinstance(names, list) or len(names) != form.classes or not all(isinstance(n, bytes) for n in names):
        raise ValueError(f"{source}: need the names of {form.classes} classes")
    return tuple(name.decode("utf-8", "replace") for name in names)


def _join(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return torch.from_numpy(pixels.reshape(-1, 3, 32, 32)), torch.from_numpy(labels)
