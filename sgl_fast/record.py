"""What a step says: numbers of every learner, which stay on the device until somebody reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Report:
    """Of one step, on the device: values (n, K) by name, those of the losses first, and passes counted.

    losses   how many of the names are losses
    """

    names: list[str]
    values: Tensor
    losses: int
    counts: dict[str, int]

    @classmethod
    def of(cls, losses: dict[str, Tensor], others: dict[str, Tensor], counts: dict[str, int]) -> Report:
        values = [*losses.values(), *others.values()]
        return cls([*losses, *others], torch.stack([t.detach() for t in values]), len(losses), counts)

    def finite(self) -> Tensor:
        """Whether every loss is a finite number; no dimension."""
        return self.values[: self.losses].isfinite().all()


class Record(Mapping[str, Any]):
    """A step's losses, accuracies and norms, a list over the learners each, and passes counted.

    On a CUDA device they are on their way to the host; the first look at one waits for them, and is a
    FloatingPointError that names step, loss and learner where a loss is not finite.
    """

    def __init__(self, report: Report, step: int) -> None:
        self.step = step
        self._names, self._losses, self._counts = report.names, report.losses, report.counts
        self._numbers: dict[str, Any] | None = None
        self._arrived: torch.cuda.Event | None = None
        if not report.values.is_cuda:
            self._values = report.values.clone()  # the next step may write there
        else:
            self._values = torch.empty(report.values.shape, dtype=report.values.dtype, pin_memory=True)
            self._values.copy_(report.values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    @property
    def known(self) -> bool:
        """Whether somebody has read it."""
        return self._numbers is not None

    def read(self) -> dict[str, Any]:
        """All of it. FloatingPointError where a loss is not finite."""
        if self._numbers is None:
            if self._arrived is not None:
                self._arrived.synchronize()
            rows = dict(zip(self._names, self._values.tolist(), strict=True))
            for name in self._names[: self._losses]:
                for k, value in enumerate(rows[name]):
                    if not abs(value) < float("inf"):
                        raise FloatingPointError(f"step {self.step}: {name} of learner {k} is {value}")
            self._numbers = {**rows, **self._counts}
        return self._numbers

    def __getitem__(self, name: str) -> Any:
        return self.read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._names, *self._counts])

    def __len__(self) -> int:
        return len(self._names) + len(self._counts)
