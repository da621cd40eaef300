"""A search that is looked at after given steps, which need not be ends of epochs; it writes those records alone.

python -m sgl_fast.reproduce.evidence.trace --at 5,10 --out DIR [options of sgl_fast.search]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...files import write_text_atomic
from ...run.command import refuse
from ...run.run_folder import METRICS, plain
from .settings import parsed, whole_numbers

if TYPE_CHECKING:
    from ...run.stages import Stages

PROG = "python -m sgl_fast.reproduce.evidence.trace"


def options() -> argparse.ArgumentParser:
    """Those that are not the search's."""
    own = argparse.ArgumentParser(PROG, add_help=False)
    own.add_argument("--at", type=whole_numbers, required=True)
    own.add_argument("--validate", action="store_true")
    return own


def main(argv: list[str] | None = None) -> int:
    """metrics.jsonl has a line for each step of --at, the last one the end: alphas as probabilities, and every
    learner's genotype. With --validate the last line has every learner's loss and accuracy on the validation images
    too, and the best learner, that of least loss. A run that did not get there leaves nothing.

    Exit code: 0, or 2 for bad arguments.
    """
    try:
        args, settings, run = parsed(options(), sys.argv[1:] if argv is None else argv)
    except ValueError as error:
        return refuse(PROG, error)
    from ...run.stages import Stages
    from ...search import open_data

    stages = Stages(settings, open_data(settings), "cpu")
    if stages.steps < args.at[-1]:
        return refuse(PROG, ValueError(f"--at: the search has {stages.steps} steps; got {args.at[-1]}"))
    records = looked_at(stages, args.at)
    if args.validate:
        from ...run.validate import validate

        records[-1] |= validate(stages.search, stages.feed.validation(100))
    run.out.mkdir(parents=True, exist_ok=True)
    write_text_atomic(run.out / METRICS, "".join(f"{json.dumps(plain(record))}\n" for record in records))
    return 0


def looked_at(stages: Stages, steps: Sequence[int]) -> list[dict[str, Any]]:
    """Searches up to the last of the steps. Returns a record of each of them."""
    from ...run.search_loop import described, probabilities_of

    records = []
    for step in range(1, steps[-1] + 1):
        stages.search.step(stages.feed.batch(step - 1))
        if step in steps:
            found = described(stages.genotypes(), stages.search.space)
            records.append({"step": step, **probabilities_of(stages.search), **found})
    return records


if __name__ == "__main__":
    sys.exit(main())
