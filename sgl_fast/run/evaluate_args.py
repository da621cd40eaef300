"""The arguments of `python -m sgl_fast.evaluate` and the run that they describe. No torch."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from typing import Any

from ..data.locate import DATASETS, find
from ..files import user_path
from ..genotype.genotype import Genotype
from ..genotype.published import genotypes, read_genotype
from ..limits import check_kind, check_limits, flag
from .command import FOLDER, Parser, located
from .identity import RUN
from .recipe import SCALES, Recipe
from .run_folder import CONFIG

PROG = "python -m sgl_fast.evaluate"
DATA = ("data", "root", "image_size")  # keys of a run's config.json beside the genotype and the recipe
HELP = {
    "channels": "channels of the first cells",
    "layers": "cells",
    "epochs": "passes over the training and validation images",
    "batch_size": "images a step",
    "lr": "learning rate of the first epoch, cosine to 0",
    "weight_decay": "L2 penalty",
    "cutout": "side in pixels of the square cut out of each image, 0 for none",
    "drop_path": "probability to drop an op's output, reached linearly over the epochs",
    "auxiliary_weight": "weight of the auxiliary head's loss, 0 for no head",
    "seed": "of the initialisation and of the batches",
    "limit": "use only the first so many training and validation images",
}


def parser() -> Parser:
    """Options that are not given are None, so that --resume can tell what was asked for."""
    p = Parser(prog=PROG, description="Train from scratch the network that a genotype denotes, and test it.")
    p.add_argument("--genotype", metavar="FILE|NAME", help="a genotype.json, or a published genotype such as DARTS_V2")
    p.add_argument("--learner", type=int, metavar="K", help="which genotype of a file that holds several, from 0")
    p.add_argument("--data", metavar="NAME", help=f"{', '.join(DATASETS)} (default auto: the best that is found)")
    p.add_argument("--root", metavar="DIR", help="where data sets lie (default $SGL_FAST_DATA, else data/)")
    p.add_argument("--image-size", type=int, metavar="PIXELS", help="to resize to, for imagenet and folder:PATH")
    p.add_argument("--scale", choices=list(SCALES), help="what the options below default to (default tiny)")
    for field in fields(Recipe):
        if field.name == "imagenet":
            p.add_argument(flag(field.name), action="store_const", const=True, help="the stem for images of 224 pixels")
        else:
            p.add_argument(
                flag(field.name), type=float if field.type == "float" else int, metavar="N", help=HELP[field.name]
            )
    p.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    p.add_argument("--out", type=user_path, default="runs/evaluate", metavar="DIR", help="run folder (%(default)s)")
    p.add_argument("--resume", action="store_true", help="go on with the run in --out")
    p.add_argument("--quiet", action="store_true", help="no progress line")
    p.add_argument("--count", action="store_true", help="only print parameters and multiply-adds (default scale paper)")
    p.add_argument("--classes", type=int, metavar="J", help="classes, for --count (default 10)")
    return p


def genotype_of(args: argparse.Namespace) -> Genotype:
    if args.genotype is None:
        raise ValueError(f"--genotype: need a file or a name, such as {', '.join(list(genotypes)[2:5])}")
    try:
        return read_genotype(args.genotype, args.learner)
    except ValueError as error:
        raise ValueError(f"--genotype: {error}") from error


def recipe_of(args: argparse.Namespace, scale: str) -> Recipe:
    """The recipe of --scale, or of `scale`, with what the arguments say in its place."""
    given = {field.name: getattr(args, field.name) for field in fields(Recipe)}
    return Recipe(**{**SCALES[args.scale or scale], **{name: v for name, v in given.items() if v is not None}})


def new_config(args: argparse.Namespace) -> dict[str, Any]:
    """What config.json holds: the genotype, the data and the recipe."""
    genotype, recipe = genotype_of(args), recipe_of(args, "tiny")
    check_limits({"image_size": args.image_size})
    data, root = located(args.data, args.root)
    if not find(data, root):
        raise ValueError(f"--data: {data} is not in {args.root or '$SGL_FAST_DATA, nor in data/'}; see --root")
    where = dict(zip(DATA, (data, root, args.image_size), strict=True))
    return {"genotype": json.loads(genotype.to_json()), **where, **recipe.as_dict()}


def stored_config(args: argparse.Namespace, config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The config of the run to resume, checked, its data where the arguments say, and a line for each setting that an
    earlier version did not know. ValueError if an argument says something else than the run has.
    """
    where = f"{args.out / CONFIG}"
    kinds = {"data": "str", "root": "str | None", "image_size": "int | None"}
    kinds |= {field.name: str(field.type) for field in fields(Recipe)}
    if not {"genotype", *DATA} <= set(config):
        raise ValueError(f"--resume: {args.out} holds no run of this command")
    known = {**Recipe().as_dict(), **{name: value for name, value in config.items() if name not in (RUN, "genotype")}}
    for name, value in known.items():
        if name not in kinds:
            raise ValueError(f"{where} sets {name!r}, which this version does not know")
        check_kind(where, name, value, kinds[name])
    notes = [
        f"{where} of an earlier version has no {name}: it is {known[name]!r}" for name in known if name not in config
    ]
    Recipe(**{field.name: known[field.name] for field in fields(Recipe)})
    try:
        genotype = Genotype(**config["genotype"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: genotype: {str(error)[:200]}") from error
    if args.genotype is not None and genotype_of(args) != genotype:
        raise ValueError(f"--genotype: the run in {args.out} trains another one; leave it out to go on")
    return {**config, **known, **placed(args, known)}, notes


def placed(args: argparse.Namespace, known: dict[str, Any]) -> dict[str, Any]:
    """Where the data lies. ValueError if an argument says something else than the run has."""
    preset = SCALES[args.scale] if args.scale else {}
    data, root = located(args.data or known["data"], args.root or known["root"])
    moved = data.startswith(FOLDER) and known["data"].startswith(FOLDER)
    for name, value in known.items():
        given = preset.get(name) if getattr(args, name) is None else getattr(args, name)
        given = data if name == "data" else None if name == "root" else given
        if given not in (None, value) and not (name == "data" and moved):
            raise ValueError(f"{flag(name)}: the run in {args.out} began with {value}; got {given}")
    return {"data": data, "root": root}
