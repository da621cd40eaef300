"""The whole search step as one CUDA graph: captured once, replayed on what its tensors hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from .batch import Batch
from .record import Report


@dataclass
class Given:
    """What a step is given besides its batch, on the device: learning rates (), and dropout seeds (5K) or None."""

    lr_w: Tensor
    lr_v: Tensor
    seeds: Tensor | None


class Stateful(Protocol):
    """What a step belongs to: its tensors in a fixed order, and how others take their place."""

    def tensors(self) -> list[Tensor]: ...

    def replace_tensors(self, tensors: list[Tensor]) -> None: ...


class CudaGraph:
    """What a function launches on the current device, once, and again at every replay, on the same memory."""

    device_type = "cuda"

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()

    def record(self, run: Callable[[], Report]) -> Report:
        """Runs nothing on the device; other threads may (a batch that is decoded meanwhile)."""
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            return run()

    def replay(self) -> None:
        self._graph.replay()


class StepGraph:
    """One step of a search, on a state, a batch and numbers whose memory stays.

    Once a loss is not finite, that replay and all later ones leave the state as it was.
    """

    def __init__(
        self, owner: Stateful, run: Callable[[Batch, Given], Report], batch: Batch, given: Given, graph: CudaGraph
    ) -> None:
        owner.replace_tensors([t.clone() for t in owner.tensors()])  # nobody else holds what replays write to
        self._owner, self._phase, self._graph = owner, run, graph
        self._state = owner.tensors()
        self._batch, self._given = Batch(*_clones(batch)), Given(*_clones(given))
        self._intact = torch.ones((), dtype=torch.bool, device=self._state[0].device)
        self._report = graph.record(self._run)

    def fits(self) -> bool:
        """Whether the owner's tensors are those of the capture."""
        return all(kept is now for kept, now in zip(self._state, self._owner.tensors(), strict=True))

    def step(self, batch: Batch, given: Given) -> Report:
        """Launches it; the report's values are those of this step until the next one."""
        kept, new = _tensors(self._batch) + _tensors(self._given), _tensors(batch) + _tensors(given)
        for old, t in zip(kept, new, strict=True):
            if old is not None:
                old.copy_(t, non_blocking=True)
        self._graph.replay()
        return self._report

    def _run(self) -> Report:
        report = self._phase(self._batch, self._given)
        after = self._owner.tensors()
        self._owner.replace_tensors(self._state)
        self._intact.logical_and_(report.finite())
        for old, new in zip(self._state, after, strict=True):
            if old is not new:
                old.copy_(torch.where(self._intact, new, old))
        return report


def _tensors(values: Batch | Given) -> list[Any]:
    return [getattr(values, field.name) for field in fields(values)]


def _clones(values: Batch | Given) -> list[Any]:
    return [None if t is None else t.clone() for t in _tensors(values)]
