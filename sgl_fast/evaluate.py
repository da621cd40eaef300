"""python -m sgl_fast.evaluate: trains the network that a genotype denotes, or counts it. No torch before parsing."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .genotype.genotype import Genotype
from .genotype.published import genotypes
from .genotype.sources import source_of
from .run.command import check_device, device_of, formats_of, pixels_lack, refuse, started
from .run.evaluate_args import OPTIONS, PROG, flat, genotype_of, new_config, parser, recipe_of, stored_config, with_run
from .run.identity import RUN, computes, identity
from .run.place import settle
from .run.recipe import Recipe
from .run.run_folder import METRICS, RunFolder
from .run.sinks import sinks_of

if TYPE_CHECKING:
    from .run.retrain import Retraining

RESULTS = {"test_accuracy", "epoch"}  # of a record, for result.json


def main(argv: list[str] | None = None) -> int:
    """Exit code: as that of `search.main`."""
    args = parser().parse_args(argv)
    try:
        given = OPTIONS.given(args, flat)
        check_device(args.device)
        args.figures, args.log = formats_of(args.figures), sinks_of(args.log)
        if args.count:
            return print_counts(with_run(given)[0], args.classes)
        if args.test_only:
            return print_test(args, given)
        settle(args, ("evaluate", given.get("seed", 0)))
        said, notes = (given, []) if args.resume else with_run(given)
        config = None if args.resume else new_config(said, "tiny")  # what is wrong is said before torch is loaded
        args.device = device_of(args.device)
        if config and args.device != "cpu":
            config = new_config(said, "paper")
        if config and args.print_config:
            print(OPTIONS.toml(flat(config), f"for {PROG} --config FILE"))
            return 0
    except (OSError, ValueError) as error:
        return refuse(PROG, error)
    from .sgl import processes

    with processes.joined(args.device) as args.device:
        return evaluate(args, given, config, notes)


def evaluate(args: argparse.Namespace, given: dict[str, Any], config: dict[str, Any] | None, notes: list[str]) -> int:
    """A new run of this config.json, or, without, the one to resume."""
    from .run.process_run import run_of, told
    from .run.retrain_loop import fit

    try:
        run = run_of(args)
    except (OSError, ValueError) as error:
        return refuse(PROG, error)
    with run:
        run.notes += notes
        try:
            retraining = begun(run, args, config) if config else resumed(run, args, given)
            run.log_to(args.log)
        except (OSError, ValueError) as error:
            return refuse(PROG, error)
        return told(PROG, run, lambda: fit(run, retraining, args.quiet, args.figures))


def print_counts(given: dict[str, Any], classes: int) -> int:
    """Parameters, and multiply-adds by each rule, of the network that the options describe; what a paper prints."""
    genotype, recipe = genotype_of(given), recipe_of(given, "paper")
    import torch

    from .nets.counting import RULES, count_macs, count_parameters
    from .run.retrain import network_of

    size = given.get("image_size") or (224 if recipe.imagenet else 32)
    with torch.device("meta"):
        network = network_of(genotype, recipe, classes)
    print(f"{recipe.channels} channels, {recipe.layers} layers, {classes} classes, {size} x {size} pixels")
    print(f"{'parameters':<36}{count_parameters(network):>15,}")
    print(f"{'parameters with the auxiliary head':<36}{count_parameters(network, auxiliary=True):>15,}")
    for rule in RULES:
        print(f"{f'multiply-adds, {rule}':<36}{count_macs(network, size, rule):>15,}")
    if given["genotype"] in genotypes:
        print("\n".join(["", *source_of(given["genotype"]).lines()]))
    return 0


def print_test(args: argparse.Namespace, given: dict[str, Any]) -> int:
    """The test of a trained network, on its run's data unless others are said."""
    from .run.weights import WEIGHTS, load_network

    network = load_network(args.test_only)
    run = RunFolder(args.test_only)
    config, _ = stored_config({n: v for n, v in given.items() if n in ("data", "root")}, run.folder, run.read_config())
    args.device = device_of(args.device)
    retraining, _ = prepare(args, config, config)
    retraining.network.load_state_dict(network.state_dict())
    found = retraining.test()
    print(f"{retraining.dataset.note}\n{run.path(WEIGHTS)}: ", end="")
    print(", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in found.items()))
    return 0


def begun(run: RunFolder, args: argparse.Namespace, config: dict[str, Any]) -> Retraining:
    """A new run; its config.json is written once everything is ready for the first step."""
    retraining, run.identity = prepare(args, config, config)
    run.begin({**config, RUN: run.identity})
    say(run, retraining)
    return retraining


def resumed(run: RunFolder, args: argparse.Namespace, given: dict[str, Any]) -> Retraining:
    """The run at its checkpoint, if there is one. A ValueError leaves all files as they were."""
    from .run.process_run import share_state
    from .sgl import ranks

    config, notes = stored_config(given, args.out, run.config)
    retraining, identity = prepare(args, config, run.config)

    def take(state: dict[str, Any]) -> int:
        retraining.load_state_dict(state)
        return retraining.step

    run.notes += notes
    run.check_identity(identity)
    run.load(take)
    share_state(retraining)
    if ranks.is_main() and retraining.done and not any(set(record) >= RESULTS for record in run.read_metrics()[-1:]):
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
    dataset = open_dataset(config["data"], config["root"], "train", config["image_size"], recipe.seed, whole=True)
    retraining = Retraining(Genotype(**config["genotype"]), dataset, recipe, args.device)
    return retraining, identity(stored, dataset, computes("torch", args.device))


def say(run: RunFolder, retraining: Retraining) -> None:
    """What there is to know before the first step."""
    from .sgl import ranks

    dataset = retraining.dataset
    if not ranks.is_main():
        return
    lacks = pixels_lack("--imagenet", retraining.recipe.imagenet, dataset.image_size)
    for line in (f"run folder {run.folder}", *run.notes, f"{dataset.name}: {dataset.source}", retraining.note, *lacks):
        print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(started(main))
