"""Checkpoints: dicts of tensors and plain values that load without running code."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import replacing

if TYPE_CHECKING:
    import torch

PLAIN = (type(None), bool, int, float, str)


def save(path: str | Path, state: dict[str, Any], previous: Path | None = None) -> None:
    """Write a dict of tensors, lists, dicts, numbers, strings and None, nested at will; `previous` of `replacing`.

    Anything else is a TypeError that names its place: a safe load (weights_only) would refuse it, too late. A tensor
    that is not finite is a FloatingPointError that names its place.
    """
    import torch

    _check_plain(state, "state")
    with replacing(path, previous) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch, closing its archive, hides the full disk behind an error of its own
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load(path: str | Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """The state that `save` wrote. A missing, truncated, damaged or foreign file is a ValueError of one line."""
    import torch

    try:
        with zipfile.ZipFile(path) as archive:  # torch.load itself does not compare the checksums
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
        state = torch.load(path, map_location=map_location, weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}, not a dict")
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # unpickling a foreign file may raise nearly anything
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"cannot read checkpoint {path}: {reason}") from error
    return state


def _check_plain(value: Any, place: str) -> None:
    # Exact types: a numpy float is a float, a namedtuple a tuple, and neither loads safely.
    import torch

    kind = type(value)
    if kind in PLAIN:
        return
    if kind in (torch.Tensor, torch.nn.Parameter):
        if not value.isfinite().all():
            raise FloatingPointError(f"{place} is not finite")
    elif kind is list:
        for i, item in enumerate(value):
            _check_plain(item, f"{place}[{i}]")
    elif kind in (dict, OrderedDict):
        for key, item in value.items():
            if type(key) not in (str, int):
                raise TypeError(f"a checkpoint's keys are strings or ints; {place} has the key {key!r}")
            _check_plain(item, f"{place}[{key!r}]")
    else:
        raise TypeError(f"a checkpoint holds tensors, lists, dicts, numbers and strings; {place} is a {kind.__name__}")
