"""What a step says: numbers of every learner, which stay on the device until somebody reads them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..data.batch import ROLES, Batch
from ..reference.layers import RunningStats
from .arch_adam import ArchAdam

LARGEST = 1e15  # of an image: a norm of larger ones overflows, its output is 0, and every loss is finite again


@dataclass
class Report:
    """Of one step, on the device: values (n, K) by name, and passes counted.

    shown   how many of the names, the first ones, a record has; the others are the largest magnitudes of the new state
    """

    names: list[str]
    values: Tensor
    shown: int
    counts: dict[str, int]

    @classmethod
    def of(cls, losses: dict[str, Tensor], others: dict[str, Tensor], counts: dict[str, int]) -> Report:
        values = [*losses.values(), *others.values()]
        return cls([*losses, *others], torch.stack([t.detach() for t in values]), len(values), counts)

    def with_state(self, state: Mapping[str, Any], batch: Batch) -> Report:
        """The same, which is finite only where the new attributes of a search are, and the images below LARGEST."""
        rows = _rows(state)
        top, bottom = (torch.stack([extreme(t, 1) for t in rows.values()]) for extreme in (torch.amax, torch.amin))
        sizes = torch.stack([_size(batch.images(role), self.values) for role in ROLES])
        names = [*self.names, *(f"new {name}" for name in rows), *(f"size of x_{role}" for role in ROLES)]
        return replace(self, names=names, values=torch.cat([self.values, torch.maximum(top, -bottom), sizes]))

    def finite(self) -> Tensor:
        """Whether every value is a finite number; no dimension."""
        return self.values.isfinite().all()


class Record(Mapping[str, Any]):
    """A step's losses, accuracies and norms, a list over the learners each, and passes counted.

    On a CUDA device they are on their way to the host; the first look at one waits for them, and is a
    FloatingPointError that names step, value and learner where a loss, a norm or the new state is not finite.
    """

    def __init__(self, report: Report, step: int) -> None:
        self.step = step
        self._names, self._shown, self._counts = report.names, report.names[: report.shown], report.counts
        self._numbers: dict[str, Any] | None = None
        self._arrived: torch.cuda.Event | None = None
        if not report.values.is_cuda:
            self._values = report.values.clone()  # the next step may write there
        else:
            self._values = torch.empty(report.values.shape, dtype=report.values.dtype, pin_memory=True)
            self._values.copy_(report.values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(report.values.device))

    @property
    def known(self) -> bool:
        """Whether somebody has read it."""
        return self._numbers is not None

    def read(self) -> dict[str, Any]:
        """All of it. FloatingPointError where a value is not finite, see above."""
        if self._numbers is None:
            if self._arrived is not None:
                self._arrived.synchronize()
            rows = dict(zip(self._names, self._values.tolist(), strict=True))
            for name, row in rows.items():
                check_finite(f"step {self.step}: {name}", row)
            self._numbers = {**{name: rows[name] for name in self._shown}, **self._counts}
        return self._numbers

    def __getitem__(self, name: str) -> Any:
        return self.read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._shown, *self._counts])

    def __len__(self) -> int:
        return len(self._shown) + len(self._counts)


def _rows(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights, statistics and architects as rows (K, n) by name."""
    rows: dict[str, Tensor] = {}
    for name, value in state.items():
        if isinstance(value, RunningStats):
            rows |= {"running_mean": value.mean, "running_var": value.var}
        elif isinstance(value, ArchAdam):
            rows[name] = torch.cat([value.arch.flat(), *value.moments], 1)
        else:
            rows[name] = value
    return rows


def _size(images: Tensor, values: Tensor) -> Tensor:
    """The largest magnitude of [N, 3, H, W] or [K, N, 3, H, W], (K), infinite above LARGEST."""
    rows = images.detach().reshape(len(images) if images.dim() == 5 else 1, -1)
    size = torch.maximum(rows.amax(1), -rows.amin(1)).to(values.dtype)
    return (size * (torch.finfo(values.dtype).max / LARGEST)).expand(values.shape[1])


def check_finite(name: str, values: Sequence[float]) -> None:
    """FloatingPointError that names the first learner whose value is not finite."""
    for k, value in enumerate(values):
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} of learner {k} is {value}")
