"""Which implementation computes the fused operations."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from . import measured
from .cuda import load, why_not_cuda
from .extension import load_extension
from .reasons import asked_once
from .triton import interpreted, why_not_triton

BACKENDS = ("reference", "cpu", "triton", "cuda")
# The fused backends, the best first: where their float32 tensors are.
PLACES = {"cpu": "on the CPU", "cuda": "on a CUDA device", "triton": "on a CUDA device"}
_chosen: str | None = None
_found: SimpleNamespace | str | None = None
_fastest: dict[str, str] = {}  # on each GPU that was measured


def why_not(name: str, device: Any = None) -> str | None:
    """None if the backend can run here, else the reason in one line, with the remedy.

    name    reference | cpu | triton | cuda
    device  the GPU of "triton" and "cuda"; None: torch's current one

    >>> why_not("reference") is None
    True
    >>> why_not("tpu")
    "unknown backend 'tpu'; the backends are reference, cpu, triton, cuda"
    """
    if name not in BACKENDS:
        return f"unknown backend {name!r}; the backends are {', '.join(BACKENDS)}"
    if name == "reference":
        return None
    if name == "triton":
        return why_not_triton(device)
    found = _extension()
    if isinstance(found, str):
        return found
    if name == "cpu":
        return None
    return asked_once(("cuda", id(found), str(device)), why_not_cuda, found, device)


def compiled(name: str = "cpu", device: int | None = None) -> Any:
    """The kernels of "cpu" or "cuda" in the compiled extension, of "cuda" loaded for a device.

    RuntimeError that says what is missing.
    """
    found, reason = _extension(), why_not(name, device)
    if reason or isinstance(found, str):
        raise RuntimeError(reason)
    if name == "cpu":
        return found
    if device is not None:
        load(found, device)
    return found.cuda


def _extension() -> SimpleNamespace | str:
    """The extension, or why it does not load; looked for once."""
    global _found
    if _found is None:  # not functools.cache: traced programs come by here
        _found = load_extension()
    return _found


def asked_for(name: str | None = None, device: Any = None) -> str | None:
    """The backend that the argument names, else `use_backend`, else SGL_FAST_BACKEND; None for "auto" or none.

    ValueError for an unknown one, RuntimeError for one that cannot run there.
    """
    name = name or _chosen or os.environ.get("SGL_FAST_BACKEND") or "auto"
    if name == "auto":
        return None
    reason = why_not(name, device)
    if reason:
        raise (RuntimeError if name in BACKENDS else ValueError)(reason)
    return name


def choose(name: str | None = None, device: Any = "cpu", dtype: Any = "torch.float32") -> str:
    """The backend of tensors of this device and dtype: the one that was asked for, else the best that can run.

    Best: the fastest by `measured` on a GPU that is in there, else the first in PLACES.
    ValueError where the one that was asked for does not compute such tensors; see `asked_for`, too.
    """
    place = str(device).partition(":")[0] if str(dtype) == "torch.float32" else ""
    name = asked_for(name, device if place == "cuda" else None)
    if name is None:
        return _best(place, str(device))
    if name in PLACES and place != device_of(name):
        raise ValueError(f"backend {name!r} needs float32 tensors {PLACES[name]}; got {dtype} on {device}")
    return name


def explain(device: Any) -> str:
    """The backend of float32 tensors on a device, and why it is that one, in a line."""
    name = choose(None, device)
    if asked_for() is not None:
        return f"{name}, as asked"
    ranked = list(_ranked(str(device).partition(":")[0], str(device)))
    before = ranked[: ranked.index(name)] if name in ranked else ranked
    return "; ".join([f"{name}, {_figures(name, str(device))}", *(str(why_not(one, device)) for one in before)])


def _best(place: str, device: str) -> str:
    """The first that can run, of float32 tensors on a device; remembered where the GPU was measured."""
    if place == "cuda" and device in _fastest:
        return _fastest[device]
    best = next((one for one in _ranked(place, device) if why_not(one, device) is None), "reference")
    if place == "cuda" and measured.steps_on(device):
        _fastest[device] = best
    return best


def _ranked(place: str, device: str) -> Iterable[str]:
    """The fused backends of a place; on a GPU that was measured the fastest ahead."""
    those = (one for one in PLACES if place == device_of(one) and (one != "triton" or not interpreted()))
    steps = measured.steps_on(device) if place == "cuda" else {}
    return sorted(those, key=lambda one: steps.get(one, math.inf)) if steps else those


def _figures(name: str, device: str) -> str:
    """What speaks for a backend."""
    steps = measured.steps_on(device) if name in PLACES and name != "cpu" else {}
    if name not in steps:
        return "the best that can run"
    said = f"measured {steps[name]:.1f} ms a step on {measured.name_of(device)}"
    others = [f"{one} {ms:.1f}" for one, ms in steps.items() if one != name]
    return f"{said} against {', '.join(others)}" if others else said


def device_of(name: str) -> str:
    """The kind of device that a fused backend is for; Triton's interpreter is for the CPU."""
    return "cpu" if name == "cpu" or (name == "triton" and interpreted()) else "cuda"


class use_backend:  # noqa: N801  (a setter that also reads as a context manager)
    """Sets the backend for all later calls; as a context manager, until its end.

    name   reference | cpu | triton | cuda, or auto (also None): the best that can run. ValueError for an unknown one,
           RuntimeError, which says what is missing, for one that cannot run here.

    >>> with use_backend("reference"):
    ...     net = Supernet(space("darts", channels=4, layers=3, nodes=2))
    ...     logits = net(net.init_weights(1), net.init_arch(1), torch.rand(2, 3, 8, 8))
    """

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


@contextmanager
def backend_kept() -> Iterator[None]:
    """Around what chooses a backend: the choice before comes back."""
    global _chosen
    before = _chosen
    try:
        yield
    finally:
        _chosen = before
