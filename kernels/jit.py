"""Triton's jit for kernels that are not compiled anew for counts and sides."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import triton
from triton.runtime.jit import JITFunction

from .arguments import PLAIN


def kernel(function: Callable[..., Any] | None = None, *, plain: tuple[str, ...] = PLAIN) -> Any:
    """A decorator: a kernel. Arguments that are plain are not specialised, nor are the fields of such structures.

    Triton's `do_not_specialize` holds for arguments alone: fields of a structure it would specialise all the same.
    """
    if function is None:
        return partial(kernel, plain=plain)
    if not triton.knobs.runtime.interpret:
        return Kernel(function, do_not_specialize=plain)
    if triton.__version__.startswith("3.6."):
        mend_interpreter()
    return triton.jit(function)


class Kernel(JITFunction):  # type: ignore[misc]
    def run(self, *args: Any, **options: Any) -> Any:
        """Products are fused with sums: Triton 3.9 warns where nobody says so, and 3.10 would not do it."""
        return super().run(*args, **{"enable_fp_fusion": True, **options})

    def create_binder(self) -> tuple[Any, ...]:
        """Triton's, whose last part says what arguments a kernel is compiled for: types, and what is known of them."""
        *others, bind = super().create_binder()
        plain = [param.num for param in self.params if param.do_not_specialize and not param.is_constexpr]
        known: dict[Any, Any] = {}  # by its number, too: structures of other types may be equal

        def bound(*args: Any, **options: Any) -> tuple[Any, ...]:
            values, specialization, rest = bind(*args, **options)
            for number in plain:
                key = number, specialization[number]
                if key not in known:
                    known[key] = unspecialized(*specialization[number])
                specialization[number] = known[key]
            return values, specialization, rest

        return (*others, bound)


def unspecialized(kind: Any, known: Any) -> tuple[Any, Any]:
    """Of types and what is known: 1 is a number of 32 bits as any other, and nothing is known of numbers and places."""
    if isinstance(kind, tuple):
        kinds, knowns = zip(*map(unspecialized, kind, known), strict=True)
        return _like(kind, kinds), _like(known, knowns)
    if kind == "constexpr":
        return ("i32", "") if type(known) is int else (kind, known)
    return kind, "" if known == "D" else known


def _like(whole: tuple[Any, ...], fields: tuple[Any, ...]) -> tuple[Any, ...]:
    return type(whole)(*fields) if hasattr(whole, "_fields") else fields


@cache
def mend_interpreter() -> None:
    """Triton 3.6's takes an array of one number for a number, as numpy does no more from 2.4 on (triton issue 9171)."""
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched
