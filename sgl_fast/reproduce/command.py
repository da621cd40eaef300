"""python -m sgl_fast.reproduce NAME: a table or a figure of the paper, search by search. No torch before parsing."""

from __future__ import annotations

import sys
from pathlib import Path

from ..files import user_path, write_text_atomic
from ..run.command import check_device, refuse
from ..run.parser import Parser
from ..run.signals import stop_requested
from ..sgl.presets import ALGORITHMS
from . import paper
from .jobs import SCALES, Job, Setup, jobs
from .launch import LAUNCHERS, Launcher, Local, Stop, run_all, slurm
from .plan import Plan, chosen, plans
from .results import found
from .tables import as_csv, figure, markdown

PROG = "python -m sgl_fast.reproduce"
RUNS = Path("runs")
EXAMPLES = f"""\
  {PROG} table2 --scale tiny
  {PROG} table3 --scale paper --workers 4 --gpus 0,1,2,3 --seeds 1-10
  {PROG} figure4 --scale paper --launcher slurm --slurm slurm_partition=gpu,timeout_min=4320
"""


def parser() -> Parser:
    text = f"Reproduce an experiment of the paper: {', '.join(paper.names())}. The same command goes on where it ended."
    p = Parser(PROG, text, examples=EXAMPLES)
    p.add_argument("name", nargs="?", metavar="NAME", help="which one; --list names them")
    add = p.add_argument_group("what is run").add_argument
    add(
        "--scale",
        default="tiny",
        metavar="NAME",
        help="tiny: the same path in minutes, on embedded images; paper [tiny]",
    )
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
        item = paper.item(args.name)
        setup = setup_of(args)
        rows = chosen(plans(item), args.rows)
        every = jobs(rows, setup)
        if args.list:
            return list_rows(rows, every)
        launcher = launcher_of(args, setup)
    except ValueError as error:
        return refuse(PROG, error)
    setup.out.mkdir(parents=True, exist_ok=True)
    return reproduce(item, rows, every, setup, launcher)


def setup_of(args: object) -> Setup:
    """ValueError that names the flag."""
    a = vars(args)
    check_device(a["device"])
    for flag, allowed in (("scale", SCALES), ("algorithm", tuple(ALGORITHMS)), ("launcher", LAUNCHERS)):
        if a[flag] not in allowed:
            raise ValueError(f"--{flag}: need one of {', '.join(allowed)}; got {a[flag]!r:.80}")
    for flag in ("retrainings", "workers"):
        if a[flag] < 1:
            raise ValueError(f"--{flag}: need a number of at least 1; got {a[flag]}")
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


def launcher_of(args: object, setup: Setup) -> Launcher:
    a = vars(args)
    pairs = [part.partition("=") for part in a["slurm"].split(",") if part]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise ValueError(f"--slurm: need NAME=VALUE; got {wrong[0]!r:.80}")
    if a["launcher"] == "slurm":
        return slurm(setup.out / "slurm", {name: value for name, _, value in pairs})
    return Local(a["workers"], [gpu for gpu in a["gpus"].split(",") if gpu])


def reproduce(item: paper.Item, rows: list[Plan], every: list[Job], setup: Setup, launcher: Launcher) -> int:
    """Runs what is not done; the table is written after each job."""
    left = sum(not job.done for job in every)
    print(f"{item.name}: {len(every)} jobs, {left} to do, in {setup.out}", file=sys.stderr)
    ends = 0

    def ended(job: Job, said: str) -> None:
        nonlocal ends
        ends += 1
        print(f"[{ends}/{left}] {job.folder.relative_to(setup.out)}: {said}", file=sys.stderr, flush=True)
        write(item, rows, setup)

    with stop_requested() as stop:
        try:
            failed = run_all(every, launcher, lambda: stop.signal is not None, ended)
        except Stop:
            code = 128 + (stop.signal or 15)
            print(f"{PROG}: stopped; the same command goes on", file=sys.stderr)
            return code
        finally:
            if isinstance(launcher, Local):
                launcher.stop()
    print(write(item, rows, setup))
    if failed:
        print(
            f"{PROG}: {len(failed)} of {len(every)} jobs failed, see above; the same command tries again",
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
    if asked:
        return 0
    return refuse(PROG, ValueError(f"need a NAME: {', '.join(paper.names())}"))


def list_rows(rows: list[Plan], every: list[Job]) -> int:
    for plan in rows:
        print(f"{plan.label}: {plan.name if plan.runs else 'the paper alone'}")
    for job in every:
        words = " ".join([*job.words, "--out", str(job.folder)])
        print(f"{'done' if job.done else 'to do'}  python -m sgl_fast.{job.command} {words}")
    return 0
