"""python -m sgl_fast.evaluate: trains the network that a genotype denotes, or counts it. No torch before parsing."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .command import check_device, device_of, draw, refuse
from .evaluate_args import PROG, genotype_of, open_run, parser, recipe_of
from .genotype import Genotype
from .progress import Progress
from .recipe import Recipe
from .run_folder import CONFIG, RunFolder
from .signals import stop_requested

if TYPE_CHECKING:
    from .retrain import Retraining

GENOTYPE, RESULT, CURVES = "genotype.json", "result.json", "curves.png"
LOOK_EVERY = 20  # steps between two readings of the running numbers, which wait for the device


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 a number is not finite, 2 bad arguments or data, 130 and 143 stopped by a signal."""
    args = parser().parse_args(argv)
    try:
        check_device(args.device)
        if args.count:
            return print_counts(args)
        run = open_run(args)
    except ValueError as error:
        return refuse(PROG, error)
    with run:
        try:
            retraining = prepare(run, args.device)
        except ValueError as error:
            if not args.resume:
                run.path(CONFIG).unlink()  # nothing was begun: the folder stays free
            return refuse(PROG, error)
        try:
            return fit(run, retraining, args.quiet)
        except FloatingPointError as error:
            print(f"{PROG}: {error}; the last good checkpoint stays in {args.out}", file=sys.stderr)
            return 1


def print_counts(args: argparse.Namespace) -> int:
    """Parameters, and multiply-adds by each rule, of the network that the arguments describe."""
    genotype, recipe = genotype_of(args), recipe_of(args, "paper")
    import torch

    from .counting import RULES, count_macs, count_parameters
    from .network import Network

    classes = 10 if args.classes is None else args.classes
    size = args.image_size or (224 if recipe.imagenet else 32)
    with torch.device("meta"):
        network = Network(genotype, recipe.channels, recipe.layers, classes, imagenet=recipe.imagenet)
    print(f"{recipe.channels} channels, {recipe.layers} layers, {classes} classes, {size} x {size} pixels")
    print(f"{'parameters':<36}{count_parameters(network):>15,}")
    print(f"{'parameters with the auxiliary head':<36}{count_parameters(network, auxiliary=True):>15,}")
    for rule in RULES:
        print(f"{f'multiply-adds, {rule}':<36}{count_macs(network, size, rule):>15,}")
    return 0


def prepare(run: RunFolder, device: str) -> Retraining:
    """Data and network of a run, at its checkpoint if there is one."""
    from .data import open_dataset
    from .retrain import Retraining

    config = run.config
    recipe = Recipe(**{field.name: config[field.name] for field in fields(Recipe)})
    dataset = open_dataset(config["data"], config["root"], "train", config["image_size"], recipe.seed)
    retraining = Retraining(Genotype(**config["genotype"]), dataset, recipe, device_of(device))
    print(f"{dataset.name}: {dataset.source}\n{retraining.note}", file=sys.stderr)
    if (state := run.load()) is not None:
        retraining.load_state_dict(state)
    for note in run.notes:
        print(note, file=sys.stderr)
    return retraining


def fit(run: RunFolder, retraining: Retraining, quiet: bool) -> int:
    """Trains to the end or to a signal, with a checkpoint at either and after every epoch."""
    from .plots import plot_curves

    run.write_json(GENOTYPE, run.config["genotype"])
    run.truncate_metrics(retraining.step)
    steps, epochs = retraining.steps, retraining.recipe.epochs
    shown: dict[str, Any] = {}
    bar = Progress(steps, epochs, retraining.recipe.batch_size, retraining.step, quiet)
    with stop_requested() as stop, bar:
        while retraining.step < steps:
            epoch = retraining.epoch + 1
            with bar.waiting():
                batch = retraining.batch()
            retraining.train_step(batch)
            if retraining.step % LOOK_EVERY == 0:
                shown |= retraining.running()
            if retraining.epoch_ended:
                shown = retraining.finish_epoch()
                run.log(shown)
                run.save(retraining.state_dict())
                draw(run, bar, CURVES, lambda path: plot_curves(path, run.read_metrics()))
            bar.update(retraining.step, epoch, shown)
            if stop.signal is not None:
                run.save(retraining.state_dict())
                return stop.exit_code
    finish(run, retraining)
    return 0


def finish(run: RunFolder, retraining: Retraining) -> None:
    """result.json and the line that says it: the last epoch's accuracy, since the best one would be chosen on tests."""
    result = {**run.read_metrics()[-1], **retraining.sizes}
    run.write_json(RESULT, result)
    accuracy, epochs = result["test_accuracy"], result["epoch"]
    print(f"test accuracy {100 * accuracy:.2f}% after the last of {epochs} epochs; {run.path(RESULT)}")


if __name__ == "__main__":
    sys.exit(main())
