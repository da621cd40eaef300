"""The compiled kernels as operators of torch: schema, a kernel a device, and shapes for tracing."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ..backend import compiled, why_not

why_not("cpu")  # loads the extension before a program is traced
_LIBRARY = torch.library.Library("sgl_fast", "DEF")


class Operator(NamedTuple):
    """One operation by the compiled kernels and by Triton's."""

    compiled: Callable[..., Any]
    triton: Callable[..., Any]

    def on(self, backend: str) -> Callable[..., Any]:
        return self.triton if backend == "triton" else self.compiled


def register(
    schema: str,
    fake: Callable[..., Any],
    stem: str,
    fake_triton: Callable[..., Any] | None = None,
    arguments: Callable[..., tuple[Any, ...]] = lambda *args: args,
) -> Operator:
    """torch.ops.sgl_fast.<name of the schema>, whose kernels are the functions of that name in the extension.

    fake         empty outputs for given inputs, which a traced program has in place of the kernel
    stem         of the module of kernels/ that has the function for triton_<name>
    fake_triton  its own empty outputs, if they differ
    arguments    of the compiled function, from those of the schema
    Where a kernel is missing the operator exists, and a call is a RuntimeError that says what is missing.
    """
    name = schema.partition("(")[0]

    def triton(*args: Any) -> Any:
        return getattr(importlib.import_module(f"sgl_fast.kernels.{stem}"), name)(*args)

    compiled_one = _define(
        schema,
        fake,
        CPU=lambda *args: getattr(compiled("cpu"), name)(*arguments(*args)),
        CUDA=lambda *args: getattr(compiled("cuda"), name)(*arguments(*args)),
    )
    return Operator(compiled_one, _define(f"triton_{schema}", fake_triton or fake, CPU=triton, CUDA=triton))


def _define(schema: str, fake: Callable[..., Any], **kernels: Callable[..., Any]) -> Callable[..., Any]:
    name = schema.partition("(")[0]
    _LIBRARY.define(schema, tags=torch.Tag.pt2_compliant_tag)
    for device, kernel in kernels.items():
        _LIBRARY.impl(name, kernel, device)
    torch.library.register_fake(f"sgl_fast::{name}", fake, lib=_LIBRARY)
    return getattr(torch.ops.sgl_fast, name).default
