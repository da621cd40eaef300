"""States and run folders compared to the bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sgl_fast.run import checkpoint
from sgl_fast.run.speed import MEASURED


def same(a: Any, b: Any) -> bool:
    """Nested dicts and lists of tensors and plain values."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def repeatable(path: Path) -> list[Any]:
    """What a JSON file or the lines of a log hold that another run of the same settings repeats to the bit."""
    texts = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    values = [json.loads(text) for text in texts]
    return [{k: v for k, v in x.items() if k != MEASURED} if isinstance(x, dict) else x for x in values]


def differences(a: Path, b: Path) -> list[str]:
    """Names of what differs between two run folders: settings, metrics, genotypes, results, every tensor and number of
    the checkpoint (but the number of threads that wrote it), and which pictures there are.
    """
    names = {p.name for folder in (a, b) for p in folder.iterdir() if p.suffix in (".json", ".jsonl", ".png")}
    missing = [name for name in names if not ((a / name).exists() and (b / name).exists())]
    texts = [name for name in names if not name.endswith(".png") and name not in missing]
    found = missing + [name for name in texts if repeatable(a / name) != repeatable(b / name)]
    states = [checkpoint.load(folder / "checkpoint.pt") for folder in (a, b)]
    for state in states:
        state["run"].pop("threads")
    return sorted(found) + ([] if same(*states) else ["checkpoint.pt"])


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of everything in it but itself."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*place, key)
        yield from leaves(value[key], (*place, key))


def get(value: Any, place: tuple[Any, ...]) -> Any:
    """What is at a place."""
    for key in place:
        value = value[key]
    return value
