"""The fused operations as operators of torch: schema, checks, a kernel a device, and shapes for tracing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ..backends.choice import compiled, why_not

why_not("cpu")  # loads the extension before a program is traced
LIBRARY = torch.library.Library("sgl_fast", "DEF")
Check = Callable[..., None]
Apply = Callable[..., Any]


Result = TypeVar("Result")


@dataclass(frozen=True)
class Operator(Generic[Result]):
    """One operation in plain PyTorch, by the compiled kernels and by Triton's; each checks what it is given."""

    reference: Callable[..., Result]
    compiled: Any
    triton: Any

    def on(self, backend: str) -> Callable[..., Result]:
        """The function that computes it on that backend."""
        fused: Callable[..., Result] = self.triton if backend == "triton" else self.compiled
        return self.reference if backend == "reference" else fused


def register(
    schema: str,
    check: Check,
    fake: Callable[..., Any],
    stem: str,
    reference: Callable[..., Any] | None = None,
    fake_triton: Callable[..., Any] | None = None,
    arguments: Callable[..., tuple[Any, ...]] = lambda *args: args,
    check_triton: Check = lambda *args: None,
    stored: tuple[int, ...] = (),
) -> Operator[Any]:
    """torch.ops.sgl_fast.<name of the schema>, whose kernels are the functions of that name in the extension.

    check        of the arguments, on every backend: a ValueError says what is needed and what came
    fake         empty outputs for given inputs, which a traced program has in place of the kernel
    stem         of the module of kernels/ that has the function for triton_<name>
    reference    in plain PyTorch
    fake_triton  its own empty outputs, if they differ
    arguments    of the compiled function, from those of the schema
    check_triton what the compiled function checks itself
    stored       positions of tensors that may be of less than float32
    Where a kernel is missing the operator exists, and a call is a RuntimeError that says what is missing.
    """
    name = schema.partition("(")[0]
    fused_check = _fused_check(schema, check, stored)

    def triton(*args: Any) -> Any:
        return getattr(importlib.import_module(f"sgl_fast.kernels.{stem}"), name)(*args)

    compiled_one = _define(
        schema,
        _checked(fused_check, fake),
        CPU=_checked(fused_check, lambda *args: getattr(compiled("cpu"), name)(*arguments(*args))),
        CUDA=_checked(fused_check, lambda *args: getattr(_cuda_of(args), name)(*arguments(*args))),
    )

    def triton_check(*args: Any) -> None:
        fused_check(*args)
        check_triton(*args)

    by_triton = _checked(triton_check, triton)
    fake_triton = _checked(triton_check, fake_triton or fake)
    return Operator(
        _checked(check, reference or _missing),
        compiled_one,
        _define(f"triton_{schema}", fake_triton, CPU=by_triton, CUDA=by_triton),
    )


def register_cpu(schema: str, fake: Callable[..., Any]) -> Any:
    """An operator that the compiled extension has for the CPU alone, and checks itself."""
    name, check = schema.partition("(")[0], _fused_check(schema, lambda *args: None)
    kernel = _checked(check, lambda *args: getattr(compiled("cpu"), name)(*args))
    return _define(schema, _checked(check, fake), CPU=kernel)


def differentiable(operator: Any, remember: Apply, derivative: Apply, batched: Apply | None = None) -> Apply:
    """The operator as a function that autograd and torch.func differentiate; the raw operator by the same rules.

    remember    (ctx, inputs, output), derivative (ctx, *gradients): as of a torch.autograd.Function
    batched     (function, B, in_dims, args) -> results and their dims: B calls of torch.func.vmap; None: one by one
    """

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(*args: Any) -> Any:
            return operator(*args)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            remember(ctx, inputs, output)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return derivative(ctx, *grads)

        @staticmethod
        def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
            return (batched or _one_by_one)(Fused.apply, info.batch_size, in_dims, args)

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Any:
            raise RuntimeError(f"no forward-mode derivative of {operator}; backend='reference' has it")

    def call(*args: Any) -> Any:
        # Programs are traced with the raw operator: torch.compile takes no function that has a jvp of its own.
        return operator(*args) if torch.compiler.is_compiling() else Fused.apply(*args)

    torch.library.register_autograd(operator, derivative, setup_context=remember, lib=LIBRARY)
    return call


def _one_by_one(apply: Apply, B: int, in_dims: Sequence[int | None], args: Sequence[Any]) -> tuple[Tensor, int]:
    def call(b: int) -> Tensor:
        each = zip(args, in_dims, strict=True)
        out: Tensor = apply(*(a.select(dim, b) if isinstance(dim, int) else a for a, dim in each))
        return out

    return torch.stack([call(b) for b in range(B)]), 0


def _cuda_of(args: Iterable[Any]) -> Any:
    """The CUDA kernels, loaded for the device of these arguments."""
    return compiled("cuda", tensors_in(args)[0].device.index)


def refuse_gradients(*operators: Operator[Any]) -> None:
    """A call of these on tensors that want gradients is a RuntimeError, where torch would drop them without a word."""
    for op in (one for operator in operators for one in (operator.compiled, operator.triton)):

        def refuse(ctx: Any, inputs: Any, output: Any, name: str = str(op)) -> None:
            raise RuntimeError(f"{name} has no derivative: give it detached tensors, or compute by backend 'reference'")

        torch.library.register_autograd(op, lambda ctx, *grads: None, setup_context=refuse, lib=LIBRARY)


def said(tensor: Tensor | None) -> str:
    """A tensor's shape and dtype, for an error."""
    return "None" if tensor is None else f"{tuple(tensor.shape)} {tensor.dtype}"


def need_floating(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        raise ValueError(f"need {name} of floating point; got {said(tensor)}")


def tensors_in(args: Iterable[Any]) -> list[Tensor]:
    return [arg for arg in args if isinstance(arg, Tensor)]


def _checked(check: Check, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        check(*args)
        return function(*args)

    return call


def _fused_check(schema: str, check: Check, stored: tuple[int, ...] = ()) -> Check:
    """What raw operators check of all tensors, around what they check of their own."""
    name = schema.partition("(")[0]
    parts = schema.partition(")")[0][len(name) + 1 :].split(", ")
    required = {position: part.split()[1] for position, part in enumerate(parts) if part.startswith("Tensor ")}

    def check_all(*args: Any) -> None:
        _check_given(name, args, required)
        check(*args)
        _check_places(name, args, stored)

    return check_all


def _check_given(name: str, args: tuple[Any, ...], required: dict[int, str]) -> None:
    """ValueError unless the required tensors are there and dense."""
    for position, what in required.items():
        if not isinstance(args[position], Tensor):
            raise ValueError(f"sgl_fast::{name} needs a tensor {what}; got {args[position]!r}")
        if args[position].layout != torch.strided:
            raise ValueError(f"sgl_fast::{name} needs {what} dense; got {args[position].layout}")


def _check_places(name: str, args: tuple[Any, ...], stored: tuple[int, ...]) -> None:
    """ValueError unless all tensors are on one device, and floating-point ones are float32."""
    devices = {str(t.device) for t in tensors_in(args)}
    if len(devices) > 1:
        raise ValueError(f"sgl_fast::{name} needs its tensors on one device; got {', '.join(sorted(devices))}")
    for position, arg in enumerate(args):
        narrow = (torch.float16, torch.bfloat16) if position in stored else ()
        if isinstance(arg, Tensor) and arg.is_floating_point() and arg.dtype not in (torch.float32, *narrow):
            raise ValueError(f"sgl_fast::{name} needs float32 tensors; got {arg.dtype}")


def _missing(*args: Any) -> Any:
    raise RuntimeError("this operation has no reference of its own")


def _define(schema: str, fake: Callable[..., Any], **kernels: Callable[..., Any]) -> Any:
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=torch.Tag.pt2_compliant_tag)
    for device, kernel in kernels.items():
        LIBRARY.impl(name, kernel, device)
    torch.library.register_fake(f"sgl_fast::{name}", fake, lib=LIBRARY)
    return getattr(torch.ops.sgl_fast, name).default
