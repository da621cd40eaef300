"""A graph for the CPU: every operator that a function calls, recorded, and called again on the same tensors.

It has what makes a CUDA graph unforgiving: a number that the host computed stays what it was, results are written to
the memory of the recording, and recording changes nothing that was there before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import sgl_fast
from sgl_fast.nets.supernet import Supernet
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.search import Search


class Tape(TorchDispatchMode):
    """As step_graph.CudaGraph."""

    device_type = "cpu"

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[Any]]] = []
        self._made: set[int] = set()  # storages that the recording made
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # what others hold before a call writes to it

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if function._schema.is_mutable:
            for t in given:
                if storage(t) not in self._made and id(t) not in self._before:
                    self._before[id(t)] = t, t.clone()
        result = function(*args, **kwargs)
        results = tree_leaves(result)
        self._made |= {storage(t) for t in results if isinstance(t, Tensor)} - {storage(t) for t in given}
        self.calls.append((function, args, kwargs, results))
        return result

    @classmethod
    def warm(cls, run: Callable[[], Any], device: torch.device) -> Any:
        return run()

    def record(self, run: Callable[[], Any]) -> Any:
        with self:
            result = run()
        for tensor, before in reversed(self._before.values()):
            tensor.copy_(before)
        return result

    def replay(self) -> None:
        with torch.no_grad():
            for function, args, kwargs, results in self.calls:
                given = {storage(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
                for old, new in zip(results, tree_leaves(function(*args, **kwargs)), strict=True):
                    if isinstance(old, Tensor) and storage(old) not in given:
                        old.copy_(new)


def storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


SIZES = {"channels": 8, "layers": 3, "nodes": 2, "num_classes": 5}


class Taped(Search):
    """A search whose graphs are tapes."""

    recorder = Tape


def searches(name: str, **changes: Any) -> tuple[Search, Search]:
    """Launched, and by a graph."""
    config = replace(Config.preset(name), **{"arch_start": 0, "steps_per_epoch": 100, **changes})
    kinds: tuple[Callable[..., Search], ...] = Search, Taped
    return tuple(  # type: ignore[return-value]
        kind(Supernet(sgl_fast.space(name, **SIZES)), config, graph=graph)
        for kind, graph in zip(kinds, (False, True), strict=True)
    )


def same(a: Search, b: Search) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True)) and a.steps == b.steps
