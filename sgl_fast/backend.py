"""Which implementation computes the fused operations."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

BACKENDS = ("reference", "cpu", "triton", "cuda")
_chosen: str | None = None
_found: ModuleType | str | None = None


def why_not(name: str) -> str | None:
    """None if the backend can run here, else the reason in one line."""
    if name not in BACKENDS:
        return f"unknown backend {name!r}; the backends are {', '.join(BACKENDS)}"
    if name == "reference":
        return None
    if name == "cpu":
        found = _extension()
        return found if isinstance(found, str) else None
    return f"backend {name!r} is not part of this version; 'reference' (any device) and 'cpu' are"


def compiled() -> ModuleType:
    """The compiled extension; RuntimeError that says what is missing where it does not load."""
    found = _extension()
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


def _extension() -> ModuleType | str:
    """The extension, or why it does not load; looked for once."""
    global _found
    if _found is None:  # not functools.cache: traced programs come by here
        _found = _load()
    return _found


def _load() -> ModuleType | str:
    remedy = "pip install --no-build-isolation . in the sources, with a C++17 compiler"
    importlib.import_module("torch")  # brings the libraries that the extension is linked with
    try:
        return importlib.import_module("sgl_fast._C")
    except ModuleNotFoundError:
        return f"backend 'cpu' needs the compiled extension, which is not installed: {remedy}"
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        return f"backend 'cpu' needs the compiled extension, which does not load ({reason}): {remedy}"


def asked_for(name: str | None = None) -> str | None:
    """The backend that the argument names, else `use_backend`, else SGL_FAST_BACKEND; None for "auto" or none.

    ValueError for an unknown one, RuntimeError for one that cannot run here.
    """
    name = name or _chosen or os.environ.get("SGL_FAST_BACKEND") or "auto"
    if name == "auto":
        return None
    reason = why_not(name)
    if reason:
        raise (RuntimeError if name in BACKENDS else ValueError)(reason)
    return name


def choose(name: str | None = None, device: Any = "cpu", dtype: Any = "torch.float32") -> str:
    """The backend of tensors of this device and dtype: the one that was asked for, else the best that can run.

    ValueError where the one that was asked for does not compute such tensors; see `asked_for`, too.
    """
    fits = str(device).partition(":")[0] == "cpu" and str(dtype) == "torch.float32"
    name = asked_for(name)
    if name is None:
        return "cpu" if fits and why_not("cpu") is None else "reference"
    if name == "cpu" and not fits:
        raise ValueError(f"backend 'cpu' needs float32 tensors on the CPU; got {dtype} on {device}")
    return name


class use_backend:  # noqa: N801  (a setter that also reads as a context manager)
    """Sets the backend for all later calls ("auto": the best that can run); as a context manager, until its end."""

    def __init__(self, name: str | None) -> None:
        global _chosen
        self._before = _chosen
        asked_for(name)
        _chosen = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: Any) -> None:
        global _chosen
        _chosen = self._before
