"""How precisely passes compute and what they keep for their backward; all sums are float32. No torch at import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from .choice import BACKENDS

# Backends of each: float16 and bfloat16 are of the planes kept for the backward, tf32 of the operands of products.
PRECISIONS = {
    "float32": BACKENDS,
    "tf32": ("triton",),
    "float16": ("cuda", "triton"),
    "bfloat16": ("triton",),
}
NEWER = {"tf32": (8, 0), "bfloat16": (8, 0)}  # compute capability, at least


def why_not_precision(precision: str, backend: str, device: Any) -> str | None:
    """None if the backend computes so on the device, else the reason in one line."""
    if precision not in PRECISIONS:
        return f"need precision one of {', '.join(PRECISIONS)}; got {precision!r}"
    able = PRECISIONS[precision]
    if backend not in able:
        return f"need backend {' or '.join(map(repr, able))} for precision {precision!r}; got {backend!r}"
    if precision in NEWER and str(device).startswith("cuda"):
        import torch

        found, least = torch.cuda.get_device_capability(device), NEWER[precision]
        if found < least:
            need = "a GPU of compute capability {}.{} or newer".format(*least)
            return f"need {need} for precision {precision!r}; this one has {'.'.join(map(str, found))}"
    return None


def check_precision(precision: str, backend: str, device: Any) -> None:
    """ValueError where the backend does not compute so."""
    if precision != "float32" and (reason := why_not_precision(precision, backend, device)):
        raise ValueError(reason)


def library(precision: str, device: Any) -> Any:
    """A context in which cuDNN's convolutions (stems) take tf32 only where asked; torch's default is always.

    A program of torch.compile, which may not change settings, takes them as it finds them.
    """
    import torch

    if device.type != "cuda" or torch.compiler.is_compiling():
        return nullcontext()
    return _convolutions("tf32" if precision == "tf32" else "ieee")


@contextmanager
def _convolutions(precision: str) -> Iterator[None]:
    import torch

    cudnn: Any = torch.backends.cudnn
    of = cudnn.conv
    before = of.fp32_precision
    of.fp32_precision = precision
    try:
        yield
    finally:
        of.fp32_precision = before
