"""A search that is looked at after given steps, which need not be ends of epochs; it writes those records alone.

python -m sgl_fast.reproduce.evidence.trace --at 5,10 --out DIR [options of sgl_fast.search]
"""

from __future__ import annotations

import argparse
import json
import sys

from ...files import write_text_atomic
from ...run.command import refuse
from ...run.run_folder import METRICS, plain
from .settings import parsed, whole_numbers

PROG = "python -m sgl_fast.reproduce.evidence.trace"


def main(argv: list[str] | None = None) -> int:
    """metrics.jsonl has a line for each step of --at: alphas as probabilities, and every learner's genotype; nothing is
    left of a run that did not get there. Exit code: 0, or 2 for bad arguments.
    """
    own = argparse.ArgumentParser(PROG, add_help=False)
    own.add_argument("--at", type=whole_numbers, required=True)
    try:
        args, settings, run = parsed(own, sys.argv[1:] if argv is None else argv)
    except ValueError as error:
        return refuse(PROG, error)
    from ...run.search_loop import described, probabilities_of
    from ...run.stages import Stages
    from ...search import open_data

    stages = Stages(settings, open_data(settings), "cpu")
    if stages.steps < args.at[-1]:
        return refuse(PROG, ValueError(f"--at: the search has {stages.steps} steps; got {args.at[-1]}"))
    lines = []
    for step in range(args.at[-1]):
        stages.search.step(stages.feed.batch(step))
        if step + 1 in args.at:
            found = described(stages.genotypes(), stages.search.space)
            record = {"step": step + 1, "best_learner": 0, **probabilities_of(stages.search), **found}
            lines.append(json.dumps(plain(record)))
    run.out.mkdir(parents=True, exist_ok=True)
    write_text_atomic(run.out / METRICS, "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
