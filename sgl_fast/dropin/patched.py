"""An accelerated cell is an instance of a subclass of its own class; its forward asks for the fused cell first."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from torch import nn

from .attached import Attached
from .turns import submit

KEY = "_sgl_fast_attached"


class Accelerated:
    """Marks the subclasses."""

    original: Any


@cache
def subclass_of(original: Any) -> Any:
    """The same class but for `forward`; a copy of an instance is accelerated too, since `self` is all it looks at."""
    own_forward: Callable[..., Any] = original.forward

    @wraps(own_forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        request = self.__dict__[KEY].request(self, own_forward, args, kwargs)
        return own_forward(self, *args, **kwargs) if request is None else submit(request)

    def reduce(self: Any, protocol: Any) -> Any:
        """A copy or pickle names the original class, which can be imported; this one cannot."""
        _, _, *state = original.__reduce_ex__(self, protocol)
        return (rebuild, (original,), *state)

    names = {"__module__": original.__module__, "__qualname__": original.__qualname__, "__doc__": original.__doc__}
    methods = {"forward": forward, "__reduce_ex__": reduce, "original": original}
    return type(original.__name__, (original, Accelerated), {**names, **methods})


def rebuild(original: Any) -> Any:
    cls = subclass_of(original)
    return cls.__new__(cls)


def patch(cell: nn.Module, attached: Attached) -> None:
    cell.__dict__[KEY] = attached
    original: Any = type(cell)
    cell.__class__ = subclass_of(original)


def unpatch(cell: nn.Module) -> None:
    """Nothing, for a cell that is not accelerated."""
    if isinstance(cell, Accelerated):
        cell.__class__ = cell.original
        del cell.__dict__[KEY]
