"""What the jobs that are done have measured. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from ...genotype.genotype import Genotype
from ...genotype.score import alpha_score
from ...run.run_folder import METRICS
from ...spaces import KINDS
from ..jobs import Job
from .cell import RESULT
from .plan import made
from .statistics import Tops

Record = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """accuracies: on the test images, %, one an initialisation"""

    genotype: Genotype
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.accuracies)


def looks(job: Job) -> dict[int, Record]:
    """By step, the records with an architecture; none of a job that is not done."""
    return _looks(job.folder / METRICS) if job.done else {}


def all_look(searches: Iterable[Job], step: int) -> list[Record]:
    """After that step, of the searches that are done."""
    return [found[step] for search in searches if step in (found := looks(search))]


def trained(job: Job) -> Trained | None:
    """None of a job that is not done."""
    return _trained(job.folder / RESULT) if job.done else None


def all_trained(cells: Iterable[Job]) -> list[Trained]:
    return [found for cell in cells if (found := trained(cell)) is not None]


def distinct(cells: Sequence[Trained]) -> list[Trained]:
    """One of each genotype: equal cells are no two pieces of evidence."""
    return list({cell.genotype.to_json(): cell for cell in cells}.values())


def tops(record: Record, learner: int) -> Tops:
    """Of each edge, of the normal and then of the reduction cell, the place of its most probable operation."""
    rows = [row for kind in KINDS for row in record[f"alphas_{kind}"][learner]]
    return tuple(max(range(len(row)), key=row.__getitem__) for row in rows)


def learners(record: Record) -> range:
    return range(len(record["alphas_normal"]))


def scores(record: Record, learner: int, genotypes: Sequence[Genotype]) -> list[float]:
    """Of each genotype, by one learner's alphas."""
    return [alpha_score(made(False), genotype, record, learner) for genotype in genotypes]


@cache
def _looks(path: Path) -> dict[int, Record]:
    names = ("step", "alphas_normal", "alphas_reduce")
    lines = path.read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines if '"alphas_normal"' in line]
    return {record["step"]: {name: record[name] for name in names} for record in records}


@cache
def _trained(path: Path) -> Trained:
    found = json.loads(path.read_text(encoding="utf-8"))
    return Trained(Genotype(**found["genotype"]), tuple(100 * a for a in found["test_accuracy"]))
