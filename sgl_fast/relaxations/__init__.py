"""Relaxations: how architecture parameters become weights of operations, one module each. By name, without torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .relaxation import Relaxation

# By name, where it is: module of this package and class.
RELAXATIONS: dict[str, tuple[str, str]] = {"softmax": ("relaxation", "Relaxation")}
NAMES = tuple(RELAXATIONS)


def relaxation(name: str) -> Relaxation:
    """The relaxation of that name, with its published numbers. ValueError for an unknown one.

    >>> relaxation("softmax").weights(torch.zeros(1, 5, 4), None, None)[0, 0]
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    if name not in RELAXATIONS:
        raise ValueError(f"unknown relaxation {name!r}; the relaxations are {', '.join(RELAXATIONS)}")
    module, kind = RELAXATIONS[name]
    found: Relaxation = getattr(import_module(f".{module}", __name__), kind)()
    return found
