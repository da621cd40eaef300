"""python -m sgl_fast.evaluate: trains the network that a genotype denotes, or counts it. No torch before parsing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .genotype.genotype import Genotype
from .genotype.published import genotypes
from .genotype.sources import source_of
from .run.command import (
    Stopped,
    Unreadable,
    check_device,
    device_of,
    formats_of,
    reading,
    refuse,
    say_end,
    say_last,
    started,
)
from .run.epoch_table import retraining_row
from .run.evaluate_args import OPTIONS, PROG, flat, genotype_of, new_config, parser, recipe_of, stored_config, with_run
from .run.identity import RUN, computes, identity
from .run.pictures import draw, drawn
from .run.place import settle
from .run.progress import Progress
from .run.recipe import Recipe
from .run.report import REPORT, write_page
from .run.run_folder import METRICS, RunFolder
from .run.signals import stop_requested
from .run.sinks import sinks_of
from .run.speed import MEASURED, measured_before, peak_memory

if TYPE_CHECKING:
    from .run.retrain import Retraining

GENOTYPE, RESULT = "genotype.json", "result.json"
RESULTS = {"test_accuracy", "epoch"}  # of a record, for result.json
LOOK_EVERY = 20  # steps between two readings of the running numbers, which wait for the device


def main(argv: list[str] | None = None) -> int:
    """Exit code: as that of `search.main`."""
    args = parser().parse_args(argv)
    try:
        given = OPTIONS.given(args, flat)
        check_device(args.device)
        args.figures, args.log = formats_of(args.figures), sinks_of(args.log)
        if args.count:
            return print_counts(with_run(given)[0], args.classes)
        settle(args, ("evaluate", given.get("seed", 0)))
        said, notes = (given, []) if args.resume else with_run(given)
        config = None if args.resume else new_config(said)
        if config and args.print_config:
            print(OPTIONS.toml(flat(config), f"for {PROG} --config FILE"))
            return 0
        run = RunFolder.create(args.out) if config else RunFolder.open(args.out)
    except (OSError, ValueError) as error:
        return refuse(PROG, error)
    with run:
        run.notes += notes
        try:
            retraining = begun(run, args, config) if config else resumed(run, args, given)
            run.log_to(args.log)
        except (OSError, ValueError) as error:
            return refuse(PROG, error)
        try:
            return fit(run, retraining, args.quiet, args.figures)
        except (FloatingPointError, OSError) as error:
            return say_last(PROG, error, run)


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


def begun(run: RunFolder, args: argparse.Namespace, config: dict[str, Any]) -> Retraining:
    """A new run; its config.json is written once everything is ready for the first step."""
    retraining, run.identity = prepare(args, config, config)
    run.begin({**config, RUN: run.identity})
    say(run, retraining)
    return retraining


def resumed(run: RunFolder, args: argparse.Namespace, given: dict[str, Any]) -> Retraining:
    """The run at its checkpoint, if there is one. A ValueError leaves all files as they were."""
    config, notes = stored_config(given, args.out, run.config)
    retraining, identity = prepare(args, config, run.config)

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
    args: argparse.Namespace, config: dict[str, Any], stored: dict[str, Any]
) -> tuple[Retraining, dict[str, Any]]:
    """Data and network before the first step, and the identity of a run of them. stored: what config.json holds"""
    from .data import open_dataset
    from .run.retrain import Retraining

    recipe = Recipe(**{field.name: config[field.name] for field in fields(Recipe)})
    dataset = open_dataset(config["data"], config["root"], "train", config["image_size"], recipe.seed)
    device = device_of(args.device)
    retraining = Retraining(Genotype(**config["genotype"]), dataset, recipe, device)
    return retraining, identity(stored, dataset, computes("torch", device))


def say(run: RunFolder, retraining: Retraining) -> None:
    """What there is to know before the first step."""
    dataset = retraining.dataset
    for line in (f"run folder {run.folder}", *run.notes, f"{dataset.name}: {dataset.source}", retraining.note):
        print(line, file=sys.stderr)


def fit(run: RunFolder, retraining: Retraining, quiet: bool, figures: list[str]) -> int:
    """Trains to the end, to a signal or to a file that cannot be read, with a checkpoint there and after every epoch.

    figures   formats of the picture
    Returns the exit code.
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
        except (Stopped, Unreadable) as end:
            run.save(retraining.state_dict(), retraining.step)
            return say_end(PROG, end, retraining.step, run)
        show(run, retraining, bar, figures)
    finish(run, retraining)
    return 0


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


def finish(run: RunFolder, retraining: Retraining) -> None:
    """result.json and the line that says it: the last epoch's accuracy, since the best one would be chosen on tests."""
    result = {**run.read_metrics()[-1], **retraining.sizes}
    run.write_json(RESULT, result)
    accuracy, epochs = result["test_accuracy"], result["epoch"]
    print(f"test accuracy {100 * accuracy:.2f}% after the last of {epochs} epochs; {run.path(RESULT)}")


if __name__ == "__main__":
    sys.exit(started(main))
