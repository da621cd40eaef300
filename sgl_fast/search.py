"""python -m sgl_fast.search: K learners search their architectures on real images. No torch before parsing."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import ALGORITHMS, Config
from .data.locate import DATASETS
from .evaluate_args import Parser
from .progress import Progress
from .run_folder import RunFolder
from .signals import Stop, stop_requested
from .spaces import KINDS, SPACES, space

if TYPE_CHECKING:
    from .data import Feed
    from .sgl import Search

PROG = "python -m sgl_fast.search"
SEARCHED = tuple(name for name in SPACES if name != "p_darts")  # its three stages need another loop
SCALES: dict[str, dict[str, Any]] = {
    "tiny": {"channels": 8, "layers": 3, "nodes": 3, "batch_size": 16, "epochs": 2, "limit": 800, "arch_start": 0},
    "paper": {"channels": 16, "layers": 8, "nodes": 4, "batch_size": 50, "limit": None},
}
SIZES = ("channels", "layers", "nodes", "batch_size", "limit")
OPTIONS = ("learners", "lam", "order", "method", "r", "epochs", "lr", "arch_lr", "arch_start", "seed", "chunk")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 bad arguments or data, 130 and 143 stopped by SIGINT and SIGTERM."""
    args = parser().parse_args(argv)
    try:
        settings = settings_of(args)
        if args.print_config or args.dry_run:
            print(json.dumps(settings, indent=2))
            return 0
        run = RunFolder.open(args.out) if args.resume else RunFolder.create(args.out, settings)
    except ValueError as error:
        return refuse(error)
    with run:
        try:
            search, feed = prepare(run)
        except ValueError as error:
            if not args.resume:
                run.path("config.json").unlink()
            return refuse(error)
        try:
            return fit(run, search, feed, args.quiet)
        except FloatingPointError as error:
            print(f"{PROG}: {error}; the last good checkpoint is {run.path('checkpoint.pt')}", file=sys.stderr)
            return 1


def parser() -> Parser:
    """Options that are not given are None: the scale, the space and the algorithm decide."""
    p = Parser(prog=PROG, description="Search architectures with a small group of learners.")
    p.add_argument("--space", choices=SEARCHED, default="pc_darts", help="search space (default %(default)s)")
    p.add_argument("--algorithm", choices=list(ALGORITHMS), default="best", help="preset (default %(default)s)")
    p.add_argument("--scale", choices=list(SCALES), default="tiny", help="sizes: small and quick, or the paper's")
    p.add_argument("--data", metavar="NAME", default="auto", help=f"{', '.join(DATASETS)} (default auto)")
    p.add_argument("--root", metavar="DIR", help="where data sets lie (default $SGL_FAST_DATA, else data/)")
    p.add_argument("--unlabeled", metavar="DIR|train", help="images without labels; train: the training images")
    p.add_argument("--out", type=Path, default=Path("runs/search"), metavar="DIR", help="run folder (%(default)s)")
    p.add_argument("--resume", action="store_true", help="go on with the run in --out")
    for name in SIZES:
        p.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")
    kinds = {"str": str, "int": int, "float": float, "int | None": int}
    for field in fields(Config):
        if field.name in OPTIONS:
            p.add_argument(f"--{field.name.replace('_', '-')}", type=kinds[str(field.type)], metavar="X")
    p.add_argument("--print-config", action="store_true", help="print the settings and end")
    p.add_argument("--dry-run", action="store_true", help="check the settings, print them and end")
    p.add_argument("--quiet", action="store_true", help="no progress line")
    return p


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """What config.json holds, checked: the space, its sizes, the data and every field of `Config`."""
    given = {name: getattr(args, name) for name in (*SIZES, *OPTIONS) if getattr(args, name) is not None}
    chosen = {**SCALES[args.scale], **given}
    sizes = {name: chosen.pop(name) for name in SIZES}
    if sizes["batch_size"] < 2:
        raise ValueError(f"--batch-size: need at least 2, batch norm has no spread over one; got {sizes['batch_size']}")
    space(args.space, **{name: sizes[name] for name in ("channels", "layers", "nodes")})
    config = Config.preset(args.space, args.algorithm, **chosen)
    if config.method not in ("finite_difference", "frozen", "exact") or config.order not in (1, 2):
        raise ValueError(f"need method finite_difference, frozen or exact and order 1 or 2; got {config.method!r}")
    data = {"data": args.data, "root": args.root, "unlabeled": args.unlabeled}
    return {"space": args.space, "algorithm": args.algorithm, **sizes, **data, "config": config.as_dict()}


def prepare(run: RunFolder) -> tuple[Search, Feed]:
    """The search and its images, at the checkpoint if there is one."""
    from .data import Feed, open_dataset
    from .sgl import Search
    from .supernet import Supernet

    s = run.config
    config = Config(**s["config"])
    dataset = open_dataset(s["data"], s["root"], s["unlabeled"], seed=config.seed)
    print(dataset.note, file=sys.stderr)
    sizes = {name: s[name] for name in ("channels", "layers", "nodes")}
    net = Supernet(space(s["space"], num_classes=dataset.num_classes, **sizes))
    net.space.check_images(*dataset.image_size)
    feed = Feed(dataset, s["batch_size"], config.seed, limit=s["limit"])
    search = Search(net, replace(config, steps_per_epoch=feed.steps_per_epoch))
    if (state := run.load()) is not None:
        search.load_state_dict(state)
    run.truncate_metrics(search.steps)
    return search, feed


def fit(run: RunFolder, search: Search, feed: Feed, quiet: bool) -> int:
    """Searches to the end or to a signal, with a checkpoint at either and after every epoch."""
    epochs = search.config.total_epochs
    steps = epochs * feed.steps_per_epoch
    images = 3 * run.config["batch_size"]
    with stop_requested() as stop, Progress(steps, epochs, images, search.steps, quiet) as bar:
        while search.steps < steps:
            advance(run, search, feed, bar, stop)
            if stop.signal is not None:
                run.save(search.state_dict())
                return stop.exit_code
    finish(run, search)
    return 0


def advance(run: RunFolder, search: Search, feed: Feed, bar: Progress, stop: Stop) -> None:
    """One step; at the end of an epoch validation, genotypes, a line of metrics and a checkpoint."""
    epoch = search.epoch + 1
    with bar.waiting():
        batch = feed.batch(search.steps)
    record = {"step": search.steps + 1, "epoch": epoch, **search.step(batch)}
    bar.update(search.steps, epoch, record)
    if search.steps % feed.steps_per_epoch == 0:
        record |= finish_epoch(run, search, feed, bar)
    run.log(record)
    if search.steps % feed.steps_per_epoch == 0:
        run.save(search.state_dict())


def finish_epoch(run: RunFolder, search: Search, feed: Feed, bar: Progress) -> dict[str, Any]:
    """Validation of every learner, its genotype and its skips; the best learner is the one of least loss."""
    from .genotype import count_skips, derive
    from .validate import validate

    result = validate(search, feed.validation(100))
    genotypes = [derive(search.space, search.arch, k) for k in range(len(search.arch))]
    losses = result["validation_loss"]
    best = losses.index(min(losses))
    skips = [count_skips(g) for g in genotypes]
    run.write_json("genotype.json", [json.loads(g.to_json()) for g in genotypes])
    run.write_json("best.json", json.loads(genotypes[best].to_json()))
    bar.write(f"epoch {search.epoch}: validation accuracy {result['validation_accuracy']}, best learner {best}")
    for k, count in enumerate(skips):
        if count["normal"] > search.space.nodes:
            bar.write(f"learner {k} collapses: {count['normal']} skips in its normal cell")
    shares = {f"alphas_{kind}": getattr(search.arch, f"alphas_{kind}").softmax(-1).tolist() for kind in KINDS}
    entry = {"step": search.steps, **shares}
    draw(run, search, genotypes, entry, bar)
    return {**result, "best_learner": best, "skips": skips, **shares}


def draw(run: RunFolder, search: Search, genotypes: list[Any], entry: dict[str, Any], bar: Progress) -> None:
    """The three pictures; what goes wrong with one is said and does not end the run."""
    from . import plots

    records = run.read_metrics()
    history = [r for r in records if "alphas_normal" in r] + [entry]
    ops = {kind: search.space.ops(kind) for kind in KINDS}
    titles = [f"learner {k}" for k in range(len(genotypes))]
    pictures = {
        "alphas.png": lambda path: plots.plot_alphas(path, history, ops),
        "cells.png": lambda path: plots.plot_cells(path, genotypes, titles),
        "curves.png": lambda path: plots.plot_curves(path, records),
    }
    for name, plot in pictures.items():
        try:
            plot(run.path(name))
        except Exception as error:
            bar.write(f"{name} is not drawn: {error}")


def finish(run: RunFolder, search: Search) -> None:
    """What was found: the best learner's genotype, the size of its network at the paper's scale, how to evaluate it."""
    import torch

    from .counting import count_macs, count_parameters
    from .genotype import Genotype
    from .network import Network

    last = run.read_metrics()[-1]
    best = last["best_learner"]
    genotype = Genotype.from_json(run.path("best.json").read_text(encoding="utf-8"))
    imagenet = search.space.imagenet
    channels, layers, side = (48, 14, 224) if imagenet else (36, 20, 32)
    with torch.device("meta"):
        network = Network(genotype, channels, layers, search.space.num_classes, imagenet=imagenet)
    parameters, macs = count_parameters(network), count_macs(network, side, "conv_linear")
    print(f"learner {best} has the least validation loss, {last['validation_loss'][best]:.3f}", end="; ")
    print(f"accuracy {last['validation_accuracy'][best]:.1%}\n{genotype.to_json()}")
    print(f"{channels} channels, {layers} layers: {parameters:,} parameters, ", end="")
    print(f"{macs:,} multiply-adds (convolutions and classifier)")
    print(f"evaluate it: python -m sgl_fast.evaluate --genotype {run.path('best.json')}")


def refuse(error: ValueError) -> int:
    print(f"{PROG}: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
