"""Why a backend cannot run, asked for once: the answer does not change, and some of the questions take long."""

from __future__ import annotations

from collections.abc import Callable, Hashable

known: dict[Hashable, str | None] = {}  # not functools.cache: traced programs come by here


def asked_once(key: Hashable, ask: Callable[..., str | None], *args: object) -> str | None:
    """ask(*args), or what it said the first time for this key: a reason in a line, or None."""
    if key not in known:
        known[key] = ask(*args)
    return known[key]
