"""Errors of other libraries, told in one line."""

from __future__ import annotations


def reason(error: BaseException) -> str:
    """The first line of what an error says, its type's name where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
