"""python -m sgl_fast.reproduce NAME: a table or a figure of the paper, search by search; or `evidence`, that searches
find something at all. No torch before parsing.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..files import user_path, write_text_atomic
from ..run.command import check_device, refuse
from ..run.parser import Parser
from ..run.signals import stop_requested
from ..sgl.presets import ALGORITHMS
from . import paper
from .evidence import page
from .evidence.plan import EXPERIMENTS, Study
from .evidence.plan import SCALES as STUDIES
from .evidence.plan import jobs as study_jobs
from .jobs import SCALES, Job, Setup, jobs
from .launch import LAUNCHERS, Launcher, Local, Stop, run_all, slurm
from .plan import Plan, chosen, plans
from .results import found
from .tables import as_csv, figure, markdown

PROG = "python -m sgl_fast.reproduce"
RUNS = Path("runs")
EVIDENCE = "evidence"
TABLE_APART = 50  # times what a table takes, between two while jobs run
OF_TABLES = {"algorithm": "paper", "seeds": None, "retrainings": 1, "rows": None, "root": None}  # by themselves
EXAMPLES = f"""\
  {PROG} table2 --scale tiny
  {PROG} evidence --workers 2
  {PROG} table3 --scale paper --workers 4 --gpus 0,1,2,3 --seeds 1-10
  {PROG} figure4 --scale paper --launcher slurm --slurm slurm_partition=gpu,timeout_min=4320
"""


def parser() -> Parser:
    names = f"{', '.join(paper.names())}; or {EVIDENCE}: whether searches find anything, on a CPU, in half an hour"
    text = f"Reproduce an experiment of the paper: {names}. The same command goes on where it ended."
    p = Parser(PROG, text, examples=EXAMPLES)
    p.add_argument("name", nargs="?", metavar="NAME", help="which one; --list names them")
    add = p.add_argument_group("what is run").add_argument
    add(
        "--scale",
        metavar="NAME",
        help="tiny: the same path in minutes, on embedded images; paper; of evidence laptop, or tiny, where (a) is the "
        "only one that means anything [tiny; laptop]",
    )
    add("--only", metavar="A,B", help=f"of evidence: some of {', '.join(EXPERIMENTS)}")
    add("--algorithm", default="paper", metavar="NAME", help=f"of searches: {', '.join(ALGORITHMS)} [%(default)s]")
    add("--seeds", metavar="N,N|N-N", help="of searches [1-2; at the scale of the paper 1-10, as there]")
    add("--retrainings", type=int, default=1, metavar="N", help="of each search's network [%(default)s]")
    add("--rows", metavar="TEXT", help="only those with a label that this regular expression finds")
    add = p.add_argument_group("where").add_argument
    add("--out", type=user_path, metavar="DIR", help="items share searches there [runs/reproduce-SCALE]")
    add("--root", metavar="DIR", help="where data sets lie [$SGL_FAST_DATA, else data]")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda [%(default)s]")
    add("--launcher", default="local", metavar="NAME", help="local: processes here; slurm: by submitit [%(default)s]")
    add("--workers", type=int, default=1, metavar="N", help="jobs at a time, of local [%(default)s]")
    add("--gpus", default="", metavar="N,N", help="of local: numbers of GPUs, one for each worker in turns")
    add("--slurm", default="", metavar="NAME=X,...", help="parameters of submitit's executor")
    add("--list", action="store_true", help="print the items, or the rows and jobs of NAME, and end")
    return p


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done; 1 a job failed, and its line says why; 2 bad arguments; 128 + n a signal n."""
    args = parser().parse_args(argv)
    try:
        if args.name is None:
            return list_items(args.list)
        work = of_evidence(args) if args.name == EVIDENCE else of_item(args)
        for job in work.jobs:
            job.check()
        if args.list:
            return list_work(work)
        launcher = launcher_of(args, work.out)
    except ValueError as error:
        return refuse(PROG, error)
    work.out.mkdir(parents=True, exist_ok=True)
    return reproduce(work, launcher)


class Work(NamedTuple):
    """rows: a line each, of what is asked for; write: writes the files of what is done, and returns the Markdown"""

    name: str
    out: Path
    rows: list[str]
    jobs: list[Job]
    write: Callable[[], str]


def of_item(args: object) -> Work:
    """ValueError that names what the paper has not, or the flag."""
    item = paper.item(vars(args)["name"])
    setup = setup_of(args)
    rows = chosen(plans(item), vars(args)["rows"])
    lines = [f"{plan.label}: {plan.name if plan.runs else 'the paper alone'}" for plan in rows]
    return Work(item.name, setup.out, lines, jobs(rows, setup), lambda: write(item, rows, setup))


def of_evidence(args: object) -> Work:
    """ValueError that names the flag."""
    study = study_of(args)
    every = study_jobs(study)
    lines = [f"({name}) {EXPERIMENTS[name]}" for name in study.only]
    return Work(EVIDENCE, study.out, lines, every, lambda: page.write(study, every))


def study_of(args: object) -> Study:
    """Of the evidence. ValueError that names the flag, also of one that tables alone have."""
    a = vars(args)
    scale, only = a["scale"] or next(iter(STUDIES)), (a["only"] or ",".join(EXPERIMENTS)).split(",")
    if scale not in STUDIES:
        raise ValueError(f"--scale: need one of {', '.join(STUDIES)}; got {scale!r:.80}")
    if wrong := [name for name in only if name not in EXPERIMENTS]:
        raise ValueError(f"--only: need some of {', '.join(EXPERIMENTS)}; got {wrong[0]!r:.80}")
    if a["device"] not in ("auto", "cpu"):
        raise ValueError(f"--device: {EVIDENCE} runs on cpu; got {a['device']!r:.80}")
    for flag, usual in OF_TABLES.items():
        if a[flag] != usual:
            raise ValueError(f"--{flag}: {EVIDENCE} has its own; got {a[flag]!r:.80}")
    at_least_one(a, "workers")
    out = a["out"] or RUNS / f"{EVIDENCE}-{scale}"
    return Study(out.absolute(), STUDIES[scale], tuple(name for name in EXPERIMENTS if name in only))


def at_least_one(a: dict[str, Any], *flags: str) -> None:
    for flag in flags:
        if a[flag] < 1:
            raise ValueError(f"--{flag}: need a number of at least 1; got {a[flag]}")


def setup_of(args: object) -> Setup:
    """ValueError that names the flag."""
    a = {**vars(args), "scale": vars(args)["scale"] or "tiny"}
    check_device(a["device"])
    if a["only"] is not None:
        raise ValueError(f"--only: it is of {EVIDENCE}; --rows chooses those of a table")
    for flag, allowed in (("scale", SCALES), ("algorithm", tuple(ALGORITHMS))):
        if a[flag] not in allowed:
            raise ValueError(f"--{flag}: need one of {', '.join(allowed)}; got {a[flag]!r:.80}")
    at_least_one(a, "retrainings", "workers")
    seeds = seeds_of(a["seeds"] or ("1-2" if a["scale"] == "tiny" else "1-10"))
    more = ("--device", a["device"], "--figures", "none", *(("--root", a["root"]) if a["root"] else ()))
    out = a["out"] or RUNS / f"reproduce-{a['scale']}"
    return Setup(out.absolute(), a["scale"], a["algorithm"], seeds, a["retrainings"], more)


def seeds_of(text: str) -> tuple[int, ...]:
    """1,2 or 1-10."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.strip().isdecimal() for end in ends) or int(ends[1]) - int(ends[0]) not in range(10_000):
            raise ValueError(f"--seeds: need numbers with commas between them, or FIRST-LAST; got {text!r:.80}")
        seeds += range(int(ends[0]), int(ends[1]) + 1)
    return tuple(dict.fromkeys(seeds))


def launcher_of(args: object, out: Path) -> Launcher:
    a = vars(args)
    if a["launcher"] not in LAUNCHERS:
        raise ValueError(f"--launcher: need one of {', '.join(LAUNCHERS)}; got {a['launcher']!r:.80}")
    pairs = [part.partition("=") for part in a["slurm"].split(",") if part]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise ValueError(f"--slurm: need NAME=VALUE; got {wrong[0]!r:.80}")
    if a["launcher"] == "slurm":
        return slurm(out / "slurm", {name: value for name, _, value in pairs})
    return Local(a["workers"], [gpu for gpu in a["gpus"].split(",") if gpu])


def reproduce(work: Work, launcher: Launcher) -> int:
    """Runs what is not done; the table is written at the end, and after jobs as long as that takes little time."""
    left = sum(not job.done for job in work.jobs)
    print(f"{work.name}: {len(work.jobs)} jobs, {left} to do, in {work.out}", file=sys.stderr)
    ends, next_table = 0, 0.0

    def ended(job: Job, said: str) -> None:
        nonlocal ends, next_table
        ends += 1
        print(f"[{ends}/{left}] {job.folder.relative_to(work.out)}: {said}", file=sys.stderr, flush=True)
        if (begin := time.monotonic()) >= next_table:
            work.write()
            next_table = time.monotonic() + TABLE_APART * (time.monotonic() - begin)

    with stop_requested() as stop:
        try:
            room = launcher.workers if isinstance(launcher, Local) else None
            failed = run_all(work.jobs, launcher, lambda: stop.signal is not None, ended, room=room)
        except Stop:
            code = 128 + (stop.signal or 15)
            print(f"{PROG}: stopped; the same command goes on", file=sys.stderr)
            return code
        finally:
            if isinstance(launcher, Local):
                launcher.stop()
    print(work.write())
    if failed:
        print(
            f"{PROG}: {len(failed)} of {len(work.jobs)} jobs failed, see above; the same command tries again",
            file=sys.stderr,
        )
    return 1 if failed else 0


def write(item: paper.Item, rows: list[Plan], setup: Setup) -> str:
    """NAME.md, NAME.csv and, of a figure, NAME.png and NAME.svg. Returns the Markdown."""
    pairs = [(plan, found(plan, setup)) for plan in rows]
    text = markdown(item, pairs, setup)
    write_text_atomic(setup.out / f"{item.name}.md", text)
    write_text_atomic(setup.out / f"{item.name}.csv", as_csv(item, pairs))
    if item.name.startswith("figure"):
        from ..run.plots.canvas import save

        save(figure(item, pairs), setup.out / item.name, ["png", "svg"])
    return text


def list_items(asked: bool) -> int:
    """What there is; asked for, or in place of a NAME."""
    for name in paper.names():
        item = paper.item(name)
        print(f"{name:<8} {item.title} ({item.place})")
    print(f"{EVIDENCE:<8} Whether searches find anything (not of the paper)")
    if asked:
        return 0
    return refuse(PROG, ValueError(f"need a NAME: {', '.join([*paper.names(), EVIDENCE])}"))


def list_work(work: Work) -> int:
    for row in work.rows:
        print(row)
    for job in work.jobs:
        words = shlex.join([*job.words, "--out", str(job.folder)])
        print(f"{'done' if job.done else 'to do'}  python -m sgl_fast.{job.command} {words}")
    return 0
