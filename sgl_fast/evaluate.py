"""python -m sgl_fast.evaluate: trains the network that a genotype denotes, or counts it. No torch before parsing."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .errors import RunStopped
from .genotype.genotype import Genotype
from .genotype.published import genotypes
from .genotype.sources import source_of
from .run.command import check_device, code_of, device_of, formats_of, pixels_lack, started
from .run.evaluate_args import OPTIONS, PROG, flat, genotype_of, new_config, parser, recipe_of, stored_config, with_run
from .run.identity import RUN, computes, identity
from .run.place import is_first, settle
from .run.python_call import Images, as_it_was, as_typed, own_data
from .run.recipe import Recipe
from .run.run_folder import METRICS, RunFolder
from .run.sinks import sinks_of

if TYPE_CHECKING:
    from .run.retrain import Retraining
    from .run.retrain_loop import Evaluated

RESULTS = {"test_accuracy", "epoch"}  # of a record, for result.json


def main(argv: list[str] | None = None) -> int:
    """Exit code: as that of `search.main`."""
    args = parser().parse_args(argv)
    try:
        given = OPTIONS.given(args, flat)
        check_device(args.device)
        if args.count:
            return print_counts(with_run(given)[0], args.classes)
        if args.test_only:
            return print_test(args, given)
        config, notes = settled(args, given)
        if config and args.print_config:
            print(OPTIONS.toml(flat(config), f"for {PROG} --config FILE"))
            return 0
        found = evaluate(args, given, config, notes)
    except (OSError, ValueError, RunStopped) as error:
        return code_of(PROG, error)
    if is_first():
        print(found)
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
    device, figures and sinks.

    own   the images came from Python
    """
    args.figures, args.log = formats_of(args.figures), sinks_of(args.log)
    settle(args, ("evaluate", given.get("seed", 0)))
    said, notes = (given, []) if args.resume else with_run(given)
    config = None if args.resume else new_config(said, "tiny", own, args.download)  # before torch is loaded
    if args.resume and is_first():
        stored_config(given, args.out, RunFolder(args.out).read_config())
    args.device = device_of(args.device)
    if config and args.device != "cpu":
        config = new_config(said, "paper", own, args.download)
    return config, notes


def evaluate(
    args: argparse.Namespace,
    given: dict[str, Any],
    config: dict[str, Any] | None,
    notes: list[str],
    images: Images | None = None,
) -> Evaluated:
    """A new run of this config.json, or, without, the one to resume, to its end.

    images   those that came from Python, in place of those that the config names
    """
    from .run.process_run import mid_run, run_of
    from .run.retrain_loop import finish, fit
    from .sgl import processes

    with processes.joined(args.device) as args.device, run_of(args) as run:
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
    retraining, _ = prepare(args, config, config, None)
    retraining.network.load_state_dict(network.state_dict())
    found = retraining.test()
    print(f"{retraining.dataset.note}\n{run.path(WEIGHTS)}: ", end="")
    print(", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in found.items()))
    return 0


def begun(run: RunFolder, args: argparse.Namespace, config: dict[str, Any], images: Images | None) -> Retraining:
    """A new run; its config.json is written once everything is ready for the first step."""
    retraining, run.identity = prepare(args, config, config, images)
    run.begin({**config, RUN: run.identity})
    say(run, retraining)
    return retraining


def resumed(run: RunFolder, args: argparse.Namespace, given: dict[str, Any], images: Images | None) -> Retraining:
    """The run at its checkpoint, if there is one. A ValueError leaves all files as they were."""
    from .run.process_run import share_state
    from .sgl import ranks

    config, notes = stored_config(given, args.out, run.config)
    retraining, identity = prepare(args, config, run.config, images)

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
    args: argparse.Namespace, config: dict[str, Any], stored: dict[str, Any], images: Images | None
) -> tuple[Retraining, dict[str, Any]]:
    """Data and network before the first step, and the identity of a run of them. stored: what config.json holds"""
    from .data import open_dataset
    from .run.retrain import Retraining

    recipe = Recipe(**{field.name: config[field.name] for field in fields(Recipe)})
    if images is None:
        where = config["data"], config["root"], "train", config["image_size"]
        dataset = open_dataset(*where, recipe.splits_by, args.download, whole=True)
    else:
        dataset = images(recipe.splits_by, config["image_size"], None)
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
