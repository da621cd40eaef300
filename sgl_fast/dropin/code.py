"""What a function's code names: globals, attributes, strings, imported modules, the functions within it."""

from __future__ import annotations

import dis
import sys
import zlib
from dataclasses import dataclass
from functools import cache
from types import CodeType

# By these any attribute may be read.
OPEN = {"getattr", "vars", "__dict__", "eval", "exec", "attrgetter"}
_PLAIN = (int, float, complex, bool, str, bytes, type(None), type(Ellipsis))
_GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME", "DELETE_GLOBAL", "STORE_GLOBAL"}
_OURS = {"torch", "numpy", "torchvision", "triton", "sgl_fast", "builtins", *sys.stdlib_module_names}


@dataclass(frozen=True)
class Named:
    """names   attributes, and strings that could be one
    mark       tells two codes apart, in other processes, too
    """

    names: set[str]
    globals: set[str]
    imports: set[str]
    mark: int


@cache
def named_by(code: CodeType) -> Named:
    """What a code and the codes within it name."""
    inner = [named_by(value) for value in code.co_consts if isinstance(value, CodeType)]
    strings = {value for value in code.co_consts if isinstance(value, str) and value.isidentifier()}
    constants = [value for value in code.co_consts if isinstance(value, _PLAIN)]
    steps = [(step.opname, str(step.argval)) for step in dis.get_instructions(code)]
    globals_ = {name for step, name in steps if step in _GLOBALS}
    imports = {name for step, name in steps if step == "IMPORT_NAME"}
    told = code.co_code.hex(), code.co_names, constants, [one.mark for one in inner]
    return Named(
        (set(code.co_names) - globals_ | strings).union(*(one.names for one in inner)),
        globals_.union(*(one.globals for one in inner)),
        imports.union(*(one.imports for one in inner)),
        zlib.crc32(repr(told).encode()),
    )


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
