"""report.html of a search."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..data.locate import PYTHON
from ..genotype.genotype import Genotype
from .discrete_scores import CELLS
from .identity import RUN
from .report import Frame, Page, Table, cost_of, flat, frames_of, inlined, machine
from .run_folder import RunFolder
from .search_args import PROG
from .sizes import millions
from .speed import MEASURED
from .stages import Stages

REFRESH = 30  # seconds, while the run goes
CAPTIONS = {
    "curves": "A colour a learner; pale: single steps; validation is of the whole validation set.",
    "alphas": "Red: more probable than by no choice, blue: less; the two scales are those of the operations and edges.",
}
HYPERGRADIENT = {"hypergradient_norm": ("hypergradient", "{:.2e}"), "implicit_share": ("its second order", "{:.1%}")}
SCORES = {
    "discrete_accuracy": ("accuracy", "{:.2%}"),
    "random_accuracy": ("of random cells", "{:.2%}"),
    "rank_correlation": ("rank correlation", "{:.2f}"),
}
TITLES = {"curves": "Curves", "alphas": "Architectures"}


def search_page(run: RunFolder, stages: Stages, records: Sequence[Mapping[str, Any]], state: str) -> Page:
    """After at least one epoch. state: running, done, or where it stopped"""
    ended = [record for record in records if "validation_loss" in record]
    last, settings = ended[-1], stages.settings
    running = state == "running"
    total = stages.count * stages.config.total_epochs
    written = f"written {time.strftime('%Y-%m-%d %H:%M:%S')}; {run.path('').absolute()}"
    return Page(
        f"{settings['space']} search of {stages.config.learners} learners on {stages.dataset.name}",
        f"{state}; epoch {last['epoch']} of {total}; {written}",
        progress=stages.step / stages.steps,
        refresh=REFRESH if running else 0,
        facts=facts_of(run, last, stages),
        tables=[learners(last), *cells(last)],
        frames=frames(ended),
        pictures=[
            (title, inlined(path, name), CAPTIONS[name])
            for name, title in TITLES.items()
            if (path := run.path(f"{name}.svg")).exists()
        ],
        genotypes=[(f"learner {k}", str(Genotype(**g))) for k, g in enumerate(last.get("genotypes", []))],
        commands=commands(run, last, state),
        folded=[
            Table("Settings", flat({name: value for name, value in run.config.items() if name != RUN})),
            Table("Software and hardware", machine(run.config.get(RUN, {}))),
        ],
    )


def facts_of(run: RunFolder, last: Mapping[str, Any], stages: Stages) -> list[tuple[str, str]]:
    """What a reader looks for first."""
    from ..sgl import ranks

    measured, best = last.get(MEASURED, {}), last["best_learner"]
    found = [
        ("best learner", str(best)),
        ("its validation accuracy", f"{last['validation_accuracy'][best]:.2%}"),
        ("steps", f"{stages.step:,} of {stages.steps:,}"),
        ("time", tqdm.format_interval(measured.get("seconds", 0))),
        cost_of(measured, str(run.config.get(RUN, {}).get("backend")), ranks.count()),
        ("ms a step", f"{measured.get('ms_per_step', 0):.0f}"),
        ("images/s", f"{measured.get('images_per_second', 0):.0f}"),
        ("waits for data", f"{measured.get('data_share', 0):.1%}"),
        ("peak memory", f"{measured.get('peak_memory', 0) / 1e9:.2f} GB"),
    ]
    return found if MEASURED in last else found[:3]


def learners(last: Mapping[str, Any]) -> Table:
    """A row each; the one of least validation loss is the best."""
    head = ["learner", "validation loss", "validation error", "training loss", "skips, normal", "skips, reduction"]
    sizes = "genotypes" in last
    moving = [name for name in HYPERGRADIENT if name in last]
    head += [*(HYPERGRADIENT[name][0] for name in moving), *(("parameters", "multiply-adds") if sizes else ())]
    rows = []
    for k, loss in enumerate(last["validation_loss"]):
        train = last.get("train_loss") or last.get("train_v_loss") or []
        row = [f"{k} (best)" if k == last["best_learner"] else str(k), f"{loss:.4f}"]
        row += [f"{100 * (1 - last['validation_accuracy'][k]):.2f} %", f"{train[k]:.4f}" if train else "-"]
        row += [str(last["skips"][k][kind]) for kind in ("normal", "reduce")]
        row += [HYPERGRADIENT[name][1].format(last[name][k]) for name in moving]
        row += [f"{last['parameters'][k]:,}", f"{last['multiply_adds'][k]:,}"] if sizes else []
        rows.append(row)
    note = "Training loss and hypergradient: of the last step; its second order: the implicit terms over the whole."
    if sizes:
        note += " Sizes: 36 channels and 20 layers, on ImageNet 48 and 14; convolutions and classifier of one image."
    return Table(f"Learners after epoch {last['epoch']}", rows, head, note)


def cells(last: Mapping[str, Any]) -> list[Table]:
    """How the learners' cells score without being trained, if they were asked."""
    if any(name not in last for name in SCORES):
        return []
    rows = []
    for k in range(len(last["rank_correlation"])):
        values = [(last[name][k], form) for name, (_, form) in SCORES.items()]
        rows.append([str(k), *("-" if value is None else form.format(value) for value, form in values)])
    note = (
        f"Networks cut out of the supernet as it is, on validation images. {CELLS} random cells are drawn once; rank "
        "correlation: of how much the learner's alphas prefer each of them with its accuracy, from -1 to 1, and "
        f"0 ± {(CELLS - 1) ** -0.5:.2f} without any relation."
    )
    return [Table("Their cells, not trained", rows, ["learner", *(head for head, _ in SCORES.values())], note)]


def frames(ended: Sequence[Mapping[str, Any]]) -> list[Frame]:
    """The cells of each epoch that has some."""
    found = []
    for record in ended:
        if "genotypes" in record:
            counts = zip(record["parameters"], record["multiply_adds"], strict=True)
            titles = [f"learner {k}: {millions(*one)}" for k, one in enumerate(counts)]
            found.append((record["epoch"], [Genotype(**g) for g in record["genotypes"]], titles))
    return frames_of(found)


def commands(run: RunFolder, last: Mapping[str, Any], state: str) -> list[tuple[str, str]]:
    """What to run next."""
    folder = shlex.quote(str(run.folder))
    go_on = f"{PROG} --resume {folder}"
    if run.config["data"].startswith(PYTHON):
        go_on = f"sgl_fast.run_search(dataset, out={str(run.folder)!r}, resume=True)"
    found = [] if state == "done" else [("Go on, where it stopped", go_on)]
    if "genotypes" in last:
        found.append(("Train the best learner's network", evaluate_command(run.folder, run.config)))
        published = " --image-size 32" if run.config.get("image_size") == 16 else ""  # as in the table of learners
        count = f"{trained(run.folder, run.config)} --count{published}"
        found.append(("Count its parameters and multiply-adds", count))
    return found


def evaluate_command(folder: Path, settings: Mapping[str, Any]) -> str:
    """What trains the network of a search's best learner, at the scale of the search, on the same images."""
    if not settings["data"].startswith(PYTHON):
        return trained(folder, settings)
    more = ', scale="paper"' if settings["scale"] == "paper" else ""
    return f"sgl_fast.run_evaluation({str(folder)!r}, dataset{more})"


def trained(folder: Path, settings: Mapping[str, Any]) -> str:
    """That command line, whatever the images are."""
    command = f"python -m sgl_fast.evaluate --genotype {shlex.quote(str(folder))}"
    return f"{command} --scale paper" if settings["scale"] == "paper" else command
