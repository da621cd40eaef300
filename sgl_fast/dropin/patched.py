"""An accelerated cell is an instance of a subclass of its own class; its forward asks for the fused cell first."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch
from torch import nn

from .attached import Attached
from .compute import submit
from .reach import MARK

KEY = "_sgl_fast_attached"


@cache
def subclass_of(original: Any, method: str) -> Any:
    """The same class but for a method; a copy of an instance is accelerated too, since `self` is all it looks at."""

    @wraps(getattr(original, method))
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        own_method: Callable[..., Any] = getattr(original, method)  # of now: classes are patched, too
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
    kind: Any = type(original)
    return metaclass_of(kind)(original.__name__, (original,), {**names, **methods})


@cache
def metaclass_of(kind: Any) -> Any:
    """What is set on the type of an accelerated cell is set on the cell's own class."""

    def put(cls: Any, name: str, value: Any) -> None:
        own = value is vars(cls).get(name)  # read off here and put back: what it stands for
        setattr(getattr(cls, MARK), name, value.__wrapped__ if own else value)

    def remove(cls: Any, name: str) -> None:
        delattr(getattr(cls, MARK), name)

    return type(kind.__name__, (kind,), {"__setattr__": put, "__delattr__": remove})


def rebuild(original: Any, method: str) -> Any:
    cls = subclass_of(original, method)
    return cls.__new__(cls)


def patch(cell: nn.Module, attached: Attached, method: str) -> None:
    cell.__dict__[KEY] = attached
    original: Any = type(cell)
    cell.__class__ = subclass_of(original, method)


def unpatch(cell: nn.Module) -> None:
    """Nothing, for a cell that is not accelerated."""
    if KEY in vars(cell):
        cell.__class__ = getattr(cell, MARK)
        del cell.__dict__[KEY]
