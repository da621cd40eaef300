"""Data sets, their augmentation and their batches. Only what finds data sets loads at once; the rest loads torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .locate import DATASETS, choose, find

if TYPE_CHECKING:
    from .dataset import Dataset
    from .loader import Feed
    from .open import open_dataset
    from .torch_dataset import from_torch

_HOME = {"Dataset": "dataset", "Feed": "loader", "from_torch": "torch_dataset", "open_dataset": "open"}
__all__ = ["DATASETS", "Dataset", "Feed", "choose", "find", "from_torch", "open_dataset"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sgl_fast.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
