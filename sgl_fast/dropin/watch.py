"""Notices what may change in a cell from call to call: exchanged modules, hooks, settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from .borrow import HOOKS

PLAIN = {int, float, bool, str}


class Watch:
    """Settings are plain attributes of modules that are not torch's own, and those of batch norms.

    Every call asks, so what is looked at is listed once.
    """

    def __init__(self, cell: nn.Module) -> None:
        self.modules = list(cell.modules())
        self.tables = [m._modules for m in self.modules]
        self.children = [list(table.values()) for table in self.tables]
        self.hooks = [getattr(m, name) for m in self.modules[1:] for name in HOOKS]
        self.strangers = [m for m in self.modules if not type(m).__module__.startswith("torch.")]
        self.norms = [m for m in self.modules if isinstance(m, nn.BatchNorm2d)]
        self.list_places()

    def list_places(self) -> None:
        self.counts = [len(m.__dict__) for m in self.strangers]
        self.places = [
            (m, key)
            for m in self.strangers
            for key, value in m.__dict__.items()
            if type(value) in PLAIN and key != "training"
        ] + [(m, key) for m in self.norms for key in ("eps", "momentum")]

    def trouble(self, cell: nn.Module) -> str | None:
        """A module that was exchanged or has got a hook, which the fused cell would not call."""
        if cell._modules is not self.tables[0] or [list(table.values()) for table in self.tables] != self.children:
            return "its modules were exchanged"
        return hooked(self.modules[1:]) if any(self.hooks) else None

    def settings(self) -> tuple[Any, ...]:
        if [len(m.__dict__) for m in self.strangers] != self.counts:
            self.list_places()
        values = tuple([m.__dict__.get(key) for m, key in self.places])
        if PLAIN.issuperset(map(type, values)):
            return values
        self.list_places()
        return tuple(m.__dict__.get(key) for m, key in self.places)


def hooked(modules: Sequence[nn.Module]) -> str | None:
    for m in modules:
        if any(getattr(m, name) for name in HOOKS):
            return f"hooks on its {type(m).__name__}"
    return None
