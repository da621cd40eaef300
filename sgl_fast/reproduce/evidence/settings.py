"""Options that the jobs of the evidence have in common: their own, then those of `sgl_fast.search`. No torch."""

from __future__ import annotations

import argparse
from typing import Any

from ...run import search_args
from ...run.search_settings import settings_of


def parsed(
    own: argparse.ArgumentParser, argv: list[str]
) -> tuple[argparse.Namespace, dict[str, Any], argparse.Namespace]:
    """What the job's own options say; settings of the search that the others say, on a CPU; what they say of the run.

    own   takes no option that a search has
    ValueError of one line where there is no --out.
    """
    mine, others = own.parse_known_args(argv)
    run = search_args.parser().parse_args(others)
    settings = settings_of(search_args.given_of(run), "cpu")
    if run.out is None:
        raise ValueError("--out: need a folder")
    return mine, settings, run


def whole_numbers(text: str) -> list[int]:
    """5,10 -> [5, 10], of at least 1, rising."""
    found = [int(part) for part in text.split(",")]
    if found != sorted(set(found)) or found[0] < 1:
        raise argparse.ArgumentTypeError(f"need whole numbers that rise, from 1 on; got {text!r:.80}")
    return found
