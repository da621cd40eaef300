"""The arguments of `python -m sgl_fast.evaluate` and the run that they describe. No torch."""

from __future__ import annotations

import json
import os
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..data.locate import PYTHON
from ..errors import reason
from ..files import read_text, user_path
from ..genotype.baseline import Budget, random_genotype
from ..genotype.genotype import Genotype
from ..genotype.published import genotypes, read_genotype
from ..genotype.size import published_parameters
from ..limits import flag
from ..setting import check_limits
from ..spaces import space
from .command import FOLDER, check_found, located
from .identity import RUN
from .options import (
    Option,
    Options,
    data_option,
    device_option,
    download_option,
    figures_option,
    log_option,
    options_of,
    shown,
)
from .parser import Parser
from .place import add_resume, out_option
from .recipe import IMAGES, RECIPES, SCALES, Recipe, preset, recipe_name
from .run_folder import CONFIG

PROG = "python -m sgl_fast.evaluate"
DATA = ("data", "root", "image_size")  # keys of a run's config.json beside the genotype and the recipe
WHAT = "what is trained"
RANDOM = re.compile(r"random(?::(.*))?", re.S)
DRAWN_BY = ("seed", "imagenet")  # settings that a random genotype follows from
BEST, ALL = "best.json", "genotype.json"  # of a run
GENOTYPE, RESULT = "genotype.json", "result.json"  # of an evaluation
OPTIONS = Options(
    [
        Option(
            "genotype",
            "str",
            "a run's folder, whose data are taken too unless others are said; a file; a published "
            "name such as DARTS_V2; Genotype(...); or random, drawn by --seed, random:SEED by its own",
            WHAT,
        ),
        Option("budget", "floats", "LEAST,MOST million parameters of a random one at the published scale", WHAT),
        Option("learner", "int", "which genotype of a file that holds several, from 0", WHAT),
        Option("recipe", "str", "whose published settings", WHAT, tuple(RECIPES)),
        Option(
            "scale", "str", "paper: the recipe's sizes; tiny: ones that train in minutes on a CPU", WHAT, tuple(SCALES)
        ),
        data_option,
        Option("root", "str | None", "where data sets lie [$SGL_FAST_DATA, else data]", IMAGES, metavar="DIR"),
        Option("image_size", "int | None", "to resize to; 32 or 16 but for imagenet and folder:PATH", IMAGES),
        *options_of(Recipe),
        download_option,
        device_option,
        out_option("evaluate"),
        figures_option,
        log_option,
        Option("quiet", "switch", "no progress line", default=False),
    ]
)
EXAMPLES = f"""\
  {PROG} --genotype runs/one
  {PROG} --genotype PDARTS --data cifar10 --scale paper
  {PROG} --genotype DARTS_V2 --count
  {PROG} --genotype random --budget 3.2,3.4 --seed 1
"""


def parser() -> Parser:
    tiny, paper = (preset(recipe_name(False), scale).as_dict() for scale in ("tiny", "paper"))
    defaults = {name: shown(paper[name]) for name in paper if paper[name] is not None}
    defaults |= {name: f"tiny: {tiny[name]}; paper: {paper[name]}" for name in paper if tiny[name] != paper[name]}
    defaults |= {"data": "auto", "scale": "tiny on a CPU, paper on a GPU and with --count"}
    defaults |= {"recipe": f"{recipe_name(False)}; {recipe_name(True)} with --imagenet"}
    text = "Train from scratch the network that a genotype denotes, and test it."
    p = Parser(PROG, text, OPTIONS, defaults, EXAMPLES)
    add_resume(p)
    add = p.heading.add_argument
    add("--count", action="store_true", help="only print parameters and multiply-adds")
    add("--test-only", type=user_path, metavar="DIR", help="only test the network of the training in DIR")
    add("--classes", type=int, default=10, metavar="J", help="classes, for --count [%(default)s]")
    p.add_settings_file()
    return p


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """The options that give this config.json. ValueError where it is none of an evaluation."""
    if not {"genotype", *DATA} <= set(config):
        raise ValueError("config.json holds no run of this command")
    return {**config_of(config), "genotype": str(stored_genotype(config))}


def config_of(config: dict[str, Any]) -> dict[str, Any]:
    """What was set, but the genotype."""
    return {name: value for name, value in config.items() if name not in (RUN, "genotype")}


def genotype_of(given: dict[str, Any]) -> Genotype:
    """Of a published name, a file, or a run's folder: the best learner's there, or --learner's; or drawn at random."""
    if cells := drawn(given):
        return cells
    if given.get("genotype") is None:
        raise ValueError(
            f"--genotype: need a run's folder, a file or a name, such as {', '.join(list(genotypes)[2:5])}"
        )
    source, learner = given["genotype"], given.get("learner")
    if os.path.isdir(folder := user_path(source)):
        file = BEST if learner is None and (folder / BEST).is_file() else ALL
        if not (folder / file).is_file():
            raise ValueError(f"--genotype: no {file} in {folder}: a search writes it after an epoch that moved alphas")
        source = str(folder / file)
    try:
        return read_genotype(source, learner)
    except ValueError as error:
        raise ValueError(f"--genotype: {error}") from error


def drawn(given: dict[str, Any]) -> Genotype | None:
    """What --genotype random, or random:SEED, draws within --budget; None for any other genotype."""
    match = RANDOM.fullmatch(given.get("genotype") or "")
    if match is None:
        if "budget" in given:
            raise ValueError("--budget: need --genotype random; others have the size that they have")
        return None
    if match[1] is not None and not re.fullmatch(r"[0-9]{1,18}", match[1]):
        raise ValueError(f"--genotype: need random, or random:SEED with a whole number; got {given['genotype']:.80}")
    recipe, ends = recipe_of(given, "paper"), given.get("budget", [])
    try:
        if len(ends) not in (0, 2):
            raise ValueError(f"need LEAST,MOST; got {','.join(map(str, ends))}")
        budget = Budget(ends[0], ends[1], recipe.imagenet) if ends else None
        return random_genotype(seed=int(match[1] or recipe.seed), budget=budget)
    except ValueError as error:
        raise ValueError(f"--budget: {error}") from error


def with_run(given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What is said, above the data and the network's form of the run that the genotype is of, where no other data are
    said; and a line on it. A random genotype is drawn.
    """
    if cells := drawn(given):
        parameters = published_parameters(cells, recipe_of(given, "paper").imagenet) / 1e6
        line = f"genotype drawn at random: {parameters:.2f} M parameters at the published scale"
        return {**{name: value for name, value in given.items() if name != "budget"}, "genotype": str(cells)}, [line]
    path = user_path(given.get("genotype") or "no file")
    config = (path if os.path.isdir(path) else path.parent) / CONFIG
    own = str(given.get("data")).startswith(PYTHON)
    other = ("data" in given and not own) or "root" in given
    if other or not os.path.exists(path) or not config.is_file():
        return given, []
    try:
        run = json.loads(read_text(config, 1 << 20))
        if not isinstance(run, dict) or not {*DATA} <= set(run) or (own and not str(run["data"]).startswith(PYTHON)):
            return given, []  # of something else
        searched = "space" in run
        imagenet = space(run["space"]).imagenet if searched else run["imagenet"]
        split = run["config"]["seed"] if searched else run.get("split_seed")
        form = {"imagenet": imagenet, "split_seed": run["seed"] if split is None else split}
        found = OPTIONS.checked({**{name: run[name] for name in DATA}, **form}, str(config))
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"--genotype: cannot read the settings of its run, {config}: {reason(error)}") from None
    words = "ImageNet" if {**found, **given}["imagenet"] else "CIFAR"
    return {**found, **given}, [f"data {found['data']} and the {words} form, as in {config}"]


def recipe_of(given: dict[str, Any], scale: str) -> Recipe:
    """That of --recipe at --scale, or else at `scale`, with what is said in its place."""
    own = {field.name: given[field.name] for field in fields(Recipe) if field.name in given}
    name = given.get("recipe", recipe_name(bool(given.get("imagenet"))))
    return preset(name, given.get("scale", scale), **own)


def new_config(given: dict[str, Any], scale: str = "tiny", own: bool = False, download: bool = False) -> dict[str, Any]:
    """What config.json holds: the genotype, the data and the recipe, at this scale unless --scale says another.

    own       the images came from Python
    download  as of `check_found`
    """
    genotype, recipe = genotype_of(given), recipe_of(given, scale)
    recipe = replace(recipe, split_seed=recipe.splits_by)
    check_limits(given)
    data, root = located(given.get("data"), given.get("root"))
    if not own:
        check_found(given, data, root, download=download)
    where = dict(zip(DATA, (data, root, given.get("image_size")), strict=True))
    return {"genotype": json.loads(genotype.to_json()), **where, **recipe.as_dict()}


def stored_config(given: dict[str, Any], out: Path, config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The config of the run to resume, in `out`, checked, its data where the options say, and a line for each setting
    that an earlier version did not know. ValueError if an option says something else than the run has.
    """
    where = f"{out / CONFIG}"
    if not {"genotype", *DATA} <= set(config):
        raise ValueError(f"--resume: {out} holds no run of this command")
    known = {**Recipe().as_dict(), **OPTIONS.checked(config_of(config), where)}
    notes = [
        f"{where} of an earlier version has no {name}: it is {known[name]!r}" for name in known if name not in config
    ]
    try:
        Recipe(**{field.name: known[field.name] for field in fields(Recipe)})
        genotype = stored_genotype(config)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if "genotype" in given and genotype_of({**{name: known[name] for name in DRAWN_BY}, **given}) != genotype:
        raise ValueError(f"--genotype: the run in {out} trains another one; leave it out to go on")
    return {**config, **known, **placed(given, out, known)}, notes


def stored_genotype(config: dict[str, Any]) -> Genotype:
    try:
        return Genotype(**config["genotype"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"genotype: {str(error)[:200]}") from error


def implied(given: dict[str, Any], imagenet: bool) -> dict[str, Any]:
    """What --scale and --recipe say of a run of this form, as far as they are said."""
    if "scale" not in given and "recipe" not in given:
        return {}
    name = given.get("recipe", recipe_name(imagenet))
    names = dict.fromkeys([*SCALES["tiny"], *(RECIPES[name] if "recipe" in given else ())])
    settings = preset(name, given.get("scale", "paper")).as_dict()
    return {field: settings[field] for field in names}


def placed(given: dict[str, Any], out: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Where the data lies. ValueError if an option says something else than the run has."""
    said = {**implied(given, known["imagenet"]), **given}
    data, root = located(given.get("data", known["data"]), given.get("root", known["root"]))
    moved = any(data.startswith(form) and known["data"].startswith(form) for form in (FOLDER, PYTHON))
    for name, value in {**said, "data": data}.items():
        if name in known and name != "root" and value != known[name] and not (name == "data" and moved):
            raise ValueError(f"{flag(name)}: the run in {out} began with {known[name]}; got {value}")
    return {"data": data, "root": root}
