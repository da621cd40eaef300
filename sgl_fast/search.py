"""python -m sgl_fast.search: K learners search their architectures on real images. No torch before parsing."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from .command import check_device, device_of, draw, put_backend, refuse, resumed
from .progress import Progress
from .run_folder import CONFIG, RunFolder
from .search_args import PROG, check_resumed, given_of, parser, settings_of
from .signals import stop_requested
from .spaces import KINDS

if TYPE_CHECKING:
    from .genotype import Genotype
    from .stages import Stages


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 a loss is not finite, 2 bad arguments or data, 130 and 143 stopped by SIGINT and SIGTERM."""
    args = parser().parse_args(argv)
    try:
        check_device(args.device)
        given = given_of(args)
        if args.resume:
            put_backend(args.backend)
            run = resumed(args.out, lambda config: check_resumed(given, config))
        else:
            settings_of(given, "cpu")  # what is wrong with them is said before torch is loaded
            put_backend(args.backend)
            device = device_of(args.device)
            settings = settings_of(given, device)
            if args.print_config:
                print(json.dumps(settings, indent=2))
                return 0
            if args.dry_run:
                return dry_run(settings)
            run = RunFolder.create(args.out, settings)
    except ValueError as error:
        return refuse(PROG, error)
    with run:
        try:
            stages = prepare(run, args)
        except ValueError as error:
            if not args.resume:
                run.path(CONFIG).unlink()  # nothing was begun: the folder stays free
            return refuse(PROG, error)
        try:
            return fit(run, stages, args.quiet)
        except FloatingPointError as error:
            print(f"{PROG}: {error}; the last good checkpoint stays in {run.folder}", file=sys.stderr)
            return 1


def open_data(settings: dict[str, Any]) -> Any:
    from .data import open_dataset

    s = settings
    return open_dataset(s["data"], s["root"], s["unlabeled"], s["image_size"], s["config"]["seed"])


def dry_run(settings: dict[str, Any]) -> int:
    """Everything up to the first step."""
    from .stages import Stages

    stages = Stages(settings, open_data(settings), "cpu")
    print(json.dumps(settings, indent=2))
    print(f"{stages.steps} steps of {stages.search.nets[0].num_weights:,} weights a learner", file=sys.stderr)
    return 0


def prepare(run: RunFolder, args: argparse.Namespace) -> Stages:
    """The run at its checkpoint, if there is one."""
    import torch

    from .backend import choose, explain
    from .stages import Stages

    if args.deterministic:
        torch.use_deterministic_algorithms(True)
    device = device_of(args.device)
    backend = choose(None, device)
    if run.config["config"].get("precision") == "float16" and backend not in ("cuda", "triton"):
        raise ValueError(f"--precision: float16 needs backend cuda or triton; this is {backend} on {device}")
    stages = Stages(run.config, open_data(run.config), device)
    if (state := run.load()) is not None:
        stages.load_state_dict(state)
    run.truncate_metrics(stages.step)
    print(f"{stages.dataset.note}; backend {explain(device)}", file=sys.stderr)
    return stages


def fit(run: RunFolder, stages: Stages, quiet: bool) -> int:
    """Searches to the end or to a signal, with a checkpoint at either and after every epoch."""
    epochs = stages.count * stages.config.total_epochs
    images = 3 * stages.settings["batch_size"]
    with stop_requested() as stop, Progress(stages.steps, epochs, images, stages.step, quiet) as bar:
        while stages.step < stages.steps:
            advance(run, stages, bar)
            if stop.signal is not None:
                run.save(stages.state_dict())
                return stop.exit_code
    finish(run, stages)
    return 0


def advance(run: RunFolder, stages: Stages, bar: Progress) -> None:
    """One step; at the end of an epoch validation, genotypes, a checkpoint and pictures."""
    if stages.stage_ended:
        stages.next_stage()
        bar.write(f"stage {stages.stage + 1} of {stages.count}: {stages.search.space.ops_per_edge} ops an edge")
    epoch = stages.epoch + 1
    with bar.waiting():
        batch = stages.feed.batch(stages.step)
    record = stages.search.step(batch)
    record = {"step": stages.step, "epoch": epoch, **record}
    bar.update(stages.step, epoch, record)
    ended = stages.step % stages.feed.steps_per_epoch == 0
    if ended:
        record |= finish_epoch(run, stages, bar)
    run.log(record)
    if ended:
        run.save(stages.state_dict())
        draw_all(run, stages, bar)


def finish_epoch(run: RunFolder, stages: Stages, bar: Progress) -> dict[str, Any]:
    """Validation of every learner, its genotype and its skips; the best learner is the one of least loss."""
    from .genotype import count_skips
    from .validate import validate

    search, genotypes = stages.search, stages.genotypes()
    result = validate(search, stages.feed.validation(100))
    losses = result["validation_loss"]
    best = losses.index(min(losses))
    skips = [count_skips(g) for g in genotypes]
    run.write_json("genotype.json", [as_json(g) for g in genotypes])
    run.write_json("best.json", as_json(genotypes[best]))
    accuracies = " ".join(f"{a:.1%}" for a in result["validation_accuracy"])
    bar.write(f"epoch {stages.epoch}: validation accuracy {accuracies}, best learner {best}")
    for k, count in enumerate(skips):
        if count["normal"] > search.space.nodes:
            bar.write(
                f"learner {k} collapses to skips: {count['normal']} of {2 * search.space.nodes} in its normal cell"
            )
    shares = {f"alphas_{kind}": getattr(search.arch, f"alphas_{kind}").softmax(-1) for kind in KINDS}
    return {**result, "best_learner": best, "skips": skips, "stage": stages.stage, **shares}


def as_json(genotype: Genotype) -> Any:
    return json.loads(genotype.to_json())


def draw_all(run: RunFolder, stages: Stages, bar: Progress) -> None:
    """The three pictures; that of the alphas shows the current stage."""
    from .plots import plot_alphas, plot_cells, plot_curves

    records, genotypes = run.read_metrics(), stages.genotypes()
    history = [r for r in records if r.get("stage") == stages.stage]
    ops = {kind: stages.search.space.ops(kind) for kind in KINDS}
    titles = [f"learner {k}" for k in range(len(genotypes))]
    draw(run, bar, "alphas.png", lambda path: plot_alphas(path, history, ops))
    draw(run, bar, "cells.png", lambda path: plot_cells(path, genotypes, titles))
    draw(run, bar, "curves.png", lambda path: plot_curves(path, records))


def finish(run: RunFolder, stages: Stages) -> None:
    """What was found: the best learner's genotype, the size of its network at the paper's scale, how to evaluate it."""
    import torch

    from .counting import count_macs, count_parameters
    from .network import Network

    last = run.read_metrics()[-1]
    best, space = last["best_learner"], stages.search.space
    genotype = stages.genotypes()[best]
    channels, layers, side = (48, 14, 224) if space.imagenet else (36, 20, 32)
    with torch.device("meta"):
        network = Network(genotype, channels, layers, space.num_classes, imagenet=space.imagenet)
    parameters, macs = count_parameters(network), count_macs(network, side, "conv_linear")
    print(f"learner {best} has the least validation loss, {last['validation_loss'][best]:.3f}", end="; ")
    print(f"accuracy {last['validation_accuracy'][best]:.1%}\n{genotype.to_json()}")
    print(f"{channels} channels, {layers} layers: {parameters:,} parameters, ", end="")
    print(f"{macs:,} multiply-adds (convolutions and classifier)")
    print(f"evaluate it: python -m sgl_fast.evaluate --genotype {run.path('best.json')}")


if __name__ == "__main__":
    sys.exit(main())
