"""The arguments of `python -m sgl_fast.search` and the settings that they describe. No torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..data.locate import DATASETS, choose
from ..files import read_text, user_path
from ..limits import check_kind, check_limits, flag
from ..sgl.config import Config
from ..sgl.presets import ABLATION_LAM, ABLATIONS, ALGORITHMS, SETTINGS, default_settings, numbers
from ..spaces import EVERY, PRIMITIVES, RULES, op_names, space
from .command import Parser, absolute, located

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROG = "python -m sgl_fast.search"
SCALES: dict[str, dict[str, Any]] = {
    "tiny": {"channels": 8, "layers": 6, "nodes": 4, "batch_size": 16, "epochs": 4, "limit": 640, "arch_start": 0},
    "paper": {"channels": 16, "layers": None, "nodes": 4, "limit": None},
}
TINY_WHOLE = {"layers": 3, "nodes": 2, "limit": 800}  # of tiny, for the spaces whose mixed ops take all channels
TINY_PARTIAL = {"lr": 0.1, "arch_lr": 6e-4}  # for the others, whose few steps learn too little at the paper's 0.025
SIZES = {
    "channels": "channels of the first cell; a reduction cell doubles them",
    "layers": "cells; P-DARTS adds one in its second stage and two in its third (paper: 5, 11 and 17)",
    "nodes": "intermediate nodes of a cell",
    "batch_size": "images of each role a step (default: those of --settings)",
    "limit": "use only the first so many images of each role",
}
DATA = {
    "data": f"{', '.join(DATASETS)} (default auto: the best that is found)",
    "root": "where data sets lie (default $SGL_FAST_DATA, else data/)",
    "unlabeled": "folder of the images without labels; train: the training images",
    "image_size": "to resize to, for imagenet and folder:PATH",
}
HELP = {
    "learners": "K",
    "lam": "weight of the pseudo-labels (default 1; on cifar10 with ablation no_stage_one or separate 2)",
    "order": "2: with the implicit terms of the hypergradient; 1: without",
    "method": "of the second derivatives: frozen, finite_difference, exact",
    "r": "radius of the finite difference (0.001 of frozen, 0.01 of finite_difference, 0.1 of less than float32)",
    "epochs": "of the search; of each stage in P-DARTS; of both halves of ablation separate",
    "pretrain_epochs": "epochs in which only the preliminary weights learn",
    "lr": "of the weights in the first epoch",
    "lr_min": "of the weights after the last",
    "arch_lr": "of the architecture",
    "arch_start": "epoch at which the architecture starts to move",
    "seed": "of everything that is drawn",
    "precision": "float32; float16 (cuda, triton), bfloat16 (triton): kept in half the memory; tf32 (triton): products",
    "frozen_precision": "of the perturbed passes of method frozen: float32 (default), or same as --precision",
    "chunk": "at most so many virtual learners at a time, the same numbers in less memory",
}
CHOICES: dict[str, tuple[Iterable[str], str]] = {
    "space": (EVERY, "search space (default pc_darts)"),
    "algorithm": (ALGORITHMS, "best (default); paper: its equations as printed; released: what the authors' code runs"),
    "settings": (
        SETTINGS,
        "whose rates, epochs and batch: paper: section 4.2 (default); published: the space's own authors; "
        "released: SGL's code (default with that algorithm)",
    ),
    "ablation": (ABLATIONS, "section 4.4 of the paper"),
    "scale": (SCALES, "tiny: small and quick (a CPU); paper: 16 channels, 8 cells (a GPU)"),
}
KINDS = {
    **dict.fromkeys(("space", "algorithm", "settings", "scale", "data"), "str"),
    **dict.fromkeys(("ablation", "root", "unlabeled", "ops"), "str | None"),
    **dict.fromkeys(("channels", "layers", "nodes", "batch_size"), "int"),
    **dict.fromkeys(("limit", "max_skips", "image_size"), "int | None"),
    **{field.name: str(field.type) for field in fields(Config)},
    "memory": "float | None",
}
FLAGS = (*SIZES, *DATA, *HELP, *CHOICES, "ops", "memory", "max_skips")


def parser() -> Parser:
    """Options that are not given are None: the file, the scale, the space and the algorithm decide."""
    p = Parser(prog=PROG, description="Search architectures with a small group of learners.")
    for name, (choices, text) in CHOICES.items():
        p.add_argument(flag(name), choices=list(choices), help=text)
    for name, text in SIZES.items():
        p.add_argument(flag(name), type=int, metavar="N", help=text)
    for name, text in DATA.items():
        p.add_argument(flag(name), type=int if name == "image_size" else str, metavar=name.upper(), help=text)
    kinds = {"str": str, "int": int, "float": float, "int | None": int, "float | None": float}
    for field in fields(Config):
        if field.name in HELP:
            p.add_argument(flag(field.name), type=kinds[str(field.type)], metavar="X", help=HELP[field.name])
    p.add_argument("--ops", metavar="A,B,...", help=f"operations of every edge (default {', '.join(PRIMITIVES)})")
    p.add_argument("--memory", type=float, metavar="GB", help="for activations: chooses --chunk")
    p.add_argument("--max-skips", type=int, metavar="N", help="skips allowed in the normal cell (P-DARTS: 2)")
    p.add_argument("--config", type=user_path, metavar="FILE", help="TOML file with any of the options above")
    p.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    p.add_argument(
        "--backend", help="reference, cpu, cuda, triton, auto: the best (default $SGL_FAST_BACKEND, else auto)"
    )
    p.add_argument("--launch", action="store_true", help="on a GPU: launch every kernel, no CUDA graph of the step")
    p.add_argument("--deterministic", action="store_true", help="only algorithms that repeat to the bit")
    p.add_argument("--out", type=user_path, default="runs/search", metavar="DIR", help="run folder (%(default)s)")
    p.add_argument("--resume", action="store_true", help="go on with the run in --out")
    p.add_argument("--print-config", action="store_true", help="print the settings and end")
    p.add_argument("--dry-run", action="store_true", help="check settings and data, print the settings and end")
    p.add_argument("--quiet", action="store_true", help="no progress line")
    return p


def given_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line says, and below it what the file says."""
    said = {name: value for name in FLAGS if (value := getattr(args, name)) is not None}
    return {**(_read(args.config) if args.config else {}), **said}


def settings_of(given: dict[str, Any], device: str) -> dict[str, Any]:
    """What config.json holds, checked: the space, its sizes, the data and every field of `Config`."""
    for choice, (allowed, _) in CHOICES.items():
        if given.get(choice) is not None and given[choice] not in allowed:
            raise ValueError(f"{flag(choice)}: need one of {', '.join(allowed)}; got {given[choice]!r}")
    name, algorithm, ablation = given.get("space", "pc_darts"), given.get("algorithm", "best"), given.get("ablation")
    scale = given.get("scale", "tiny" if device == "cpu" else "paper")
    source = given.get("settings", default_settings(algorithm))
    scaled = {"batch_size": numbers(name, source)["batch_size"], **SCALES[scale]}
    if scale == "tiny" and space(name).partial == 1:
        scaled |= TINY_WHOLE
    elif scale == "tiny" and source == "paper" and "settings" not in given:
        scaled |= TINY_PARTIAL
    if scale == "tiny" and source == "released":
        scaled |= {"epochs": 3, "pretrain_epochs": 1, "arch_start": given.get("pretrain_epochs", 1)}
    chosen = {**scaled, **_ablation(ablation, given), **given}
    check_limits(chosen)
    sizes = {key: chosen[key] for key in SIZES}
    rules = RULES[name]
    sizes["layers"] = rules.layers_from(sizes["layers"])
    for key in ("batch_size", "limit", "memory", "max_skips", "image_size"):
        least = {"batch_size": 2, "max_skips": 0, "memory": 1e-6}.get(key, 1)
        if chosen.get(key) is not None and chosen[key] < least:
            raise ValueError(f"{flag(key)}: need at least {least}; got {chosen[key]}")
    ops = ops_of(chosen.get("ops"))
    for layers in sizes["layers"]:
        space(name, channels=sizes["channels"], layers=layers, nodes=sizes["nodes"], ops=ops)
    if ops and len(ops) <= sum(rules.drops):
        raise ValueError(f"--ops: need more than the {sum(rules.drops)} that the stages of {name} drop; got {len(ops)}")
    changes = {f.name: chosen[f.name] for f in fields(Config) if f.name in chosen}
    config = Config.preset(name, algorithm, source, **changes)
    data = {key: chosen.get(key) for key in DATA}
    data["data"], data["root"] = located(data["data"], data["root"])
    if algorithm == "released" and data["unlabeled"] is None:
        data["unlabeled"] = "train"
    elif data["unlabeled"] not in (None, "train"):
        data["unlabeled"] = absolute(data["unlabeled"])
    max_skips = chosen.get("max_skips", rules.max_skips)
    rest = {"ops": chosen.get("ops"), "memory": chosen.get("memory"), "max_skips": max_skips}
    rest["skip_dropout"] = list(rules.skip_dropout)
    said = {"space": name, "algorithm": algorithm, "settings": source, "ablation": ablation, "scale": scale}
    return {**said, **sizes, **data, **rest, "config": config.as_dict()}


def warning_of(settings: dict[str, Any]) -> str | None:
    """What to know of the learning rates: those of large batches are none for small ones. None: nothing."""
    source, config = settings["settings"], settings["config"]
    own = numbers(settings["space"], source)
    rates = " and ".join(f"{rate} {own[rate]}" for rate in ("lr", "arch_lr") if config[rate] == own[rate])
    if source == "paper" or settings["batch_size"] == own["batch_size"] or not rates:
        return None
    size = settings["batch_size"]
    return f"{rates} of --settings {source} belong to batches of {own['batch_size']}; this run has batches of {size}"


def _ablation(name: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """What an ablation changes; lam is section 4.4's for the data set."""
    if name is None:
        return {}
    lam = ABLATION_LAM.get((name, choose(given.get("data", "auto"), given.get("root"))))
    return {**ABLATIONS[name], **({} if lam is None else {"lam": lam})}


def ops_of(text: str | None) -> tuple[str, ...] | None:
    """Names in a list that commas separate, ValueError for an unknown one; None: the space's own."""
    return None if text is None else op_names([name.strip() for name in text.split(",")], "--ops")


def check_kinds(settings: dict[str, Any], where: str, names: Collection[str] = FLAGS) -> None:
    """ValueError unless all are of these names, and of their kind."""
    for name, value in settings.items():
        if name not in names:
            raise ValueError(f"{where} sets {name!r}, which is no option; the options are {', '.join(FLAGS)}")
        check_kind(where, name, value, KINDS[name])


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = tomllib.loads(read_text(path, 1 << 20))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"--config: cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    check_kinds(content, f"--config: {path}")
    return content
