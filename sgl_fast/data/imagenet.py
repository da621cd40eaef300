"""The ImageNet subset of the published searches: 10% / 2.5% / 10% of each class, kept in an index file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import reason
from ..files import read_text, write_text_atomic
from .dataset import Dataset
from .image_files import LeftOut, check_classes, class_files
from .image_store import WindowStore
from .splits import split_by_class

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MOST = 1 << 29  # bytes of an index
_SHARES = {"train": 0.1, "val": 0.025, "unlabeled": 0.1}


def open_imagenet(root: Path, image_size: int, seed: int) -> Dataset:
    """train, val and unlabelled images from root/train by the index of this seed, test from root/val."""
    left = LeftOut()
    index, kept = load_index(root, seed, left)
    classes = index["classes"]
    return Dataset(
        name="imagenet",
        classes=tuple(classes),
        train=_labeled(root, index["train"], classes, image_size),
        val=_labeled(root, index["val"], classes, image_size),
        test=_tested(root, classes, image_size, left),
        unlabeled=WindowStore([root / p for p in index["unlabeled"]], image_size),
        mean=MEAN,
        std=STD,
        source=f"{root}, split by {kept}{left}",
    )


def open_whole(root: Path, image_size: int) -> Dataset:
    """All images of root/train, as train, val and unlabelled ones, test from root/val."""
    left = LeftOut()
    files = class_files(root / "train", left)
    classes = list(files)
    train = _labeled(root, _paths(root, files), classes, image_size)
    test = _tested(root, classes, image_size, left)
    return Dataset("imagenet", tuple(classes), train, train, test, train[0], MEAN, STD, f"{root}, whole{left}")


def _tested(root: Path, classes: list[str], image_size: int, left: LeftOut) -> tuple[WindowStore, Tensor]:
    """The images of root/val, which must have the classes of root/train."""
    tested = class_files(root / "val", left)
    check_classes(root, classes, "val", [*tested])
    return _labeled(root, _paths(root, tested), classes, image_size)


def load_index(root: Path, seed: int, left: LeftOut) -> tuple[dict[str, Any], str]:
    """The index of a seed, read from its file in root, else made and saved there; and words on where it is kept.

    left   counts what train/ holds beside images, where the index is made
    """
    path = root / f"sgl_split_seed{seed}.json"
    if not path.exists():
        index = make_index(root, seed, left)
        return index, path.name if _save(path, index) else f"seed {seed}, index not saved: {root} cannot be written"
    try:
        index = json.loads(read_text(path, _MOST))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a readable index ({reason(error)})") from None
    _check_index(path, index, seed)
    return index, path.name


def make_index(root: Path, seed: int, left: LeftOut) -> dict[str, Any]:
    """{"seed", "fractions", "classes", and for each part the paths below root, shuffled}"""
    files = class_files(root / "train", left)
    paths = _paths(root, files)
    labels = np.repeat(np.arange(len(files)), [len(found) for found in files.values()])
    parts = split_by_class(labels, list(_SHARES.values()), seed, list(files))
    chosen = {part: [paths[i] for i in positions] for part, positions in zip(_SHARES, parts, strict=True)}
    return {"seed": seed, "fractions": _SHARES, "classes": list(files), **chosen}


def _save(path: Path, index: dict[str, Any]) -> bool:
    """Whether it could be written; the split follows from the seed and the files, so nothing is lost without it."""
    try:
        write_text_atomic(path, json.dumps(index))
    except OSError:
        return False
    return True


def _check_index(path: Path, index: Any, seed: int) -> None:
    if not isinstance(index, dict) or index.get("seed") != seed or index.get("fractions") != _SHARES:
        raise ValueError(f"{path}: not an index of seed {seed} with fractions {_SHARES}; move it away to make it anew")
    classes = index.get("classes")
    known = set(classes) if isinstance(classes, list) and all(isinstance(c, str) for c in classes) else set()
    for part in _SHARES:
        paths = index.get(part)
        if not isinstance(paths, list) or not paths:
            raise ValueError(f"{path}: {part} is not a list of paths")
        wrong = next((p for p in paths if not _fits(p, known)), None)
        if wrong is not None:
            raise ValueError(f"{path}: {wrong!r} is not train/<class>/<file> of one of its classes")


def _fits(entry: object, classes: set[str]) -> bool:
    parts = entry.split("/") if isinstance(entry, str) else []
    return len(parts) > 2 and parts[0] == "train" and parts[1] in classes and not {"", ".", ".."} & set(parts)


def _paths(root: Path, files: dict[str, list[Path]]) -> list[str]:
    return [path.relative_to(root).as_posix() for found in files.values() for path in found]


def _labeled(root: Path, paths: list[str], classes: list[str], size: int) -> tuple[WindowStore, Tensor]:
    label = {name: i for i, name in enumerate(classes)}
    labels = torch.tensor([label[p.split("/")[1]] for p in paths])
    return WindowStore([root / p for p in paths], size), labels
