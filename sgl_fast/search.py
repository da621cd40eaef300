"""python -m sgl_fast.search: K learners search their architectures on real images. No torch before parsing."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from .run.command import check_device, check_found, device_of, formats_of, pixels_lack, put_backend, refuse, started
from .run.identity import RUN, computes, identity
from .run.place import settle
from .run.run_folder import RunFolder
from .run.search_args import OPTIONS, PROG, given_of, parser
from .run.search_resume import check_metrics, check_resumed, lengthened, placed, stored_settings
from .run.search_settings import flat, settings_of, warning_of
from .run.sinks import sinks_of
from .sgl.methods import METHODS

if TYPE_CHECKING:
    from .data import Dataset
    from .run.stages import Stages


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done; 1 a number is not finite, the last good checkpoint stays; 2 bad arguments or data, nothing is
    changed; 3 a file that cannot be read or written in mid-run, --resume goes on once it can; 128 + n a signal n.
    """
    args = parser().parse_args(argv)
    try:
        given = given_of(args)
        check_device(args.device)
        settle(args, (given.get("space", "pc_darts"), given.get("seed", 0)))
        args.figures, args.log = formats_of(args.figures), sinks_of(args.log)
        if not args.resume:
            early = settings_of(given, "cpu")  # what is wrong is said before torch is loaded
            if not args.print_config:
                check_found(given, early["data"], early["root"], early["unlabeled"])
        put_backend(args.backend)
        device = device_of(args.device)
        settings = None if args.resume else settings_of(given, device)
        if settings is not None and (warning := warning_of(settings)):
            print(f"{PROG}: {warning}", file=sys.stderr)
        if settings is not None and args.print_config:
            print(OPTIONS.toml(flat(settings), f"for {PROG} --config FILE"))
            return 0
        if settings is not None and args.dry_run:
            return dry_run(settings)
    except (OSError, ValueError) as error:
        return refuse(PROG, error)
    from .sgl import processes

    with processes.joined(device) as args.device:
        return search(args, given, settings)


def search(args: argparse.Namespace, given: dict[str, Any], settings: dict[str, Any] | None) -> int:
    """A new run with these settings, or, without, the one to resume."""
    from .run.process_run import run_of, told
    from .run.search_loop import fit

    try:
        run = run_of(args)
    except ValueError as error:
        return refuse(PROG, error)
    with run:
        try:
            stages = begun(run, args, settings) if settings is not None else resumed(run, args, given)
            run.log_to(args.log)
        except (OSError, ValueError) as error:
            return refuse(PROG, error)
        return told(PROG, run, lambda: fit(run, stages, args.quiet, args.figures))


def open_data(settings: dict[str, Any]) -> Dataset:
    from .data import open_dataset
    from .data.whole import hold_out

    s = settings
    dataset = open_dataset(s["data"], s["root"], s["unlabeled"], s["image_size"], s["config"]["seed"])
    return hold_out(dataset, s["held_out"]) if s["held_out"] else dataset


def dry_run(settings: dict[str, Any]) -> int:
    """Everything up to the first step."""
    from .run.stages import Stages

    stages = Stages(settings, open_data(settings), "cpu")
    print(json.dumps(stages.ran, indent=2))
    print(f"{stages.steps} steps of {stages.search.nets[0].num_weights:,} weights a learner", file=sys.stderr)
    return 0


def begun(run: RunFolder, args: argparse.Namespace, settings: dict[str, Any]) -> Stages:
    """A new run; its config.json is written once everything is ready for the first step."""
    stages, backend = prepare(args, settings)
    run.identity = identity(stages.ran, stages.dataset, backend)
    run.begin({**stages.ran, RUN: run.identity})
    say(run, stages, args)
    return stages


def resumed(run: RunFolder, args: argparse.Namespace, given: dict[str, Any]) -> Stages:
    """The run at its checkpoint, if there is one. A ValueError leaves all files as they were."""
    from .run.process_run import share_state
    from .sgl import ranks

    settings, notes = stored_settings(run.config)
    run.notes += notes
    check_resumed(given, settings)
    longer = lengthened(given, settings)
    stages, backend = prepare(args, placed(given, longer))

    def take(state: dict[str, Any]) -> int:
        stages.load_state_dict(state)
        return stages.step

    run.check_identity(identity(run.config, stages.dataset, backend))
    run.load(take)
    share_state(stages)
    stages.check_longer(settings["config"]["epochs"])
    if ranks.is_main():
        run.notes += check_metrics(run.read_metrics(), stages.step, stages.ended)
    run.truncate_metrics(stages.step)
    if longer != settings:
        config = {**run.config, "config": {**run.config["config"], "epochs": stages.config.epochs}}
        run.grow(config, identity(config, stages.dataset, backend))
    say(run, stages, args)
    return stages


def prepare(args: argparse.Namespace, settings: dict[str, Any]) -> tuple[Stages, str]:
    """The search before its first step, and what computes it."""
    import torch

    from .backends.choice import asked_for, choose
    from .backends.precision import why_not_precision
    from .kernels import configurations
    from .run.stages import Stages
    from .sgl import ranks

    if args.deterministic:
        torch.use_deterministic_algorithms(True)
    backend, method = choose(None, args.device), settings["config"]["method"]
    if METHODS[method].reference_only and settings["config"]["order"] == 2 and asked_for() not in (None, "reference"):
        raise ValueError(f"--method: {method} needs --backend reference; got {backend}")
    if reason := why_not_precision(settings["config"]["precision"], backend, args.device):
        raise ValueError(f"--precision: {reason}")
    if backend == "triton":
        configurations.check()
    asked = args.data_parallel, args.device
    if (idle := ranks.share(settings["config"]["learners"], settings["batch_size"], *asked)) and ranks.is_main():
        print(f"{PROG}: {idle}", file=sys.stderr)
    place = ranks.grid()
    graph = False if args.launch else None
    stages = Stages(settings, open_data(settings), args.device, graph, (place.part, place.parts))
    try:
        return stages, computes(backend, args.device)
    except RuntimeError as error:  # SGL_FAST_ISA
        raise ValueError(str(error)) from None


def say(run: RunFolder, stages: Stages, args: argparse.Namespace) -> None:
    """What there is to know before the first step."""
    from .backends.choice import explain
    from .sgl import ranks

    if not ranks.is_main():
        return
    for note in (f"run folder {run.folder}", *run.notes):
        print(note, file=sys.stderr)
    print(f"{stages.dataset.note}; backend {explain(args.device)}", file=sys.stderr)
    config, space = stages.config, stages.search.space
    for line in pixels_lack(f"--space {space.name}", space.imagenet, stages.dataset.image_size):
        print(line, file=sys.stderr)
    if config.arch_start >= config.epochs:
        text = f"the architecture will not move: it would from epoch {config.arch_start} on, of {config.epochs}"
        print(f"{text} (--arch-start, --epochs)", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(started(main))
