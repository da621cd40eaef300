"""The whole search step as one CUDA graph: captured once, replayed on what its tensors hold."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from ..data.batch import Batch
from .record import Record, Report
from .step_inputs import StepInputs


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
    """What a function launches on one device, once, and again at every replay, on the same memory."""

    device_type = "cuda"

    def __init__(self, device: torch.device) -> None:
        self._graph, self._device = torch.cuda.CUDAGraph(), device

    @classmethod
    def warm(cls, run: Callable[[], Any], device: torch.device) -> Any:
        """Calls it on the stream that captures use: what libraries set up at first use, they set up there."""
        stream, now = _stream(device), torch.cuda.current_stream(device)
        stream.wait_stream(now)
        with torch.cuda.stream(stream):
            result = run()
        now.wait_stream(stream)
        return result

    def record(self, run: Callable[[], Report]) -> Report:
        """Runs nothing on the device; other threads may (a batch that is decoded meanwhile).

        RuntimeError where something cannot be captured. A graph that the garbage collector destroys in the middle
        would end the capture: it is run before, and not meanwhile.
        """
        gc.collect()
        gc.disable()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message=".*CUDA Graph is empty")  # of another device's stream
                stream = _stream(self._device)
                with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                    return run()
        except UserWarning as warning:
            raise RuntimeError(str(warning)) from warning
        finally:
            gc.enable()

    def replay(self) -> None:
        self._graph.replay()


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Makes a CUDA device the current one: graphs and events belong to that."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


class StepGraph:
    """One step of a search, on a state, a batch and numbers whose memory stays.

    Once a value of the report is not finite, that replay and all later ones leave the state as it was.
    """

    def __init__(self, owner: Owner, batch: Batch, inputs: StepInputs, graph: CudaGraph) -> None:
        owner.replace_tensors([t.clone() for t in owner.tensors()])  # nobody else holds what replays write to
        self._graph, self._state = graph, owner.tensors()
        self._batch, self._inputs = Batch(*_clones(batch)), StepInputs(*_clones(inputs))
        self._intact = torch.ones((), dtype=torch.bool, device=self._state[0].device)
        self._report = graph.record(lambda: self._run(owner))

    def fits(self, owner: Owner) -> bool:
        """Whether the owner's tensors are those of the capture."""
        return all(kept is now for kept, now in zip(self._state, owner.tensors(), strict=True))

    def step(self, batch: Batch, inputs: StepInputs) -> Report:
        """Launches it; the report's values are those of this step until the next one."""
        kept, new = _tensors(self._batch) + _tensors(self._inputs), _tensors(batch) + _tensors(inputs)
        for old, t in zip(kept, new, strict=True):
            if old is not None:
                old.copy_(t, non_blocking=True)
        self._graph.replay()
        return self._report

    def _run(self, owner: Owner) -> Report:
        try:
            report = owner.run(self._batch, self._inputs)
            after = owner.tensors()
        finally:
            owner.replace_tensors(self._state)
        self._intact.logical_and_(report.finite())
        for old, new in zip(self._state, after, strict=True):
            if old is not new:
                old.copy_(torch.where(self._intact, new, old))
        return report


class GraphedSteps:
    """Steps by graphs: the first one of a kind is launched kernel by kernel, the second captured, one graph at a time.

    A record is read when the next step is under way, so that the device does not wait for the host. Where a step cannot
    be captured, that is said once, and all later ones are launched. Nothing here holds the owner, which may then be
    freed, its graph with it, as soon as nobody else holds it.
    """

    def __init__(self, recorder: type[CudaGraph]) -> None:
        self._recorder = recorder
        self._kind: Any = None
        self._graph: StepGraph | None = None
        self._late: Record | None = None
        self._works = True

    def step(self, owner: Owner, batch: Batch) -> Mapping[str, Any]:
        """FloatingPointError where the step before was not finite; that one and this one changed nothing."""
        batch.check()
        kind, device = owner.graph_key(batch), owner.tensors()[0].device
        if kind != self._kind or not self._works:
            self.synchronize(owner)
            self._kind, self._graph = kind, None
            return self._recorder.warm(lambda: owner.eager_step(batch), device)  # type: ignore[no-any-return]
        inputs = owner.next_inputs()
        if self._graph is None or not self._graph.fits(owner):
            self._graph = None  # its memory, before the next one needs as much
            try:
                self._graph = StepGraph(owner, batch, inputs, self._recorder(device))
            except RuntimeError as error:
                self._give_up(error)
                return self.step(owner, batch)
        before, self._late = self._late, Record(self._graph.step(batch, inputs), owner.steps)
        record = self._late
        if before is not None:
            self._check(owner, before)
        owner.count_step()
        return record

    def synchronize(self, owner: Owner) -> None:
        """Reads the last record; see `step`."""
        late, self._late = self._late, None
        if late is not None:
            self._check(owner, late)

    def _give_up(self, error: RuntimeError) -> None:
        self._works = False
        reason = str(error).partition("\n")[0]
        text = f"a search step cannot be captured as a graph ({reason}): every kernel is launched from now on"
        warnings.warn(text, RuntimeWarning, stacklevel=4)

    def _check(self, owner: Owner, record: Record) -> None:
        try:
            record.read()
        except FloatingPointError:
            owner.steps, self._late, self._graph = record.step, None, None
            raise


def _tensors(values: Batch | StepInputs) -> list[Any]:
    return [getattr(values, field.name) for field in fields(values)]


def _clones(values: Batch | StepInputs) -> list[Any]:
    return [None if t is None else t.clone() for t in _tensors(values)]
