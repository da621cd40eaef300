"""python -m sgl_fast.search: K learners search their architectures on real images. No torch before parsing."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from .errors import RunStopped
from .run.command import (
    check_device,
    check_found,
    code_of,
    device_of,
    formats_of,
    pixels_lack,
    put_backend,
    started,
)
from .run.identity import RUN, computes, identity
from .run.place import is_first, settle
from .run.python_call import Images, as_it_was, as_typed, own_data
from .run.run_folder import RunFolder
from .run.search_args import OPTIONS, PROG, given_of, parser
from .run.search_resume import check_metrics, check_resumed, lengthened, placed, stored_settings
from .run.search_settings import flat, settings_of, warning_of
from .run.sinks import sinks_of
from .sgl.methods import METHODS

if TYPE_CHECKING:
    from .data import Dataset
    from .run.outcome import Outcome
    from .run.stages import Stages


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done; 1 a number is not finite, the last good checkpoint stays; 2 bad arguments or data, nothing is
    changed; 3 a file that cannot be read or written in mid-run, --resume goes on once it can; 128 + n a signal n.
    """
    args = parser().parse_args(argv)
    try:
        given = given_of(args)
        settings = settled(args, given)
        if settings is not None and args.print_config:
            print(OPTIONS.toml(flat(settings), f"for {PROG} --config FILE"))
            return 0
        if settings is not None and args.dry_run:
            return dry_run(settings, args.download)
        found = search(args, given, settings)
    except (OSError, ValueError, RunStopped) as error:
        return code_of(PROG, error)
    if is_first():
        print(found)
    return 0


def run_search(
    dataset: Any = None,
    space: str | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    val: Any = None,
    test: Any = None,
    unlabeled: Any = None,
    resume: bool | str = False,
    **settings: Any,
) -> Outcome:
    """A search as `python -m sgl_fast.search` runs it, into the same run folder: metrics, genotypes, pictures,
    report.html, checkpoint.

    dataset    images and labels: a map-style torch Dataset of (image, label), as torchvision's are (`data.from_torch`
               says which images it takes); a `data.Dataset`; or a name as of --data. None: what `data` says, else auto
    space      name of the search space; None: pc_darts, or the run's
    out        run folder; None: runs/DATE-SPACE-SEED
    val, test  beside a torch Dataset, others: both: used as they are; test alone: `dataset` is split in halves;
               neither: in 40% / 40% / 20%
    unlabeled  a torch Dataset, its labels ignored; a folder of images; "train" or, of an own dataset, None: the
               training images
    resume     True: go on with the run in `out`, with the same dataset; "auto": go on, or begin it
    settings   any option of the command by its name: learners, epochs, lr, device, quiet, ... ; config: a TOML file

    Returns what was found; as text it is what the command prints at its end. A ValueError of one line says which
    setting or image does not fit, and nothing is changed. A run that ends early is an `errors.RunStopped`, a Ctrl-C,
    after the step and a checkpoint, a KeyboardInterrupt; resume=True goes on.

    >>> sizes = dict(channels=4, layers=1, nodes=1, batch_size=4, limit=8, epochs=1)
    >>> found = run_search("embedded", "darts", file.with_name("run"), quiet=True, **sizes)
    >>> len(found.genotypes), (found.folder / "report.html").exists()
    (2, True)
    """
    said = {**settings, "space": space, "out": out}
    args, given = as_typed(OPTIONS, flat, said, resume, "run_search")
    images = own_data(dataset, given, {"val": val, "test": test, "unlabeled": unlabeled}, "run_search")
    with as_it_was():
        return search(args, given, settled(args, given, images is not None), images)


def settled(args: argparse.Namespace, given: dict[str, Any], own: bool = False) -> dict[str, Any] | None:
    """The settings of a new run; None: of the one to resume. args gets folder, device, figures and sinks.

    own   the images came from Python
    """
    check_device(args.device)
    settle(args, (given.get("space", "pc_darts"), given.get("seed", 0)))
    args.figures, args.log = formats_of(args.figures), sinks_of(args.log)
    if not args.resume:
        early = settings_of(given, "cpu")  # what is wrong is said before torch is loaded
        if not args.print_config and not own:
            check_found(given, early["data"], early["root"], early["unlabeled"], args.download)
    elif is_first():
        check_resumed(given, stored_settings(RunFolder(args.out).read_config())[0])
    put_backend(args.backend)
    args.device = device_of(args.device)
    if args.resume:
        return None
    settings = settings_of(given, args.device)
    if warning := warning_of(settings):
        print(f"{PROG}: {warning}", file=sys.stderr)
    return settings


def search(
    args: argparse.Namespace, given: dict[str, Any], settings: dict[str, Any] | None, images: Images | None = None
) -> Outcome:
    """A new run with these settings, or, without, the one to resume, to its end.

    images   those that came from Python, in place of those that the settings name
    """
    from .run.outcome import outcome
    from .run.process_run import mid_run, run_of
    from .run.search_loop import fit
    from .sgl import processes

    with processes.joined(args.device) as args.device, run_of(args) as run:
        stages = begun(run, args, settings, images) if settings is not None else resumed(run, args, given, images)
        run.log_to(args.log)
        with mid_run(run):
            fit(run, stages, args.quiet, args.figures)
            return outcome(run, stages)


def open_data(settings: dict[str, Any], download: bool = False, images: Images | None = None) -> Dataset:
    """images: as of `search`"""
    from .data import open_dataset
    from .data.whole import hold_out

    s, seed = settings, settings["config"]["seed"]
    if images is None:
        dataset = open_dataset(s["data"], s["root"], s["unlabeled"], s["image_size"], seed, download)
    else:
        dataset = images(seed, s["image_size"], s["unlabeled"])
    return hold_out(dataset, s["held_out"]) if s["held_out"] else dataset


def dry_run(settings: dict[str, Any], download: bool) -> int:
    """Everything up to the first step."""
    from .run.stages import Stages

    stages = Stages(settings, open_data(settings, download), "cpu")
    print(json.dumps(stages.ran, indent=2))
    print(f"{stages.steps} steps of {stages.search.nets[0].num_weights:,} weights a learner", file=sys.stderr)
    return 0


def begun(run: RunFolder, args: argparse.Namespace, settings: dict[str, Any], images: Images | None) -> Stages:
    """A new run; its config.json is written once everything is ready for the first step."""
    stages, backend = prepare(args, settings, images)
    run.identity = identity(stages.ran, stages.dataset, backend)
    run.begin({**stages.ran, RUN: run.identity})
    say(run, stages, args)
    return stages


def resumed(run: RunFolder, args: argparse.Namespace, given: dict[str, Any], images: Images | None) -> Stages:
    """The run at its checkpoint, if there is one. A ValueError leaves all files as they were."""
    from .run.process_run import share_state
    from .sgl import ranks

    settings, notes = stored_settings(run.config)
    run.notes += notes
    check_resumed(given, settings)
    longer = lengthened(given, settings)
    stages, backend = prepare(args, placed(given, longer), images)

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


def prepare(args: argparse.Namespace, settings: dict[str, Any], images: Images | None) -> tuple[Stages, str]:
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
    dataset = open_data(settings, args.download, images)
    stages = Stages(settings, dataset, args.device, graph, (place.part, place.parts))
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
