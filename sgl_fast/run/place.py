"""Where a run lies, and whether it begins or goes on. No torch."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from ..files import user_path
from .options import Option
from .parser import Parser
from .run_folder import CONFIG, check_free, config_in

RUNS = Path("runs")
AUTO = "auto"


def out_option(what: str) -> Option:
    return Option("out", "path", f"run folder [{RUNS}/DATE-{what}-SEED]")


def add_resume(parser: Parser) -> None:
    text = "go on with the run in DIR or --out; auto: with that in --out, or begin it, one line for a scheduler"
    parser.heading.add_argument("--resume", nargs="?", const="", metavar="DIR|auto", help=text)


def settle(args: Namespace, name: Sequence[object]) -> None:
    """args.out becomes the run's folder, and args.resume whether it goes on. ValueError where neither can be.

    name  of the run, after the date, where no folder is said
    """
    resume: str | None = args.resume  # "": it says no folder
    if resume == AUTO and args.out is None:
        raise ValueError("--resume auto: need --out DIR, where the next start finds the run")
    if resume not in (None, "", AUTO):
        if args.out not in (None, user_path(str(resume))):
            raise ValueError(f"--resume {resume}: --out says {args.out}")
        args.out = user_path(str(resume))
    if resume == "" and args.out is None:
        runs = [path.parent for path in RUNS.glob(f"*/{CONFIG}") if ("-evaluate-" in str(path)) == ("evaluate" in name)]
        latest = f"; the latest is {max(runs, key=lambda run: run.stat().st_mtime)}" if runs else ""
        raise ValueError(f"--resume: need the run's folder, --resume DIR{latest}")
    shows = args.print_config or getattr(args, "dry_run", False)
    if shows and resume is not None:
        raise ValueError("--resume: not with --print-config or --dry-run; --config DIR shows the settings of a run")
    args.out = dated(name) if args.out is None else args.out
    args.resume = resume is not None and (resume != AUTO or (args.out / CONFIG).is_file())
    if not is_first():
        return  # of several processes the first one looks into the folder, and may have made it by now
    if args.resume:
        config_in(args.out)
    elif not shows:
        check_free(args.out)


def is_first() -> bool:
    """Of the processes of torchrun, before and after they have met."""
    return os.environ.get("RANK", "0") == "0"


def dated(name: Sequence[object]) -> Path:
    """A folder that is not there yet."""
    path = RUNS / "-".join([time.strftime("%Y%m%d-%H%M%S"), *map(str, name)])
    more = (path.with_name(f"{path.name}-{number}") for number in range(2, 100))
    return next((one for one in (path, *more) if not one.exists()), path)
