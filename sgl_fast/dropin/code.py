"""What a function's code names: globals, attributes, strings, imported modules, the functions within it."""

from __future__ import annotations

import dis
import sys
import zlib
from dataclasses import dataclass, field
from functools import cache
from types import CodeType

# By these any attribute may be read.
OPEN = {"getattr", "vars", "__dict__", "eval", "exec", "attrgetter"}
_PLAIN = (int, float, complex, bool, str, bytes, type(None), type(Ellipsis))
_OURS = {"torch", "numpy", "torchvision", "triton", "sgl_fast", "builtins", *sys.stdlib_module_names}


@dataclass
class Named:
    """names   attributes, and strings that could be one
    mark       tells two codes apart, in other processes, too
    """

    names: set[str] = field(default_factory=set)
    globals: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    mark: int = 0


@cache
def named_by(code: CodeType) -> Named:
    """What a code and the codes within it name."""
    found = Named()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "DELETE_GLOBAL", "STORE_GLOBAL"):
            found.globals.add(str(step.argval))
        elif step.opname == "IMPORT_NAME":
            found.imports.add(str(step.argval))
    found.names |= set(code.co_names) - found.globals
    told = [code.co_code.hex(), repr(code.co_names)]
    for value in code.co_consts:
        if isinstance(value, CodeType):
            inner = named_by(value)
            found.names |= inner.names
            found.globals |= inner.globals
            found.imports |= inner.imports
            told.append(str(inner.mark))
        elif isinstance(value, str) and value.isidentifier():
            found.names.add(value)
        if isinstance(value, _PLAIN):
            told.append(repr(value))
    found.mark = zlib.crc32("\n".join(told).encode())
    return found


@cache
def foreign(module: str | None) -> bool:
    """Whether a module's code is not Python's, torch's, numpy's or ours."""
    return bool(module) and package_of(str(module)) not in _OURS


def package_of(module: str) -> str:
    return module.partition(".")[0]


@cache
def installed(package: str) -> bool:
    """Whether it is a library beside torch, not code that its user works on."""
    file = str(getattr(sys.modules.get(package), "__file__", None) or "")
    return "site-packages" in file or "dist-packages" in file
