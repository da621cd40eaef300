"""Everything that the forwards of a cell read, followed from their code through attributes, globals and closures."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence, Set
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .arguments import PLAIN
from .code import OPEN, foreign, installed, named_by, package_of

Probe = Callable[[], Any]
MARK = "_sgl_fast_original"  # the class that an accelerated one stands for
SMALL = 1024  # numbers of an array that are compared by value
MOST, LONG = 20_000, 200  # values that are followed, characters of one
_OURS = {"_sgl_fast_attached", "_sgl_fast_report"}
_OWN_KEYS = {*nn.Module().__dict__, "inplace"}
_ALWAYS = {"weight", "running_var", "num_batches_tracked"}  # there, or missing as the running mean is
_IMPLICIT = {"__call__", "__getattr__", "__getattribute__", "__getitem__", "__iter__", "__len__", "__float__"}
_IMPLICIT |= {"__mul__", "__rmul__", "__bool__", "__get__", "__enter__", "__exit__", "__eq__", "__lt__", "__contains__"}


def original_type(value: Any) -> Any:
    return getattr(type(value), MARK, type(value))


@dataclass
class Held:
    """Attributes that are followed where the code names them; done: those that were.

    library   nothing in its functions and values is followed
    """

    place: str
    table: Mapping[str, Any]
    hidden: set[str]
    library: bool
    done: set[str] = field(default_factory=set)


class Reach:
    """content   what was found, in plain words by its place
    numbers      those that are floating-point numbers
    tables       (keys, dictionary): attributes, to be compared as they are, and dictionaries to be counted
    probes       functions of no argument whose values are to be compared
    names        what the code names as attributes
    ValueError where there is more than can be followed.
    """

    def __init__(self, cell: nn.Module) -> None:
        self.content: dict[str, str] = {}
        self.numbers: dict[str, float] = {}
        self.tables: list[tuple[tuple[str, ...], Mapping[str, Any]]] = []
        self.probes: list[Probe] = []
        self.names: set[str] = {"forward"}
        self._held: list[Held] = []
        self._optional: list[tuple[Mapping[str, Any], str]] = []
        self._seen: dict[int, tuple[str, Any]] = {}  # by id, so that they have to live
        modules = dict(cell.named_modules())
        self._inside = {id(m) for m in modules.values()}
        kinds = list({original_type(m) for m in modules.values()})
        self._packages = {package_of(kind.__module__) for kind in kinds if foreign(kind.__module__)}
        self.probes.append(lambda: [(kind.forward, kind.__call__) for kind in kinds])
        for path, module in modules.items():
            self.module(path or "self", module)
        self.probes.append(lambda: [table[key] is None for table, key in self._optional])
        for kind in kinds:
            self.value(f"{kind.__qualname__}.forward", kind.forward)
        self._expand()

    def _follows(self, module: str | None) -> bool:
        """Whether to look into code: that of the cell's own packages, and whatever is no library."""
        package = package_of(str(module))
        return foreign(module) and (package in self._packages or not installed(package))

    def say(self, place: str, value: str) -> None:
        if len(self.content) > MOST:
            raise ValueError(f"its forward reads more than {MOST} values")
        self.content[place] = value

    def value(self, place: str, value: Any) -> None:
        """Follows a value by its kind, each once."""
        if isinstance(value, (float, np.floating)):
            self.numbers[place] = float(value)
        plain = type(value) is tuple and all(isinstance(one, PLAIN) for one in value)
        if plain or isinstance(value, (*PLAIN, np.generic, Enum)):
            self.say(place, repr(value))
        elif id(value) in self._seen:
            self.say(place, f"as {self._seen[id(value)][0]}")
        elif id(value) not in self._inside:
            self._seen[id(value)] = place, value
            next(follow for kinds, follow in _FOLLOW if isinstance(value, kinds))(self, place, value)

    def module(self, place: str, module: nn.Module) -> None:
        """A layer of torch's: all of its settings. Any other: what the code names of it."""
        if foreign(original_type(module).__module__):
            self._hold(place, module.__dict__, _OWN_KEYS | _OURS)
            self._type(original_type(module))
            buffers = {f"{place}.{key}": t for key, t in module._buffers.items() if t is not None}
            self._each({name: t for name, t in buffers.items() if not t.is_floating_point()})  # those a trial replaces
            return
        follows = isinstance(module, nn.Dropout) and id(module) in self._inside  # a call reads the rate of its skips
        hidden = _OWN_KEYS | ({"p"} if follows else set())
        keys = tuple(key for key in module.__dict__ if key not in hidden)
        self.tables.append((keys, module.__dict__))
        for key in keys:
            value = module.__dict__[key]
            if isinstance(value, PLAIN):
                self.say(f"{place}.{key}", repr(value))
            else:
                self.value(f"{place}.{key}", value)
        for table in (module._parameters, module._buffers):
            for key, tensor in table.items():
                if key not in _ALWAYS or tensor is None:
                    self._optional.append((table, key))
                self.say(f"{place}.{key}", "None" if tensor is None else "is there")

    def _type(self, kind: type) -> None:
        """The attributes of a class and its bases that the code names, and what Python calls by itself."""
        for one in kind.__mro__:
            if self._follows(one.__module__) and id(one) not in self._seen:
                self._seen[id(one)] = one.__qualname__, one
                self.names |= _IMPLICIT & set(vars(one))
                self._hold(one.__qualname__, vars(one))

    def _hold(self, place: str, table: Mapping[str, Any], hidden: set[str] = _OURS, library: bool = False) -> None:
        self._held.append(Held(place, table, hidden, library))

    def _expand(self) -> None:
        """Follows the attributes that the code names, until it names no more."""
        known = -1
        while known != (known := len(self.names) + len(self._held)):
            everything = bool(self.names & OPEN)
            for held in list(self._held):
                wanted = set(held.table) if everything and not held.library else self.names & set(held.table)
                wanted -= held.hidden | held.done
                held.done |= wanted
                for key in sorted(map(str, wanted)):
                    follow = self._of_library if held.library else self.value
                    follow(f"{held.place}.{key}", held.table[key])
        for held in self._held:
            self.tables.append((tuple(sorted(held.done)), held.table))

    def _items(self, place: str, value: Any) -> None:
        """Of a list, tuple, set or dictionary: all."""
        copied = dict if isinstance(value, Mapping) else frozenset if isinstance(value, Set) else tuple
        self.probes.append(partial(copied, value))
        ordered = sorted(value, key=repr) if copied is frozenset else value
        pairs = list(value.items() if copied is dict else enumerate(ordered))
        self.say(place, f"{type(value).__name__} of {len(pairs)}")
        self._each({f"{place}[{key!r}]": item for key, item in pairs})

    def _tensor(self, place: str, value: Tensor) -> None:
        self.probes.append(partial(state_of, value))
        self.say(place, f"tensor {value.dtype} {tuple(value.shape)} {state_of(value)}")

    def _array(self, place: str, value: np.ndarray) -> None:
        if value.size > SMALL or value.dtype.hasobject:
            raise ValueError(f"{place} is an array of {value.size} {value.dtype}; need at most {SMALL} numbers")
        self.probes.append(value.tobytes)
        self.say(place, f"array {value.dtype} {value.shape} {value.tobytes().hex()}")

    def _function(self, place: str, value: FunctionType) -> None:
        cells = value.__closure__ or ()
        self.probes.append(lambda: (value.__code__, value.__defaults__, value.__kwdefaults__, *map(_content, cells)))
        if not self._follows(value.__module__):
            self.say(place, f"{value.__module__}.{value.__qualname__}")
            return
        named, table = named_by(value.__code__), value.__globals__
        self.say(place, f"{value.__qualname__} {named.mark}")
        self.names |= named.names
        names = sorted(named.globals | (named.names if named.globals & {"globals", "eval", "exec"} else set()))
        self.probes.append(lambda: [table.get(name) for name in names])
        self._each({f"{value.__module__}.{name}": table[name] for name in names if name in table})
        self._each({name: sys.modules[name] for name in named.imports & set(sys.modules)})
        self._each({f"{place}:{n}": _content(c) for n, c in zip(value.__code__.co_freevars, cells, strict=True)})
        self._attributes(place, value, "__defaults__", "__kwdefaults__", "__wrapped__")

    def _each(self, values: Mapping[str, Any]) -> None:
        for place, value in values.items():
            self.value(place, value)

    def _attributes(self, place: str, value: Any, *names: str) -> None:
        found = {f"{place}.{name}": getattr(value, name, None) for name in names}
        self._each({name: inner for name, inner in found.items() if inner is not None})

    def _wrapped(self, place: str, value: Any) -> None:
        """Methods, properties, partial functions: what is within."""
        self.say(place, type(value).__name__)
        self._attributes(place, value, "fget", "__func__", "__self__", "func", "args", "keywords")

    def _kind(self, place: str, value: type) -> None:
        self.say(place, f"{value.__module__}.{value.__qualname__}")
        self._type(value)
        if issubclass(value, torch.autograd.Function):
            self.names |= {"backward", "setup_context"}

    def _package(self, place: str, value: ModuleType) -> None:
        self.say(place, value.__name__)
        self._hold(value.__name__, vars(value), library=not self._follows(value.__name__))

    def _of_library(self, place: str, value: Any) -> None:
        """Functions and plain values that the code names, as they are."""
        if isinstance(value, ModuleType) or value is os.environ:
            self.value(place, value)
        elif value is os.getenv:
            self.value("os.environ", os.environ)
        elif isinstance(value, PLAIN):
            self.say(place, repr(value))
        else:
            self.say(place, f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', id(value))}")

    def _outside(self, place: str, value: nn.Module) -> None:
        """A module that is none of the cell's: of torch's, all tensors and modules in it; else those that are named."""
        self.say(place, original_type(value).__qualname__)
        self.module(place, value)
        for table in (value._parameters, value._buffers, value._modules):
            if foreign(original_type(value).__module__):
                self._hold(place, table)
            else:
                self.tables.append((tuple(table), table))
                self._each({f"{place}.{key}": item for key, item in table.items()})

    def _object(self, place: str, value: Any) -> None:
        """Its attributes that the code names, and its class; what has none is known by what it prints."""
        kind, told = type(value), repr(value)
        self._type(kind)
        slots = [name for one in kind.__mro__ for name in _slots(one) if hasattr(value, name)]
        self._attributes(place, value, *slots, "__wrapped__")
        if slots:
            self.probes.append(lambda: [getattr(value, name, None) for name in slots])
        if hasattr(value, "__dict__"):
            self._hold(place, value.__dict__)
        elif isinstance(value, (ContextVar, weakref.ref)):
            get = partial(value.get, None) if isinstance(value, ContextVar) else value
            self.probes.append(get)
            self.value(f"{place}()", get())
        module = getattr(value, "__module__", None)
        if callable(value) and hasattr(value, "__qualname__") and not foreign(module):
            told = f"{module}.{value.__qualname__}"  # in C
        elif slots or hasattr(value, "__dict__"):
            told = kind.__qualname__
        elif " at 0x" in told or len(told) > LONG:
            told = str(id(value))
        else:
            self.probes.append(lambda: repr(value))
        self.say(place, told)


def state_of(tensor: Tensor) -> Any:
    """What tells a change: the numbers of a small tensor on the CPU, else how often it was written to."""
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.numel() > SMALL:
        return tensor._version
    return tensor.detach().flatten().tolist()


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(name for name in slots if not name.startswith("__"))


_FOLLOW: tuple[tuple[Any, Callable[[Reach, str, Any], None]], ...] = (
    (Tensor, Reach._tensor),
    (nn.Module, Reach._outside),
    (np.ndarray, Reach._array),
    ((Sequence, Set, Mapping), Reach._items),
    (FunctionType, Reach._function),
    ((MethodType, property, staticmethod, classmethod, partial), Reach._wrapped),
    (type, Reach._kind),
    (ModuleType, Reach._package),
    (object, Reach._object),
)
