"""The options of `python -m sgl_fast.search` and the settings that they describe. No torch."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from ..sgl.config import NUMBERS, Config
from ..spaces import PRIMITIVES
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
from .search_settings import CHOICES, SCALES, defaults, flat

PROG = "python -m sgl_fast.search"
PLAN, CELLS, IMAGES = "presets", "the space", "images"
OPTIONS = Options(
    [
        Option("space", "str", "search space", PLAN, tuple(CHOICES["space"])),
        Option("algorithm", "str", "best; paper: its equations as printed; released: what the authors' code runs", PLAN,
               tuple(CHOICES["algorithm"])),
        Option("settings", "str", "whose rates, epochs and batch. paper: section 4.2; published: the space's own "
               "authors; released: SGL's code, the default with that algorithm", PLAN, tuple(CHOICES["settings"])),
        Option("ablation", "str | None", "section 4.4 of the paper", PLAN, tuple(CHOICES["ablation"])),
        Option("scale", "str", "tiny: small and quick, the default on a CPU; at first order but for DARTS "
               "and s1 to s3 unless --order or --algorithm is said; paper: on a GPU", PLAN, tuple(CHOICES["scale"])),
        Option("channels", "int", "of the first cell; a reduction cell doubles them", CELLS),
        Option("layers", "ints", "cells; of P-DARTS those of each stage, N,N,N, or of the first, and one more in each",
               CELLS),
        Option("nodes", "int", "intermediate nodes of a cell", CELLS),
        Option("ops", "str | None", f"operations of every edge: {', '.join(PRIMITIVES)}", CELLS, metavar="A,B,..."),
        Option("max_skips", "int | None", "skips that the normal cell may have in the end; none: any number", CELLS),
        data_option,
        Option("root", "str | None", "where data sets lie [$SGL_FAST_DATA, else data]", IMAGES, metavar="DIR"),
        Option("unlabeled", "str | None", "folder of the images without labels; train: the training images", IMAGES,
               metavar="DIR"),
        Option("image_size", "int | None", "to resize to; 32 or 16 but for imagenet and folder:PATH", IMAGES),
        Option("held_out", "int", "images, drawn from those to train and to validate on, that take no part", IMAGES),
        Option("batch_size", "int", "images of each role a step", IMAGES),
        Option("batches", "str", "of training and validation: shared by all learners, as in the released code; or own,"
               " which each draws; images without labels are always shared", IMAGES, tuple(CHOICES["batches"])),
        Option("limit", "int | None", "use only the first so many images of each role; none: all", IMAGES),
        *options_of(Config, {"skip_dropout": "floats"}),
        Option("memory", "float | None", "for activations: chooses --chunk", NUMBERS, metavar="GB"),
        Option("deterministic", "switch", "only algorithms that repeat to the bit", default=False),
        download_option,
        device_option,
        Option("backend", "str | None", "reference, cpu, cuda, triton; auto: the best [$SGL_FAST_BACKEND, else auto]"),
        Option("launch", "switch", "on a GPU: launch every kernel, no CUDA graph of the step", default=False),
        Option("data_parallel", "int | None", "processes of torchrun that share each batch; none: the fewest that "
               "leave no process idle"),
        out_option("SPACE"),
        figures_option,
        log_option,
        Option("quiet", "switch", "no progress line", default=False),
    ]
)  # fmt: skip
EXAMPLES = f"""\
  {PROG}
  {PROG} --space p_darts --data cifar10 --scale paper
  {PROG} --config runs/one --set lr=0.05
"""


def parser() -> Parser:
    text = "Search architectures with a small group of learners. [Defaults] are in brackets."
    p = Parser(PROG, text, OPTIONS, default_texts(), EXAMPLES)
    add_resume(p)
    text = "check settings and data, print the settings as JSON, and end"
    p.heading.add_argument("--dry-run", action="store_true", help=text)
    p.add_settings_file()
    return p


def default_texts() -> dict[str, str]:
    """What each option is by itself: by scale, and by space where one differs from most others."""
    found = {scale: {one: defaults(one, "best", "paper", scale, {}) for one in CHOICES["space"]} for scale in SCALES}
    texts = {"space": "pc_darts", "algorithm": "best", "settings": "paper"}
    for name in OPTIONS:
        by_scale = {scale: by_space({one: shown(d.get(name)) for one, d in found[scale].items()}) for scale in SCALES}
        same = len(set(by_scale.values())) == 1
        text = by_scale["paper"] if same else "; ".join(f"{scale}: {text}" for scale, text in by_scale.items())
        if text != "none":
            texts[name] = text
    return texts


def by_space(values: dict[str, str]) -> str:
    """The value of most spaces, then those of others."""
    most = Counter(values.values()).most_common(1)[0][0]
    others = {value: [one for one in values if values[one] == value] for value in values.values() if value != most}
    return ", ".join([most, *(f"{value} of {'/'.join(names)}" for value, names in others.items())])


def given_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of the settings, and below it what the file says."""
    return OPTIONS.given(args, flat)
