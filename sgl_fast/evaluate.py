"""python -m sgl_fast.evaluate: trains the network that a genotype denotes, or counts it. No torch before parsing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import RunStopped
from .genotype.genotype import Genotype
from .genotype.published import genotypes
from .genotype.sources import source_of
from .run.command import Stopped, Unreadable, check_device, code_of, device_of, formats_of, mid_run, reading, started
from .run.epoch_table import retraining_row
from .run.evaluate_args import OPTIONS, PROG, flat, genotype_of, new_config, parser, recipe_of, stored_config, with_run
from .run.identity import RUN, computes, identity
from .run.pictures import draw, drawn
from .run.place import settle
from .run.progress import Progress
from .run.python_call import as_it_was, as_typed, own_data
from .run.recipe import Recipe
from .run.report import REPORT, write_page
from .run.run_folder import METRICS, RunFolder
from .run.signals import stop_requested
from .run.sinks import sinks_of
from .run.speed import MEASURED, measured_before, peak_memory

if TYPE_CHECKING:
    from .data import Dataset
    from .run.retrain import Retraining

GENOTYPE, RESULT = "genotype.json", "result.json"
Images = Callable[[int], "Dataset"]  # by the seed of the splits
RESULTS = {"test_accuracy", "epoch"}  # of a record, for result.json
LOOK_EVERY = 20  # steps between two readings of the running numbers, which wait for the device


@dataclass(frozen=True)
class Evaluated:
    """Of a network that is trained: its run's folder, its accuracy on the test images, and what result.json holds."""

    folder: Path
    accuracy: float
    result: dict[str, Any]

    def __str__(self) -> str:
        accuracy, epochs = 100 * self.accuracy, self.result["epoch"]
        return f"test accuracy {accuracy:.2f}% after the last of {epochs} epochs; {self.folder / RESULT}"


def main(argv: list[str] | None = None) -> int:
    """Exit code: as that of `search.main`."""
    args = parser().parse_args(argv)
    try:
        given = OPTIONS.given(args, flat)
        check_device(args.device)
        if args.count:
            return print_counts(with_run(given)[0], args.classes)
        config, notes = settled(args, given)
        if config and args.print_config:
            print(OPTIONS.toml(flat(config), f"for {PROG} --config FILE"))
            return 0
        print(evaluate(args, given, config, notes))
    except (OSError, ValueError, RunStopped) as error:
        return code_of(PROG, error)
    return 0


def run_evaluation(
    genotype: Genotype | str | os.PathLike[str] | None = None,
    dataset: Any = None,
    out: str | os.PathLike[str] | None = None,
    *,
    val: Any = None,
    test: Any = None,
    resume: bool | str = False,
    **settings: Any,
) -> Evaluated:
    """Trains the network that a genotype denotes, and tests it, as `python -m sgl_fast.evaluate`, into the same folder.

    genotype   one, a run's folder, a file, a published name, or its text; None: that of the run to resume
    dataset    as of `run_search`; None: the run's, where genotype is a folder, else what `data` says, else auto
    out        folder; None: runs/DATE-evaluate-SEED
    val, test  as of `run_search`
    resume     as of `run_search`
    settings   any option of the command by its name: scale, epochs, channels, seed, device, ...; config: a TOML file

    Errors: as of `run_search`.

    >>> sizes = dict(channels=4, layers=3, epochs=1, batch_size=4, limit=4, auxiliary_weight=0.0)
    >>> found = run_evaluation("DARTS_V2", "embedded", file.with_name("trained"), quiet=True, **sizes)
    >>> 0 <= found.accuracy <= 1
    True
    """
    text = str(genotype) if isinstance(genotype, Genotype) else genotype
    said = {**settings, "genotype": text, "out": out}
    args, given = as_typed(OPTIONS, flat, said, resume, "run_evaluation")
    images = own_data(dataset, given, {"val": val, "test": test}, "run_evaluation")
    with as_it_was():
        check_device(args.device)
        return evaluate(args, given, *settled(args, given, images is not None), images)


def settled(
    args: argparse.Namespace, given: dict[str, Any], own: bool = False
) -> tuple[dict[str, Any] | None, list[str]]:
    """What config.json of a new run holds, None: there is one to resume, and lines for the user. args gets folder,
    figures and sinks.

    own   the images came from Python
    """
    args.figures, args.log = formats_of(args.figures), sinks_of(args.log)
    settle(args, ("evaluate", given.get("seed", 0)))
    if args.resume:
        return None, []
    said, notes = with_run(given)
    return new_config(said, own, args.download), notes


def evaluate(
    args: argparse.Namespace,
    given: dict[str, Any],
    config: dict[str, Any] | None,
    notes: list[str],
    images: Images | None = None,
) -> Evaluated:
    """A new run of this config, or, without, the one to resume, to its end.

    images   those that came from Python, in place of those that the config names
    """
    with RunFolder.create(args.out) if config else RunFolder.open(args.out) as run:
        run.notes += notes
        retraining = begun(run, args, config, images) if config else resumed(run, args, given, images)
        run.log_to(args.log)
        with mid_run(run):
            fit(run, retraining, args.quiet, args.figures)
            return finish(run, retraining)


def print_counts(given: dict[str, Any], classes: int) -> int:
    """Parameters, and multiply-adds by each rule, of the network that the options describe; what a paper prints."""
    genotype, recipe = genotype_of(given), recipe_of(given, "paper")
    import torch

    from .nets.counting import RULES, count_macs, count_parameters
    from .nets.network import Network

    size = given.get("image_size") or (224 if recipe.imagenet else 32)
    with torch.device("meta"):
        network = Network(genotype, recipe.channels, recipe.layers, classes, imagenet=recipe.imagenet)
    print(f"{recipe.channels} channels, {recipe.layers} layers, {classes} classes, {size} x {size} pixels")
    print(f"{'parameters':<36}{count_parameters(network):>15,}")
    print(f"{'parameters with the auxiliary head':<36}{count_parameters(network, auxiliary=True):>15,}")
    for rule in RULES:
        print(f"{f'multiply-adds, {rule}':<36}{count_macs(network, size, rule):>15,}")
    if given["genotype"] in genotypes:
        print("\n".join(["", *source_of(given["genotype"]).lines()]))
    return 0


def begun(run: RunFolder, args: argparse.Namespace, config: dict[str, Any], images: Images | None) -> Retraining:
    """A new run; its config.json is written once everything is ready for the first step."""
    retraining, run.identity = prepare(args, config, config, images)
    run.begin({**config, RUN: run.identity})
    say(run, retraining)
    return retraining


def resumed(run: RunFolder, args: argparse.Namespace, given: dict[str, Any], images: Images | None) -> Retraining:
    """The run at its checkpoint, if there is one. A ValueError leaves all files as they were."""
    config, notes = stored_config(given, args.out, run.config)
    retraining, identity = prepare(args, config, run.config, images)

    def take(state: dict[str, Any]) -> int:
        retraining.load_state_dict(state)
        return retraining.step

    run.notes += notes
    run.check_identity(identity)
    run.load(take)
    if retraining.done and not any(set(record) >= RESULTS for record in run.read_metrics()[-1:]):
        raise ValueError(f"{run.path(METRICS)} has no test accuracy of the last epoch of a run that is done")
    run.truncate_metrics(retraining.step)
    say(run, retraining)
    return retraining


def prepare(
    args: argparse.Namespace, config: dict[str, Any], stored: dict[str, Any], images: Images | None
) -> tuple[Retraining, dict[str, Any]]:
    """Data and network before the first step, and the identity of a run of them. stored: what config.json holds"""
    from .data import open_dataset
    from .run.retrain import Retraining

    recipe = Recipe(**{field.name: config[field.name] for field in fields(Recipe)})
    if images is None:
        where = config["data"], config["root"], "train", config["image_size"]
        dataset = open_dataset(*where, recipe.seed, args.download)
    else:
        dataset = images(recipe.seed)
    device = device_of(args.device)
    retraining = Retraining(Genotype(**config["genotype"]), dataset, recipe, device)
    return retraining, identity(stored, dataset, computes("torch", device))


def say(run: RunFolder, retraining: Retraining) -> None:
    """What there is to know before the first step."""
    dataset = retraining.dataset
    for line in (f"run folder {run.folder}", *run.notes, f"{dataset.name}: {dataset.source}", retraining.note):
        print(line, file=sys.stderr)


def fit(run: RunFolder, retraining: Retraining, quiet: bool, figures: list[str]) -> None:
    """Trains to the end, with a checkpoint after every epoch.

    figures   formats of the picture
    Stopped at a signal, Unreadable where a file cannot be read: with a checkpoint there.
    """
    run.write_json(GENOTYPE, run.config["genotype"])
    recipe, shown = retraining.recipe, dict[str, Any]()
    before = measured_before(run.read_metrics())
    bar = Progress(retraining.steps, recipe.epochs, recipe.batch_size, retraining.step, quiet, before=before)
    with stop_requested() as stop, bar:

        def check_signal() -> None:
            if stop.signal is not None:
                raise Stopped(stop.signal)

        try:
            while not retraining.done:
                if not retraining.epoch_ended:
                    epoch = retraining.epoch + 1
                    with bar.speed.waiting(), reading():
                        batch = retraining.batch()
                    retraining.train_step(batch)
                    if retraining.step % LOOK_EVERY == 0:
                        shown |= retraining.running()
                    bar.speed.step()
                    bar.update(retraining.step, epoch, shown)
                if retraining.epoch_ended:
                    with bar.speed.apart():
                        shown = end_epoch(run, retraining, bar, check_signal)
                        show(run, retraining, bar, figures)
                check_signal()
        except (Stopped, Unreadable):
            run.save(retraining.state_dict(), retraining.step)
            raise
        show(run, retraining, bar, figures)


def end_epoch(
    run: RunFolder, retraining: Retraining, bar: Progress, check_signal: Callable[[], None]
) -> dict[str, Any]:
    """The test, the log and a checkpoint; the epoch's record."""
    with reading():
        record = retraining.finish_epoch(check_signal)
    measured = {**bar.speed.measured(), "peak_memory": peak_memory(str(retraining.device))}
    run.log({**record, MEASURED: measured})
    bar.row(retraining_row(record, bar))
    run.save(retraining.state_dict(), retraining.step)
    return record


def show(run: RunFolder, retraining: Retraining, bar: Progress, figures: list[str]) -> None:
    """The picture and the page of the epochs so far."""
    from .run.plots import curves_figure
    from .run.retrain_report import retraining_page

    records = run.read_metrics()
    draw(run, bar, "curves", figures, lambda: curves_figure(records))
    drawn(bar, REPORT, lambda: write_page(run.path(REPORT), retraining_page(run, retraining, records)))


def finish(run: RunFolder, retraining: Retraining) -> Evaluated:
    """Writes result.json: the last epoch's accuracy, since the best one would be chosen on tests."""
    result = {**run.read_metrics()[-1], **retraining.sizes}
    run.write_json(RESULT, result)
    return Evaluated(run.folder, result["test_accuracy"], result)


if __name__ == "__main__":
    sys.exit(started(main))
