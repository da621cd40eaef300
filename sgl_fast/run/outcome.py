"""What a search found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..genotype.genotype import Genotype
from .decided import decided
from .run_folder import RunFolder
from .search_report import evaluate_command
from .sizes import size_of
from .stages import Stages


@dataclass(frozen=True)
class Outcome:
    """Of a search that is done; as text, what the first process says at its end.

    folder        the run's
    genotypes     every learner's; none where the architecture never moved
    best_learner  the one of least validation loss
    record        the last line of metrics.jsonl
    """

    folder: Path
    genotypes: list[Genotype]
    best_learner: int
    record: dict[str, Any]
    text: str = field(repr=False)

    @property
    def best(self) -> Genotype:
        """The best learner's genotype. ValueError where there is none."""
        if not self.genotypes:
            raise ValueError(f"no genotype in {self.folder}: the architecture never moved (arch_start)")
        return self.genotypes[self.best_learner]

    def __str__(self) -> str:
        return self.text


def outcome(run: RunFolder, stages: Stages) -> Outcome:
    """Of a run that has come to its end; the same in every process."""
    from ..sgl import processes, ranks

    last: dict[str, Any] = processes.from_main((run.read_metrics() or [{}])[-1])
    genotypes = stages.genotypes() if stages.moved else []
    text = "\n".join(lines(run, stages, last)) if ranks.is_main() else ""
    return Outcome(run.folder, genotypes, last["best_learner"], last, text)


def lines(run: RunFolder, stages: Stages, last: dict[str, Any]) -> list[str]:
    """The best learner's genotype, the size of its network at the paper's scale, how to evaluate it."""
    best, space = last["best_learner"], stages.search.space
    loss, accuracy = last["validation_loss"][best], last["validation_accuracy"][best]
    found = [f"learner {best} has the least validation loss, {loss:.3f}; accuracy {accuracy:.1%}"]
    if not stages.moved:
        epochs = stages.config.epochs
        return [*found, f"no genotype: the architecture never moved in {epochs} epochs (--arch-start)"]
    genotype = stages.genotypes()[best]
    size = size_of(genotype, space.num_classes, space.imagenet)
    sizes = f"{size.parameters:,} parameters, {size.macs:,} multiply-adds (convolutions and classifier)"
    return [
        *found,
        *decided(stages.search).lines(),
        genotype.to_json(),
        f"{size.channels} channels, {size.layers} layers: {sizes}",
        f"evaluate it: {evaluate_command(run.folder, stages.settings)}",
    ]
