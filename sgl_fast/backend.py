"""Which implementation computes the fused operations."""

from __future__ import annotations

import os
from typing import Any

BACKENDS = ("reference", "cpu", "triton", "cuda")
_chosen: str | None = None


def why_not(name: str) -> str | None:
    """None if the backend can run here, else the reason in one line."""
    if name not in BACKENDS:
        return f"unknown backend {name!r}; the backends are {', '.join(BACKENDS)}"
    if name == "reference":
        return None
    return f"backend {name!r} is not part of this version; 'reference' (plain PyTorch, any device) is"


def choose(name: str | None = None) -> str:
    """The backend in force: the argument, else `use_backend`, else SGL_FAST_BACKEND, else the best that can run.

    One that was asked for and cannot run is a RuntimeError that says why.
    """
    name = name or _chosen or os.environ.get("SGL_FAST_BACKEND") or "auto"
    if name == "auto":
        return "reference"
    reason = why_not(name)
    if reason:
        raise (RuntimeError if name in BACKENDS else ValueError)(reason)
    return name


class use_backend:  # noqa: N801  (a setter that also reads as a context manager)
    """Sets the backend for all later calls; as a context manager, until its end."""

    def __init__(self, name: str | None) -> None:
        global _chosen
        self._before = _chosen
        _chosen = None if name is None else choose(name)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: Any) -> None:
        global _chosen
        _chosen = self._before
