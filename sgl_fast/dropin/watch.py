"""Notices what may change in a cell from call to call: exchanged modules, hooks, and whatever its forwards read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from torch import nn

from .borrow import HOOKS
from .reach import Reach


class Watch:
    """Every call asks, so what is looked at is listed once, and listed again when it has changed.

    mark      tells the settings of now from others: equal for equal ones, also of copies
    changed   the place of the last change, in the user's words
    reads     the names that the code has for attributes
    """

    def __init__(self, cell: nn.Module) -> None:
        self.cell = cell
        self.modules = list(cell.modules())
        self.table = cell._modules
        self.tables = [m._modules for m in self.modules if m._modules]
        self.children = [list(table.values()) for table in self.tables]
        self.hooks = [getattr(m, name) for m in self.modules[1:] for name in HOOKS]
        self.content: dict[str, str] = {}
        self.changed = ""
        self.look()

    def look(self) -> None:
        """ValueError where what it reads cannot be followed."""
        try:
            reach = Reach(self.cell)
        except Exception as error:  # a stranger's attributes may do anything when they are read
            raise ValueError(f"what its forward reads cannot be followed ({type(error).__name__}: {error})") from error
        places = self.content.keys() | reach.content.keys() if self.content else ()
        different = [place for place in places if self.content.get(place) != reach.content.get(place)]
        self.changed = min(different, key=len, default=self.changed)
        self.content, self.numbers, self.reads, self.probes = reach.content, reach.numbers, reach.names, reach.probes
        self.mark = hashlib.sha1(repr(sorted(reach.content.items())).encode()).hexdigest()
        tables = [(keys, table) for keys, table in reach.tables if keys]
        self._getters = [(itemgetter(*keys), table) for keys, table in tables]
        dictionaries = [*(m.__dict__ for m in self.modules), *(table for _, table in tables)]
        self._dictionaries = list({id(table): table for table in dictionaries}.values())
        self._last = self._values()

    def settings(self) -> str:
        """The mark of now."""
        try:
            same = bool(self._values() == self._last)
        except Exception:  # whatever comparing a stranger's values raises, they are not known to be the same
            same = False
        if not same:
            self.look()
        return self.mark

    def trouble(self, cell: nn.Module) -> str | None:
        """A module that was exchanged or has got a hook, which the fused cell would not call."""
        if (
            cell is not self.cell
            or cell._modules is not self.table
            or [list(table.values()) for table in self.tables] != self.children
        ):
            return "its modules were exchanged"
        return hooked(self.modules[1:]) if any(self.hooks) else None

    def _values(self) -> list[Any]:
        return [
            list(map(type, self.modules)),
            list(map(len, self._dictionaries)),
            [get(table) for get, table in self._getters],
            [probe() for probe in self.probes],
        ]


def hooked(modules: Sequence[nn.Module]) -> str | None:
    for m in modules:
        if any(getattr(m, name) for name in HOOKS):
            return f"hooks on its {type(m).__name__}"
    return None
