"""report.html of an evaluation."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..genotype.genotype import Genotype
from .identity import RUN
from .report import Page, Table, cost_of, flat, frames_of, inlined, machine
from .run_folder import RunFolder
from .speed import MEASURED

if TYPE_CHECKING:
    from .retrain import Retraining

REFRESH = 30  # seconds, while the run goes


def retraining_page(run: RunFolder, retraining: Retraining, records: Sequence[Mapping[str, Any]]) -> Page:
    """After at least one epoch."""
    last, recipe, genotype = records[-1], retraining.recipe, Genotype(**run.config["genotype"])
    measured, identity = last.get(MEASURED, {}), run.config.get(RUN, {})
    curves = run.path("curves.svg")
    return Page(
        f"{recipe.layers} layers of {recipe.channels} channels on {retraining.dataset.name}",
        f"{'done' if retraining.done else 'running'}; epoch {last['epoch']} of {recipe.epochs}; written "
        f"{time.strftime('%Y-%m-%d %H:%M:%S')}; {run.folder.absolute()}",
        progress=retraining.step / retraining.steps,
        refresh=0 if retraining.done else REFRESH,
        facts=[
            ("test error", f"{100 * (1 - last['test_accuracy']):.2f} %"),
            ("training error", f"{100 * (1 - last['train_accuracy']):.2f} %"),
            ("parameters", f"{retraining.sizes['parameters']:,}"),
            ("multiply-adds", f"{retraining.sizes['multiply_adds_conv_linear']:,}"),
            ("time", tqdm.format_interval(measured.get("seconds", 0))),
            cost_of(measured, str(identity.get("backend"))),
            ("ms a step", f"{measured.get('ms_per_step', 0):.0f}"),
            ("peak memory", f"{measured.get('peak_memory', 0) / 1e9:.2f} GB"),
        ],
        frames=frames_of([(last["epoch"], [genotype], ["the network's cells"])]),
        pictures=[("Curves", inlined(curves, "curves"), "")] if curves.exists() else [],
        genotypes=[("", str(genotype))],
        folded=[
            Table("Settings", flat({name: v for name, v in run.config.items() if name not in (RUN, "genotype")})),
            Table("Software and hardware", machine(identity)),
        ],
    )
