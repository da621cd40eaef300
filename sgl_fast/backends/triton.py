"""What the Triton backend misses on this machine, and what to do about it."""

from __future__ import annotations

import importlib.util
import os

OLDEST = (7, 0)  # compute capability


def interpreted() -> bool:
    """Whether Triton runs kernels on CPU tensors, one operation after the other, to test them."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def why_not_triton() -> str | None:
    """None if Triton's kernels can run on torch's current device, else the reason in one line, with the remedy."""
    if importlib.util.find_spec("triton") is None:
        return "backend 'triton' needs triton, which is not installed: pip install triton (torch for Linux brings it)"
    if interpreted():
        return None
    import torch

    if torch.version.cuda is None:
        return f"backend 'triton' needs a torch with CUDA; torch {torch.__version__} has none: pip install torch"
    if not torch.cuda.is_available():
        return "backend 'triton' needs an NVIDIA GPU and its driver; torch finds none (does nvidia-smi?)"
    capability = torch.cuda.get_device_capability()
    if capability < OLDEST:
        sm = ".".join(map(str, capability))
        return (
            f"backend 'triton' needs a GPU of compute capability 7.0 or newer; this one has {sm}: backend 'reference'"
        )
    return None
