"""The compiled kernels as operators of torch: schema, a kernel a device, and shapes for tracing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..backend import compiled, why_not

why_not("cpu")  # loads the extension before a program is traced
_LIBRARY = torch.library.Library("sgl_fast", "DEF")


def register(schema: str, fake: Callable[..., Any]) -> Callable[..., Any]:
    """torch.ops.sgl_fast.<name of the schema>, whose kernels are the functions of that name in the extension.

    fake     empty outputs for given inputs, which a traced program has in place of the kernel
    Where a kernel is missing the operator exists, and a call is a RuntimeError that says what is missing.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema, tags=torch.Tag.pt2_compliant_tag)
    _LIBRARY.impl(name, lambda *args: getattr(compiled("cpu"), name)(*args), "CPU")
    _LIBRARY.impl(name, lambda *args: getattr(compiled("cuda"), name)(*args), "CUDA")
    torch.library.register_fake(f"sgl_fast::{name}", fake, lib=_LIBRARY)
    return getattr(torch.ops.sgl_fast, name).default
