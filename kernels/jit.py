"""Triton's jit for kernels that are not compiled anew for counts and sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import triton
from triton.runtime.jit import JITFunction

from .arguments import PLAIN


def kernel(function: Callable[..., Any]) -> Any:
    """Of a function with arguments that are structures: those of PLAIN are not specialised, nor are their fields.

    Triton's `do_not_specialize` holds for arguments alone: fields of a structure it would specialise all the same.
    """
    return triton.jit(function) if triton.knobs.runtime.interpret else Kernel(function, do_not_specialize=PLAIN)


class Kernel(JITFunction):  # type: ignore[misc]
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
