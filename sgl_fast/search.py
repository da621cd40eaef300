"""python -m sgl_fast.search: K learners search their architectures on real images. No torch before parsing."""

from __future__ import annotations

import argparse
import atexit
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command import check_device, device_of, draw, put_backend, refuse, resumed
from .progress import Progress
from .run_folder import CHECKPOINT, CONFIG, PREVIOUS, RunFolder
from .search_args import PROG, check_resumed, given_of, parser, settings_of, warning_of
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
        if not args.resume:
            settings_of(given, "cpu")  # what is wrong with them is said before torch is loaded
        put_backend(args.backend)
        device = device_of(args.device)
        settings = None if args.resume else settings_of(given, device)
        if settings is not None and (warning := warning_of(settings)):
            print(f"{PROG}: {warning}", file=sys.stderr)
        if settings is not None and args.print_config:
            print(json.dumps(settings, indent=2))
            return 0
        if settings is not None and args.dry_run:
            return dry_run(settings)
    except ValueError as error:
        return refuse(PROG, error)
    from . import ranks

    with ranks.joined(device) as args.device:
        return search(args, given, settings)


def search(args: argparse.Namespace, given: dict[str, Any], settings: dict[str, Any] | None) -> int:
    """A new run with these settings, or, without, the one to resume."""
    try:
        run = run_of(args, given, settings)
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
            return fit(run, stages, args.quiet, args.device)
        except FloatingPointError as error:
            said = str(error)
        except RuntimeError as error:
            from . import ranks

            if ranks.count() == 1:
                raise
            said = f"another process does not answer ({str(error).partition(chr(10))[0]})"
        print(f"{PROG}: {said}; the last good checkpoint stays in {args.out}", file=sys.stderr)
        return 1


def run_of(args: argparse.Namespace, given: dict[str, Any], settings: dict[str, Any] | None) -> RunFolder:
    """The run's folder; in a process that does not lead, a folder of its own that nobody reads, gone at the end."""
    from . import ranks

    if ranks.leads():
        if settings is not None:
            return RunFolder.create(args.out, settings)
        return resumed(args.out, lambda config: check_resumed(given, config))
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if settings is not None:
        return RunFolder.create(folder, settings)
    try:
        run = RunFolder.create(folder, json.loads((args.out / CONFIG).read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"no run to resume in {args.out}: {error.strerror}") from error
    for name in (CHECKPOINT, PREVIOUS):
        if (args.out / name).exists():
            shutil.copy(args.out / name, folder)
    return run


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

    from . import ranks
    from .backend import choose, explain
    from .kernels import configurations
    from .precision import why_not_precision
    from .stages import Stages

    if args.deterministic:
        torch.use_deterministic_algorithms(True)
    device = args.device
    backend = choose(None, device)
    if reason := why_not_precision(run.config["config"].get("precision", "float32"), backend, device):
        raise ValueError(f"--precision: {reason}")
    if backend == "triton":
        configurations.check()
    stages = Stages(run.config, open_data(run.config), device, False if args.launch else None)
    if (state := run.load()) is not None:
        stages.load_state_dict(state)
    run.truncate_metrics(stages.step)
    for note in run.notes:
        print(note, file=sys.stderr)
    ranks.check_equal("number of steps to go on from", torch.tensor([stages.step], device=device))
    if ranks.leads():
        print(f"{stages.dataset.note}; backend {explain(device)}", file=sys.stderr)
    return stages


def fit(run: RunFolder, stages: Stages, quiet: bool, device: str) -> int:
    """Searches to the end or to a signal, with a checkpoint at either and after every epoch."""
    from . import ranks

    epochs = stages.count * stages.config.total_epochs
    images = 3 * stages.settings["batch_size"]
    with (
        stop_requested() as stop,
        Progress(stages.steps, epochs, images, stages.step, quiet or not ranks.leads()) as bar,
    ):
        diary = Diary(run, bar)
        while stages.step < stages.steps:
            advance(run, stages, bar, diary)
            if signal := ranks.most(stop.signal or 0, device):
                diary.write()
                run.save(stages.state_dict())
                return 128 + signal
    if ranks.leads():
        finish(run, stages)
    return 0


class Diary:
    """Shows and logs what steps say. A record still on the device waits until the next step is under way."""

    def __init__(self, run: RunFolder, bar: Progress) -> None:
        self.run, self.bar = run, bar
        self._kept: tuple[int, int, Mapping[str, Any]] | None = None

    def add(self, step: int, epoch: int, record: Mapping[str, Any]) -> None:
        self.write()
        self._kept = step, epoch, record

    def write(self, more: Callable[[], dict[str, Any]] = dict) -> None:
        """The step added last, if it is not written yet; `more` is what else its line in the log has."""
        kept, self._kept = self._kept, None
        if kept is not None:
            step, epoch, record = kept
            self.bar.update(step, epoch, record)
            self.run.log({"step": step, "epoch": epoch, **record, **more()})

    @property
    def waits(self) -> bool:
        """Whether the step added last would be waited for."""
        return self._kept is not None and not isinstance(self._kept[2], dict)


def advance(run: RunFolder, stages: Stages, bar: Progress, diary: Diary) -> None:
    """One step; at the end of an epoch validation, genotypes, a checkpoint and pictures."""
    from . import ranks

    if stages.stage_ended:
        stages.next_stage()
        bar.write(f"stage {stages.stage + 1} of {stages.count}: {stages.search.space.ops_per_edge} ops an edge")
    epoch = stages.epoch + 1
    with bar.waiting():
        batch = stages.feed.batch(stages.step)
    record = stages.search.step(batch)
    diary.add(stages.step, epoch, record)
    if stages.step % stages.feed.steps_per_epoch == 0:
        stages.search.settle()
        diary.write(lambda: finish_epoch(run, stages, bar))
        run.save(stages.state_dict())
        if ranks.leads():
            draw_all(run, stages, bar)
    elif not diary.waits:
        diary.write()


def finish_epoch(run: RunFolder, stages: Stages, bar: Progress) -> dict[str, Any]:
    """Validation of every learner, its genotype and its skips; the best learner is the one of least loss."""
    from .genotype import count_skips
    from .record import check_finite
    from .validate import validate

    search, genotypes = stages.search, stages.genotypes()
    result = validate(search, stages.feed.validation(100))
    losses = result["validation_loss"]
    check_finite(f"step {stages.step}: validation_loss", losses)
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
