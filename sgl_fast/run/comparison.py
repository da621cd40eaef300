"""Several runs side by side: what their settings differ in and what that does, over seeds. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from .identity import RUN
from .report import flat
from .run_folder import RunFolder
from .speed import MEASURED

PLACES = {"seed", "root", "genotype", "steps_per_epoch"}  # what runs of one group may differ in
Number = Callable[[Mapping[str, Any], int], float]  # of an epoch's record and its best learner
SEARCH: dict[str, Number] = {
    "val error, %": lambda r, k: 100 * (1 - r["validation_accuracy"][k]),
    "val loss": lambda r, k: r["validation_loss"][k],
    "skips": lambda r, k: r["skips"][k]["normal"],
    "M params": lambda r, k: r["parameters"][k] / 1e6,
    "M mult-adds": lambda r, k: r["multiply_adds"][k] / 1e6,
}
EVALUATION: dict[str, Number] = {
    "test error, %": lambda r, k: 100 * (1 - r["test_accuracy"]),
    "test loss": lambda r, k: r["test_loss"],
    "train error, %": lambda r, k: 100 * (1 - r["train_accuracy"]),
}
SHARED: dict[str, Number] = {"hours": lambda r, k: r[MEASURED]["seconds"] / 3600}


@dataclass
class Compared:
    """One run: its settings by name, and the records that end its epochs."""

    folder: Path
    settings: dict[str, str]
    ended: list[dict[str, Any]]

    @property
    def is_search(self) -> bool:
        return "validation_loss" in self.ended[-1]

    def errors(self) -> list[tuple[float, float]]:
        """(epoch, error in percent): of a search on the validation images, of the learner that is best there, then."""
        error = next(iter((SEARCH if self.is_search else EVALUATION).values()))
        return [(record["epoch"], error(record, record.get("best_learner", 0))) for record in self.ended]

    def numbers(self) -> dict[str, float]:
        """What is compared, of the last epoch and, of a search, its best learner; what a run lacks is left out."""
        last, found = self.ended[-1], {}
        for name, number in {**(SEARCH if self.is_search else EVALUATION), **SHARED}.items():
            try:
                found[name] = float(number(last, last.get("best_learner", 0)))
            except KeyError:
                continue
        return found


@dataclass
class Group:
    """Runs whose settings are equal but for their seeds. values: what sets them apart from other groups"""

    values: tuple[str, ...]
    runs: list[Compared] = field(default_factory=list)

    def cells(self, names: Sequence[str]) -> list[str]:
        """Means, and of more than one run the deviations (n - 1)."""
        table = [run.numbers() for run in self.runs]
        return [_mean([row[name] for row in table if name in row]) for name in names]


def read_run(path: str | Path) -> Compared:
    """ValueError where it is no folder of a run, or no epoch has ended."""
    run = RunFolder(Path(path))
    try:
        config, records = run.read_config(), run.read_metrics()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    ended = [r for r in records if "validation_loss" in r or "test_loss" in r]
    if not ended:
        raise ValueError(f"{path}: no epoch of this run has ended")
    return Compared(Path(path), dict(flat({k: v for k, v in config.items() if k != RUN})), ended)


def grouped(runs: Sequence[Compared]) -> tuple[list[str], list[Group]]:
    """The settings that differ, but for PLACES, and the groups, in the order of the runs. ValueError for two kinds."""
    if len({run.is_search for run in runs}) > 1:
        raise ValueError("need runs of one kind; got searches and evaluations")
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    differing = [n for n in names if _top(n) and len({run.settings.get(n) for run in runs}) > 1]
    groups: dict[tuple[str, ...], Group] = {}
    for run in runs:
        values = tuple(run.settings.get(name, "-") for name in differing)
        groups.setdefault(values, Group(values)).runs.append(run)
    return differing, list(groups.values())


def table_of(differing: Sequence[str], groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Names of the columns, and a row a group."""
    known = {name for group in groups for run in group.runs for name in run.numbers()}
    names = [name for name in {**SEARCH, **EVALUATION, **SHARED} if name in known]
    rows = [[*group.values, str(len(group.runs)), *group.cells(names)] for group in groups]
    return [*differing, "runs", *names], rows


def text_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join(lines)


def _top(name: str) -> bool:
    return name not in PLACES and not name.endswith("_concat") and name not in ("normal", "reduce")


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "-"
    places = max(0, 3 - max(0, math.floor(math.log10(abs(mean(values)) or 1)))) if any(values) else 0
    text = f"{mean(values):.{places}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.{places}f}"
