"""What the runs of a row came to. Deviations over searches and over trainings of one network are told apart."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev, variance
from typing import Any

from ..genotype.genotype import Genotype
from ..run.identity import RUN
from ..run.run_folder import CONFIG, RunFolder
from ..run.speed import MEASURED
from .jobs import DONE, SEARCH, Setup, folder_of, training_folders
from .plan import Plan

DAY = 86400.0


@dataclass(frozen=True)
class Estimate:
    """Of a number that was measured `count` times: its mean, and deviations (n - 1), None of fewer than two.

    searches      between searches (seeds), each the mean over its trainings
    retrainings   between trainings of one genotype's network, over all searches
    """

    mean: float
    searches: float | None
    retrainings: float | None
    count: int

    @classmethod
    def of(cls, by_search: Sequence[Sequence[float]]) -> Estimate | None:
        """None where nothing was measured."""
        rows = [row for row in by_search if row]
        if not rows:
            return None
        means = [mean(row) for row in rows]
        within = [variance(row) for row in rows if len(row) > 1]
        spread = math.sqrt(mean(within)) if within else None
        return cls(mean(means), stdev(means) if len(means) > 1 else None, spread, sum(map(len, rows)))


@dataclass
class Found:
    """Of the runs of a row that are done, a list for each seed.

    error, top5_error   of the tests, %
    parameters          of the network at the published scale, in millions, without the auxiliary head; multiply_adds
                        of one image, in millions
    days                of the search
    machines            what searched: backend and device
    """

    error: list[list[float]] = field(default_factory=list)
    top5_error: list[list[float]] = field(default_factory=list)
    parameters: list[list[float]] = field(default_factory=list)
    multiply_adds: list[list[float]] = field(default_factory=list)
    days: list[list[float]] = field(default_factory=list)
    machines: set[str] = field(default_factory=set)

    def estimate(self, name: str) -> Estimate | None:
        return Estimate.of(getattr(self, name))


def found(plan: Plan, setup: Setup) -> Found:
    """Of all seeds. ValueError where a run's files cannot be read."""
    out = Found()
    for seed in setup.seeds if plan.runs else ():
        folders = [folder for folder in training_folders(plan, seed, setup) if (folder / DONE).exists()]
        results = [_json(folder / "result.json") for folder in folders]
        out.error.append([100 * (1 - r["test_accuracy"]) for r in results])
        out.top5_error.append([100 * (1 - r["test_top5"]) for r in results if "test_top5" in r])
        sizes = [_sizes(folder, plan) for folder in folders[:1]]
        out.parameters.append([size[0] for size in sizes])
        out.multiply_adds.append([size[1] for size in sizes])
        search = folder_of(plan, seed, setup) / SEARCH
        if plan.search is not None and (search / DONE).exists():
            days, machine = _cost(search)
            out.days.append([days])
            out.machines.add(machine)
    return out


def _sizes(folder: Path, plan: Plan) -> tuple[float, float]:
    """Parameters and multiply-adds, in millions, of the network that papers report."""
    from ..run.sizes import size_of

    genotype = Genotype(**_json(folder / "genotype.json"))
    classes = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}[plan.data]
    size = size_of(genotype, classes, plan.data == "imagenet")
    return size.parameters / 1e6, size.macs / 1e6


def _cost(search: Path) -> tuple[float, str]:
    """Days of the search's process, and what computed."""
    records = RunFolder(search).read_metrics()
    seconds = next((r[MEASURED]["seconds"] for r in reversed(records) if "seconds" in r.get(MEASURED, {})), 0.0)
    identity = _json(search / CONFIG).get(RUN, {})
    return seconds / DAY, str(identity.get("backend", "an earlier version, which did not say"))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); without its folder --resume does it again") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: no object")
    return value
