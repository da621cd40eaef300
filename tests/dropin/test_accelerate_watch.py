"""What a verified cell depends on: every place where a value can live, and every way to change it."""

from __future__ import annotations

import argparse
import contextvars
import copy
import dataclasses
import functools
import os
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_check import distance, equal_after, images, one_pass
from foreign_darts import Cell, Network
from torch import nn

import sgl_fast
from sgl_fast.dropin import attached

GLOBAL = 1.0
HOLDER = types.SimpleNamespace(value=1.0, inner=types.SimpleNamespace(value=1.0))
SETTINGS = {"value": 1.0, "list": [1.0]}
CONTEXT: contextvars.ContextVar[float] = contextvars.ContextVar("value", default=1.0)


@dataclasses.dataclass
class Data:
    value: float = 1.0


class Slotted:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 1.0


class Scheduled:
    def __init__(self) -> None:
        self.progress = 1.0

    def __call__(self) -> float:
        return self.progress


class Items(dict):  # type: ignore[type-arg]
    """As configurations often are."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        return self[name]


class Factor:
    def __init__(self) -> None:
        self.by = 1.0

    def __rmul__(self, other: torch.Tensor) -> torch.Tensor:
        return other * self.by


class Weak:
    value = 1.0


WEAK = Weak()


@functools.cache
def cached(value: float) -> float:
    return value


def from_global() -> float:
    return GLOBAL


def set_global(value: float) -> None:
    globals()["GLOBAL"] = value


# place: what a cell is given, how its forward reads the value, how somebody changes it
PLACES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], object]]] = {
    "plain attribute": (lambda: 1.0, lambda cell: cell.held, lambda cell: setattr(cell, "held", 0.25)),
    "namespace": (lambda: argparse.Namespace(v=1.0), lambda c: c.held.v, lambda c: setattr(c.held, "v", 0.25)),
    "nested namespace": (
        lambda: copy.deepcopy(HOLDER),
        lambda c: c.held.inner.value,
        lambda c: setattr(c.held.inner, "value", 0.25),
    ),
    "dictionary": (lambda: {"v": 1.0}, lambda c: c.held["v"], lambda c: c.held.update(v=0.25)),
    "list": (lambda: [1.0], lambda c: c.held[0], lambda c: c.held.__setitem__(0, 0.25)),
    "list in a dictionary": (
        lambda: {"v": [1.0]},
        lambda c: c.held["v"][0],
        lambda c: c.held["v"].append(c.held["v"].pop() / 4),
    ),
    "dataclass": (Data, lambda c: c.held.value, lambda c: setattr(c.held, "value", 0.25)),
    "replaced dataclass": (Data, lambda c: c.held.value, lambda c: setattr(c, "held", Data(0.25))),
    "slots": (Slotted, lambda c: c.held.value, lambda c: setattr(c.held, "value", 0.25)),
    "schedule that is called": (Scheduled, lambda c: c.held(), lambda c: setattr(c.held, "progress", 0.25)),
    "numpy scalar": (lambda: np.float32(1), lambda c: float(c.held), lambda c: setattr(c, "held", np.float32(0.25))),
    "numpy array": (lambda: np.ones(2), lambda c: float(c.held[1]), lambda c: c.held.fill(0.25)),
    "tensor, filled": (lambda: [torch.ones(())], lambda c: c.held[0], lambda c: c.held[0].fill_(0.25)),
    "tensor, behind autograd's back": (
        lambda: [torch.ones(())],
        lambda c: c.held[0],
        lambda c: c.held[0].data.fill_(0.25),
    ),
    "large tensor": (lambda: [torch.ones(2000)], lambda c: c.held[0][7], lambda c: c.held[0].fill_(0.25)),
    "tensor, replaced": (
        lambda: [torch.ones(())],
        lambda c: c.held[0],
        lambda c: c.held.__setitem__(0, torch.tensor(0.25)),
    ),
    "integer buffer": (lambda: None, lambda c: c.level / 4, lambda c: c.level.fill_(1)),
    "module global": (lambda: None, lambda _: GLOBAL, lambda _: set_global(0.25)),
    "global of a function": (lambda: None, lambda _: from_global(), lambda _: set_global(0.25)),
    "attribute of a global": (lambda: None, lambda _: HOLDER.value, lambda _: setattr(HOLDER, "value", 0.25)),
    "entry of a global": (lambda: None, lambda _: SETTINGS["value"], lambda _: SETTINGS.update(value=0.25)),
    "class attribute": (lambda: None, lambda c: c.shared, lambda c: setattr(type(c), "shared", 0.25)),
    "partial function": (
        lambda: functools.partial(float, 1.0),
        lambda c: c.held(),
        lambda c: setattr(c, "held", functools.partial(float, 0.25)),
    ),
    "closure": (lambda: closure(), lambda c: c.held[0](), lambda c: c.held[1](0.25)),
    "default argument": (lambda: defaulted, lambda c: c.held(), lambda c: setattr(defaulted, "__defaults__", (0.25,))),
    "function, defined again": (
        lambda: defined("1.0"),
        lambda c: c.held(),
        lambda c: setattr(c, "held", defined("0.25")),
    ),
    "context variable": (lambda: None, lambda _: CONTEXT.get(), lambda _: CONTEXT.set(0.25)),
    "weak reference": (
        lambda: [weakref.ref(WEAK)],
        lambda c: c.held[0]().value,
        lambda _: setattr(WEAK, "value", 0.25),
    ),
    "cached function": (lambda: None, lambda _: cached(GLOBAL), lambda _: set_global(0.25)),
    "attributes by items": (lambda: Items(v=1.0), lambda c: c.held.v, lambda c: c.held.__setitem__("v", 0.25)),
    "object that multiplies": (Factor, lambda c: c.held, lambda c: setattr(c.held, "by", 0.25)),
    "environment": (
        lambda: None,
        lambda _: float(os.environ["SGL_TEST"]),
        lambda _: os.environ.update(SGL_TEST="0.25"),
    ),
    "getenv": (lambda: None, lambda _: float(os.getenv("SGL_TEST", "1")), lambda _: os.environ.update(SGL_TEST="0.25")),
    "computed name": (
        lambda: argparse.Namespace(v=1.0),
        lambda c: getattr(c.held, "uvw"[1]),
        lambda c: setattr(c.held, "v", 0.25),
    ),
    "property": (lambda: None, lambda c: c.rate, lambda c: setattr(c, "_rate", 0.25)),
    "module elsewhere": (lambda: [nn.Dropout(0.0)], lambda c: 1 - c.held[0].p, lambda c: setattr(c.held[0], "p", 0.75)),
    "parameter elsewhere": (
        lambda: [nn.Linear(1, 1)],
        lambda c: c.held[0].bias,
        lambda c: c.held[0].bias.data.fill_(0.25),
    ),
}


def closure() -> tuple[Callable[[], float], Callable[[float], None]]:
    value = 1.0

    def get() -> float:
        return value

    def put(new: float) -> None:
        nonlocal value
        value = new

    return get, put


def defined(value: str) -> Callable[[], float]:
    """As a notebook's cell does: the same name, other code."""
    scope: dict[str, Any] = {"__name__": __name__}
    exec(f"def factor(): return {value}", scope)
    factor: Callable[[], float] = scope["factor"]
    return factor


def defaulted(value: float = 1.0) -> float:
    return value


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SGL_TEST", "1")
    monkeypatch.setitem(SETTINGS, "value", 1.0)
    monkeypatch.setattr(HOLDER, "value", 1.0)
    monkeypatch.setattr(HOLDER.inner, "value", 1.0)
    monkeypatch.setattr(WEAK, "value", 1.0)
    monkeypatch.setitem(globals(), "GLOBAL", 1.0)
    monkeypatch.setattr(defaulted, "__defaults__", (1.0,))
    token = CONTEXT.set(1.0)
    yield
    CONTEXT.reset(token)


def network(make: Callable[[], Any], read: Callable[[Any], Any]) -> Network:
    """A cell that multiplies its output by a value which is 1 at first."""

    class Reading(Cell):
        shared = 1.0

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.held, self._rate = make(), 1.0
            if isinstance(self.held, list) and isinstance(self.held[0], nn.Linear):
                nn.init.ones_(self.held[0].bias)
            self.register_buffer("level", torch.tensor(4))

        @property
        def rate(self) -> float:
            return self._rate

        def forward(self, s0: torch.Tensor, s1: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return super().forward(s0, s1, weights) * read(self)

    torch.manual_seed(0)
    return Network(layers=1, make_cell=Reading)


@pytest.mark.parametrize("place", PLACES)
def test_a_value_changes(place: str) -> None:
    make, read, change = PLACES[place]
    model = sgl_fast.accelerate(network(make, read))
    assert sgl_fast.report(model).accelerated == 1, str(sgl_fast.report(model))
    entry = equal_after(change, model)
    assert entry.originals and "differs" in entry.last, str(entry)


def from_file(path: str) -> float:
    with open(path) as file:
        return float(file.read())


@pytest.mark.parametrize("asked", ["switch", "pace"])
def test_what_no_comparison_sees_is_asked_for(asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell goes back to the original for good; until it is asked, nobody can know."""
    path = tmp_path / "value"
    path.write_text("1.0")
    model = sgl_fast.accelerate(network(lambda: str(path), lambda cell: from_file(cell.held)))
    original = sgl_fast.restore(copy.deepcopy(model))
    assert distance(one_pass(original, images(1)), one_pass(model, images(1))) < (1e-5, "")
    for training in (False, True):  # asked for once already
        for one in (model, original):
            one.train(training)(images(1))
    path.write_text("0.25")
    if asked == "switch":
        model.eval(), original.eval()
    else:
        monkeypatch.setattr(attached, "PACE", 1)
        monkeypatch.setattr(attached, "SHARE", 1e9)
    with pytest.warns(UserWarning, match="cells.0: given back: it changed unseen"):
        assert torch.allclose(model(images(1)), original(images(1)), rtol=1e-4, atol=1e-6)
    model.train(), original.train()
    assert distance(one_pass(original, images(1)), one_pass(model, images(1))) < (1e-6, "")
    entry = sgl_fast.report(model)[0]
    assert entry.status == "kept as it was" and entry.originals == 2 and "unseen" in str(entry)
