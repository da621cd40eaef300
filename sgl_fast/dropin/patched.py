"""An accelerated cell is an instance of a subclass of its own class; its forward asks for the fused cell first."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch
from torch import nn

from .attached import Attached
from .reach import MARK
from .turns import submit

KEY = "_sgl_fast_attached"


class Accelerated:
    """Marks the subclasses."""


@cache
def subclass_of(original: Any, method: str) -> Any:
    """The same class but for a method; a copy of an instance is accelerated too, since `self` is all it looks at."""
    own_method: Callable[..., Any] = getattr(original, method)

    @wraps(own_method)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():  # a graph's guards see what the original reads, and only that
            return own_method(self, *args, **kwargs)
        request = self.__dict__[KEY].request(self, own_method, args, kwargs)
        return own_method(self, *args, **kwargs) if request is None else submit(request)

    def reduce(self: Any, protocol: Any) -> Any:
        """A copy or pickle names the original class, which can be imported; this one cannot."""
        _, _, *state = original.__reduce_ex__(self, protocol)
        return (rebuild, (original, method), *state)

    names = {"__module__": original.__module__, "__qualname__": original.__qualname__, "__doc__": original.__doc__}
    methods = {method: forward, "__reduce_ex__": reduce, MARK: original}
    return type(original.__name__, (original, Accelerated), {**names, **methods})


def rebuild(original: Any, method: str) -> Any:
    cls = subclass_of(original, method)
    return cls.__new__(cls)


def patch(cell: nn.Module, attached: Attached, method: str) -> None:
    cell.__dict__[KEY] = attached
    original: Any = type(cell)
    cell.__class__ = subclass_of(original, method)


def unpatch(cell: nn.Module) -> None:
    """Nothing, for a cell that is not accelerated."""
    if isinstance(cell, Accelerated):
        cell.__class__ = getattr(cell, MARK)
        del cell.__dict__[KEY]
