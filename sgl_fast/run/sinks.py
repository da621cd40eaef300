"""Where records go beside metrics.jsonl: --log csv,tensorboard,wandb. The packages of the last two are extras."""

from __future__ import annotations

import csv
import hashlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ..errors import one_line
from ..files import write_text_atomic


class Sink(Protocol):
    """Takes what metrics.jsonl has taken, numbers and lists as JSON has them."""

    def log(self, record: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


class Run(Protocol):
    """What a sink needs of a `RunFolder`. good: the step of its newest checkpoint, None before the first"""

    folder: Path
    config: dict[str, Any]
    good: int | None

    def read_metrics(self) -> list[dict[str, Any]]: ...


class Csv:
    """metrics.csv: a row an epoch. Written anew each time, since later epochs may have more columns."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def log(self, record: Mapping[str, Any]) -> None:
        if ends_epoch(record):
            rows = [dict(scalars(r)) for r in self.run.read_metrics() if ends_epoch(r)]
            text = io.StringIO()
            names = list(dict.fromkeys(name for row in rows for name in row))
            table = csv.DictWriter(text, names, restval="", lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
            write_text_atomic(self.run.folder / "metrics.csv", text.getvalue())

    def close(self) -> None:
        pass


class TensorBoard:
    """Scalars by step in the run's folder tensorboard; what a killed session wrote past its checkpoint is dropped."""

    def __init__(self, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter
        self.writer = writer(str(run.folder / "tensorboard"), purge_step=(run.good or 0) + 1)

    def log(self, record: Mapping[str, Any]) -> None:
        for name, value in scalars(record):
            self.writer.add_scalar(name, value, record["step"])

    def close(self) -> None:
        self.writer.close()


class Wandb:
    """A run of project sgl_fast that a resumed one goes on with; WANDB_MODE and its kin say where it goes."""

    def __init__(self, run: Run) -> None:
        import wandb

        key = hashlib.sha256(str(run.folder.absolute()).encode()).hexdigest()[:16]
        settings = {"project": "sgl_fast", "name": run.folder.name, "id": key, "resume": "allow"}
        self.run: Any = wandb.init(**settings, dir=str(run.folder), config=run.config)

    def log(self, record: Mapping[str, Any]) -> None:
        self.run.log(dict(scalars(record)), step=record["step"])

    def close(self) -> None:
        self.run.finish()


SINKS: dict[str, type[Any]] = {"csv": Csv, "tensorboard": TensorBoard, "wandb": Wandb}


class Sinks:
    """All that were asked for. One that fails is left out from then on, in a line: no run ends by what shows it."""

    def __init__(self, sinks: Mapping[str, Sink] | None = None) -> None:
        self.sinks = dict(sinks or {})

    @classmethod
    def opened(cls, names: Sequence[str], run: Run) -> Sinks:
        """ValueError where one cannot begin."""
        sinks = cls()
        for name in names:
            try:
                sinks.sinks[name] = SINKS[name](run)
            except Exception as error:
                raise ValueError(f"--log {name}: {one_line(str(error))}") from error
        return sinks

    def log(self, record: Mapping[str, Any]) -> None:
        self._each(lambda sink: sink.log(record))

    def close(self) -> None:
        self._each(lambda sink: sink.close())

    def _each(self, do: Callable[[Sink], None]) -> None:
        for name, sink in list(self.sinks.items()):
            try:
                do(sink)
            except Exception as error:
                del self.sinks[name]
                print(f"--log {name} ends here: {one_line(str(error))}", file=sys.stderr)


def sinks_of(text: str) -> list[str]:
    """Of --log. ValueError where one is unknown, or its package is not there."""
    names = [] if text == "none" else text.split(",")
    for name in names:
        if name not in SINKS:
            raise ValueError(f"--log: need some of {', '.join(SINKS)}, or none; got {name!r:.80}")
        if name != "csv" and find_spec(name) is None:
            raise ValueError(f"--log {name}: it is not installed: pip install 'sgl-fast[{name}]'")
    return names


def ends_epoch(record: Mapping[str, Any]) -> bool:
    return "validation_loss" in record or "test_loss" in record


def scalars(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers by name: of each learner name/0, name/1 ..., of a dictionary name/key. Tables and text are left out."""
    for name, value in record.items():
        inner = dict(enumerate(value)) if isinstance(value, list) and not prefix else value
        if isinstance(inner, dict):
            yield from scalars(inner, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            yield f"{prefix}{name}", value
