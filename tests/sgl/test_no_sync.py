"""A step asks the device for nothing and sends it nothing: every kind, on tensors that have a device but no values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from networks import space_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import sgl_fast
from sgl_fast.backends import choice as backend
from sgl_fast.data.batch import Batch
from sgl_fast.nets.supernet import Supernet
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.search import Search
from sgl_fast.sgl.step_graph import StepGraph
from sgl_fast.sgl.step_inputs import StepInputs

KINDS: dict[str, dict[str, Any]] = {
    "darts": {"method": "finite_difference"},
    "darts_minus": {},
    "p_darts": {"skip_dropout": 0.3, "chunk": 3},
    "pc_darts": {},
    "pc_darts_released": {"schedule": "released", "order": 1},
    "pc_darts_separate": {"schedule": "separate"},
}


class Crossings(TorchDispatchMode):
    """Operators that read a value of the device, or take tensors from one side to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.calls = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if "_local_scalar_dense" in str(function):
            self.seen.append(f"{function}: a value is read")
        result = function(*args, **(kwargs or {}))
        sides = [{t.device.type for t in tree_leaves(x) if isinstance(t, Tensor)} for x in ((args, kwargs), result)]
        if len(sides[0] | sides[1]) > 1:
            self.seen.append(f"{function}: {sides[0]} to {sides[1]}")
        return result


class Once:
    """In place of a graph: what it records runs, between tensors without values."""

    def __init__(self) -> None:
        self.crossings = Crossings()

    def record(self, run: Any) -> Any:
        with self.crossings:
            return run()


def step_on_meta(kind: str, name: str) -> tuple[Search, Batch, StepInputs]:
    space = space_of(kind)
    config = replace(Config.preset(space), **{"arch_start": 0, **KINDS[kind]})
    net = Supernet(sgl_fast.space(space, channels=8, layers=3, nodes=2, num_classes=5))
    x, y = torch.empty(3, 4, 3, 8, 8, device="meta"), torch.empty(2, 4, dtype=torch.int64, device="meta")
    search = Search(net, config, "meta")
    return search, Batch(x[0], y[0], x[1], x[2], y[1]), search.next_inputs()


@pytest.fixture(autouse=True)
def meta_is_a_gpu(monkeypatch: pytest.MonkeyPatch, extension: None) -> None:
    monkeypatch.setattr(backend, "why_not", lambda name, device=None: None)
    monkeypatch.setattr(backend, "device_of", lambda name: "meta")


@pytest.mark.parametrize("name", ["cuda", "triton"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_stays_on_the_device(kind: str, name: str) -> None:
    once = Once()
    with backend.use_backend(name):
        search, batch, inputs = step_on_meta(kind, name)
        StepGraph(search, batch, inputs, once)  # type: ignore[arg-type]
    assert once.crossings.calls > 100
    assert not once.crossings.seen, once.crossings.seen[:5]


def test_crossings_are_seen() -> None:
    crossings = Crossings()
    with crossings:
        x = torch.empty(3, device="meta")
        assert not crossings.seen
        torch.ones(3).to("meta")
        x + torch.ones(())
        torch.ones(3).sum().item()
    assert len(crossings.seen) == 3
