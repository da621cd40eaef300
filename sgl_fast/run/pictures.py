"""The pictures of a search, drawn at the end of every epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..spaces import KINDS
from .progress import Progress
from .run_folder import RunFolder
from .sizes import size_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .stages import Stages


def draw(run: RunFolder, bar: Progress, name: str, formats: Sequence[str], figure: Callable[[], Figure]) -> None:
    """One picture of the run."""
    from .plots import save

    drawn(bar, name, lambda: save(figure(), run.path(name), formats))


def drawn(bar: Progress, name: str, write: Callable[[], None]) -> None:
    """Writes what shows the run; what goes wrong with it is said and does not end the run."""
    try:
        write()
    except Exception as error:
        bar.write(f"{name} is not drawn: {error}")


def draw_search(
    run: RunFolder, stages: Stages, bar: Progress, records: Sequence[Mapping[str, Any]], formats: Sequence[str]
) -> None:
    """Curves of the whole run; alphas of the current stage and cells, once the architecture has moved."""
    from .plots import alphas_figure, cells_figure, curves_figure

    spaces = [net.space for net in stages.search.nets]
    history = [r for r in records if r.get("stage") == stages.stage]
    ops = [{kind: space.ops(kind) for kind in KINDS} for space in spaces]
    draw(run, bar, "curves", formats, lambda: curves_figure(records, marks_of(stages)))
    draw(run, bar, "alphas", formats, lambda: alphas_figure(history, ops))
    if stages.moved:
        found = stages.genotypes()
        sizes = [size_of(g, s.num_classes, s.imagenet) for g, s in zip(found, spaces, strict=True)]
        titles = [f"learner {k}, epoch {stages.epoch}: {size}" for k, size in enumerate(sizes)]
        draw(run, bar, "cells", formats, lambda: cells_figure(found, titles))


def marks_of(stages: Stages) -> dict[float, str]:
    """Epochs at which something begins."""
    whole, start = stages.config.total_epochs, stages.config.arch_start
    marks: dict[float, str] = {s * whole: f"stage {s + 1}" for s in range(1, stages.count)}
    if 0 < start < whole:
        marks |= {s * whole + start: "architecture" for s in range(stages.count)}
    return marks
