"""python -m sgl_fast.compare RUN RUN...: runs side by side, mean and deviation over seeds. No torch."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from .files import user_path
from .run.command import refuse, started
from .run.comparison import Compared, Group, grouped, read_run, table_of, text_of
from .run.parser import Parser
from .run.report import Page, Table, flat, inlined, write_page

PROG = "python -m sgl_fast.compare"
NOTE = (
    "Of a search: its learner of least validation loss, after the last epoch. Runs that differ in the seed alone are "
    "one row: mean ± standard deviation (n - 1). Sizes are those of the network at the published scale."
)


def parser() -> Parser:
    p = Parser(PROG, "Compare runs: a table, and a page with curves.")
    p.add_argument("runs", nargs="*", type=user_path, metavar="RUN", help="folder of a search or of an evaluation")
    p.add_argument("--html", type=user_path, metavar="FILE", help="write the page there, too")
    return p


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 a folder that holds no run, or runs of two kinds."""
    args = parser().parse_args(argv)
    try:
        if not args.runs:
            raise ValueError("need folders of runs: RUN RUN ...")
        runs = [read_run(path) for path in args.runs]
        differing, groups = grouped(runs)
        head, rows = table_of(differing, groups)
        print(text_of(head, rows))
        if args.html:
            write_page(args.html, page_of(runs, differing, groups))
    except (OSError, ValueError) as error:
        return refuse(PROG, error)
    return 0


def page_of(runs: list[Compared], differing: list[str], groups: list[Group]) -> Page:
    """The table of groups, their curves, the runs one by one, and the settings that all of them share."""
    from .run.plots import comparison_figure, save

    head, rows = table_of(differing, groups)
    names = [", ".join(f"{n} {v}" for n, v in zip(differing, group.values, strict=True)) or "all" for group in groups]
    what = "validation error of the best learner, %" if runs[0].is_search else "test error, %"
    lines = [(name, [run.errors() for run in group.runs]) for name, group in zip(names, groups, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        save(comparison_figure(lines, what), Path(folder) / "error", ["svg"])
        svg = inlined(Path(folder) / "error.svg", "error")
    numbers = head[len(differing) + 1 :]
    each = [[str(r.folder), r.settings.get("seed", "-"), *Group((), [r]).cells(numbers)] for r in runs]
    shared = {name: value for name, value in runs[0].settings.items() if name not in differing and name != "seed"}
    return Page(
        f"Comparison of {len(runs)} runs",
        f"They differ in {', '.join(differing) or 'their seeds'}.",
        tables=[Table("Groups", rows, head, NOTE), Table("Runs", each, ["run", "seed", *numbers])],
        pictures=[("Error over the epochs", svg, "Mean of a group's runs, and a standard deviation around it.")],
        folded=[Table("Settings that all share", flat(shared))],
    )


if __name__ == "__main__":
    sys.exit(started(main))
