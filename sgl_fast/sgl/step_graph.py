"""The whole search step as one CUDA graph: captured once, replayed on what its tensors hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from ..data.batch import Batch
from .record import Record, Report


@dataclass
class StepInputs:
    """What a step is given besides its batch, on the device: learning rates (), and seeds (5K) or None."""

    lr_w: Tensor
    lr_v: Tensor
    seeds: Tensor | None


class Owner(Protocol):
    """What steps belong to: see `sgl.Search`."""

    steps: int

    def tensors(self) -> list[Tensor]: ...

    def replace_tensors(self, tensors: list[Tensor]) -> None: ...

    def graph_key(self, batch: Batch) -> Any: ...

    def next_inputs(self) -> StepInputs: ...

    def run(self, batch: Batch, inputs: StepInputs) -> Report: ...

    def eager_step(self, batch: Batch) -> Mapping[str, Any]: ...

    def count_step(self) -> None: ...


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

    Once a value of the report is not finite, that replay and all later ones leave the state as it was.
    """

    def __init__(self, owner: Owner, batch: Batch, inputs: StepInputs, graph: CudaGraph) -> None:
        owner.replace_tensors([t.clone() for t in owner.tensors()])  # nobody else holds what replays write to
        self._owner, self._graph = owner, graph
        self._state = owner.tensors()
        self._batch, self._inputs = Batch(*_clones(batch)), StepInputs(*_clones(inputs))
        self._intact = torch.ones((), dtype=torch.bool, device=self._state[0].device)
        self._report = graph.record(self._run)

    def fits(self) -> bool:
        """Whether the owner's tensors are those of the capture."""
        return all(kept is now for kept, now in zip(self._state, self._owner.tensors(), strict=True))

    def step(self, batch: Batch, inputs: StepInputs) -> Report:
        """Launches it; the report's values are those of this step until the next one."""
        kept, new = _tensors(self._batch) + _tensors(self._inputs), _tensors(batch) + _tensors(inputs)
        for old, t in zip(kept, new, strict=True):
            if old is not None:
                old.copy_(t, non_blocking=True)
        self._graph.replay()
        return self._report

    def _run(self) -> Report:
        try:
            report = self._owner.run(self._batch, self._inputs)
            after = self._owner.tensors()
        finally:
            self._owner.replace_tensors(self._state)
        self._intact.logical_and_(report.finite())
        for old, new in zip(self._state, after, strict=True):
            if old is not new:
                old.copy_(torch.where(self._intact, new, old))
        return report


class GraphedSteps:
    """Steps by graphs: the first one of a kind is launched kernel by kernel, the second captured, one graph at a time.

    A record is read when the next step is under way, so that the device does not wait for the host.
    """

    def __init__(self, owner: Owner, recorder: Callable[[], CudaGraph]) -> None:
        self._owner, self._recorder = owner, recorder
        self._kind: Any = None
        self._graph: StepGraph | None = None
        self._late: Record | None = None

    def step(self, batch: Batch) -> Mapping[str, Any]:
        """FloatingPointError where the step before was not finite; that one and this one changed nothing."""
        batch.check()
        kind = self._owner.graph_key(batch)
        if kind != self._kind:
            self.synchronize()
            self._kind, self._graph = kind, None
            return self._owner.eager_step(batch)
        inputs = self._owner.next_inputs()
        if self._graph is None or not self._graph.fits():
            self._graph = None  # its memory, before the next one needs as much
            self._graph = StepGraph(self._owner, batch, inputs, self._recorder())
        before, self._late = self._late, Record(self._graph.step(batch, inputs), self._owner.steps)
        record = self._late
        if before is not None:
            self._check(before)
        self._owner.count_step()
        return record

    def synchronize(self) -> None:
        """Reads the last record; see `step`."""
        late, self._late = self._late, None
        if late is not None:
            self._check(late)

    def _check(self, record: Record) -> None:
        try:
            record.read()
        except FloatingPointError:
            self._owner.steps, self._late, self._graph = record.step, None, None
            raise


def _tensors(values: Batch | StepInputs) -> list[Any]:
    return [getattr(values, field.name) for field in fields(values)]


def _clones(values: Batch | StepInputs) -> list[Any]:
    return [None if t is None else t.clone() for t in _tensors(values)]
