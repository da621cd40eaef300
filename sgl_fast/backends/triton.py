"""What the Triton backend misses on this machine, and what to do about it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .reasons import asked_once

OLDEST = (7, 0)  # compute capability
_on_the_cpu = False


def interpreted() -> bool:
    """Whether Triton's kernels take CPU tensors: it runs them one operation after the other, to test them."""
    return _on_the_cpu or os.environ.get("TRITON_INTERPRET") == "1"


@contextmanager
def launches_on_the_cpu() -> Iterator[None]:
    """Triton's kernels take CPU tensors until the end, for those who catch their launches."""
    global _on_the_cpu
    before, _on_the_cpu = _on_the_cpu, True
    try:
        yield
    finally:
        _on_the_cpu = before


def why_not_triton(device: Any = None) -> str | None:
    """None if Triton's kernels can run on a GPU (None: the current one), else the reason and its remedy in a line."""
    if importlib.util.find_spec("triton") is None:
        return "backend 'triton' needs triton, which is not installed: pip install triton (torch for Linux brings it)"
    if interpreted():
        return None
    import torch

    if torch.version.cuda is None:
        return f"backend 'triton' needs a torch with CUDA; torch {torch.__version__} has none: pip install torch"
    if not torch.cuda.is_available():
        return "backend 'triton' needs an NVIDIA GPU and its driver; torch finds none (does nvidia-smi?)"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST:
        sm = ".".join(map(str, capability))
        return (
            f"backend 'triton' needs a GPU of compute capability 7.0 or newer; this one has {sm}: backend 'reference'"
        )
    return asked_once("triton's driver", _why_no_driver)


def _why_no_driver() -> str | None:
    """None if Triton's own driver is there: a C program that Triton compiles at its first use, and keeps."""
    try:
        from triton.runtime import driver

        driver.active.get_current_target()
    except Exception as error:  # no compiler, no Python.h, no folder for what it compiles
        said = str(error).strip().partition("\n")[0]
        remedy = "it needs a C compiler (gcc, or CC) and Python's headers (python3-dev)"
        return f"backend 'triton' cannot start Triton's driver: {remedy}; {type(error).__name__}: {said}"
    return None
