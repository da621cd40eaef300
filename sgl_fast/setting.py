"""Settings, each said once: a dataclass's field with its meaning and range. Flags, documentation and checks are made
of it. No torch.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from typing import Any, TypeVar

from .integers import real, whole
from .limits import LIMITS, flag

T = TypeVar("T")
C = TypeVar("C", bound=type)


class SettingError(ValueError):
    """A setting that has not what it needs. Python says its name, a command line (`of_flag`) its flag.

    why  what it is needed for
    """

    def __init__(self, name: str, need: str, got: Any, why: str = "") -> None:
        before = f"{why}: " if why else ""
        super().__init__(f"{before}need {name} {need}; got {repr(got):.80}")
        self.of_flag = f"{flag(name)}: {before}need {need}; got {str(got):.80}"


def setting(
    default: T,
    text: str,
    group: str,
    *,
    choices: Sequence[Any] = (),
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    derived: bool = False,
) -> T:
    """A field of a dataclass of settings.

    text     what it means, for help and documentation
    group    the heading of help that it stands under
    choices  all that it may be; least, above, below: its range, finite
    derived  what it is follows from other settings: no option sets it
    """
    metadata = {"text": text, "group": group, "choices": tuple(choices), "derived": derived}
    value: T = field(default=default, metadata=metadata | {"range": (least, above, below)})
    return value


def described(settings: C) -> C:
    """The class of settings, its documentation with a paragraph for each field."""
    if settings.__doc__ is not None:  # python -OO drops it
        lines = [f"{f.name}  {f.metadata['text']}" for f in fields(settings)]
        wrap = textwrap.TextWrapper(110, subsequent_indent="  ")
        settings.__doc__ = "\n".join([textwrap.dedent(settings.__doc__).rstrip(), "", *map(wrap.fill, lines)]) + "\n"
    return settings


def check(settings: Any) -> None:
    """Fields of a frozen dataclass: Python's numbers in place of those of other libraries; SettingError where one is no
    number, no whole one, or out of its range. None stays where the field takes it.
    """
    for f in fields(settings):
        value, kind = getattr(settings, f.name), str(f.type)
        if value is None and kind.endswith("None"):
            continue
        if kind.startswith(("int", "float")):
            value = number(f.name, value, kind)
            object.__setattr__(settings, f.name, value)
        check_among(f.name, value, f.metadata["choices"])
        check_range(f.name, value, *f.metadata["range"])


def number(name: str, value: Any, kind: str) -> float:
    """The number of kind int or float that a number of any library is."""
    found: float | None = whole(value)
    if found is None and kind.startswith("float"):
        found = real(value)
    if found is None:
        raise SettingError(name, "a number" if kind.startswith("float") else "a whole number", value)
    return found


def check_among(name: str, value: Any, choices: Sequence[Any]) -> None:
    """SettingError unless the value is one of the choices, where there are any."""
    if choices and value not in choices:
        raise SettingError(name, f"one of {', '.join(map(str, choices))}", value)


def check_range(name: str, value: Any, least: float | None, above: float | None, below: float | None) -> None:
    """SettingError unless least <= value, above < value < below, as far as they are said."""
    low = above if least is None else least
    if low is None:
        return
    low_holds = value > low if least is None else value >= low
    if not (low_holds and value < (math.inf if below is None else below)):
        start = f"of at least {least}" if above is None else f"above {above}"
        end = "" if below is None else f" and below {below}"
        raise SettingError(name, f"a number {start}{end}", value)


def check_limits(sizes: Mapping[str, Any]) -> None:
    """SettingError where one is larger than any run has it."""
    for name, most in LIMITS.items():
        if (size := sizes.get(name)) is not None and size > most:
            raise SettingError(name, f"at most {most}", size)
