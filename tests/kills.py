"""python tests/kills.py --kills 200: runs that are killed at random moments and resumed, beside ones that are not.

Every case is a tiny search, of every space, algorithm and stage, or a tiny retraining. Its processes are killed, again
and again, by SIGKILL or by a signal that saves: some milliseconds after a step, at any time after the start, or while a
file is being written. Each one goes on with --resume until the run is done: a search on a number of threads of
--threads, a retraining, which has torch's own convolutions, on the first of them. Then its folder equals that of a run
that nobody killed, to the byte, the checkpoint's tensors to the bit. --seed repeats what is drawn. Exit code 0: all are
equal. tests/run/test_kills.py runs it with few kills.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from states import differences

from sgl_fast import evaluate, search
from sgl_fast.run import search_loop  # noqa: F401  (loaded once, before processes fork)

TINY = ["--channels", "4", "--layers", "1", "--nodes", "1", "--batch-size", "4", "--limit", "12", "--epochs", "3"]
RETRAIN = ["--channels", "2", "--layers", "2", "--batch-size", "8", "--limit", "12", "--epochs", "3"]
RETRAIN += ["--drop-path", "0.4"]
CASES: dict[str, tuple[Callable[[list[str]], int], list[str]]] = {
    "pc_darts": (search.main, ["--space", "pc_darts", "--order", "2", *TINY]),
    "p_darts": (search.main, ["--space", "p_darts", "--order", "2", *TINY, "--epochs", "1", "--limit", "8"]),
    "retraining": (evaluate.main, ["--genotype", "DARTS_V2", *RETRAIN]),
    "darts": (search.main, ["--space", "darts", "--batches", "own", *TINY]),
    "darts_minus": (search.main, ["--space", "darts_minus", *TINY]),
    "released": (search.main, ["--algorithm", "released", *TINY]),
    "paper": (search.main, ["--algorithm", "paper", "--space", "darts", *TINY]),
    "separate": (search.main, ["--ablation", "separate", "--space", "darts_minus", *TINY, "--epochs", "2"]),
    "p_darts released": (search.main, ["--space", "p_darts", "--algorithm", "released", *TINY, "--limit", "8"]),
}
KILLERS = [signal.SIGKILL] * 3 + [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT]
PATIENCE = 120.0  # seconds for a process that does nothing


def start(case: str, out: Path, threads: int) -> int:
    """A process of the run in that folder, new or resumed; forked, since importing torch takes longer than the run."""
    main, arguments = CASES[case]
    if (child := os.fork()) != 0:
        return child
    code = 70
    try:  # nothing of the child gets out of here
        torch.set_num_threads(threads)
        with (out.parent / f"{out.name}.log").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        mode = ["--resume"] if (out / "config.json").exists() else ["--data", "embedded", *arguments]
        code = main([*mode, "--quiet", "--out", str(out)])
    except KeyboardInterrupt:  # before the loop asks for signals, or after it
        code = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(child: int) -> int | None:
    """Its exit code, negative for a signal; None while it runs."""
    found, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def wait(child: int, until: Callable[[], bool]) -> int | None:
    """The exit code, if the process ends before the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not until():
        if (code := ended(child)) is not None:
            return code
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            raise TimeoutError(f"process {child} does nothing")
        time.sleep(0.0005)
    return None


def moment(out: Path, draw: random.Random) -> Callable[[], bool]:
    """When the next kill is due."""
    metrics = out / "metrics.jsonl"
    kind, delay = draw.choice(["step", "time", "write"]), draw.uniform(0, 0.15)

    def size() -> int:
        return metrics.stat().st_size if metrics.exists() else 0

    before, seen = size(), 0.0
    if kind == "time":
        due = time.monotonic() + 10 * delay
        return lambda: time.monotonic() > due
    if kind == "write":
        return lambda: any(out.glob(".*.tmp"))

    def after_a_step() -> bool:
        nonlocal seen
        if not seen and size() != before:
            seen = time.monotonic()
        return bool(seen) and time.monotonic() > seen + delay

    return after_a_step


def killed(case: str, out: Path, draw: random.Random, threads: list[int], most: int) -> Counter[str]:
    """A run to its end, killed at most so many times; how often, by signal. RuntimeError where a process fails."""
    kills: Counter[str] = Counter()
    while True:
        child = start(case, out, draw.choice(threads) if (out / "config.json").exists() else threads[0])
        number, due = draw.choice(KILLERS), moment(out, draw)
        code = wait(child, due if kills.total() < most else lambda: False)
        if code is None:
            os.kill(child, number)
            code = wait(child, lambda: False)
        if code == 0:
            return kills
        if code not in (-number, 128 + number):
            raise RuntimeError(f"{case}: exit code {code}; {out}.log ends: {tail(out)}")
        kills[number.name] += 1


def tail(out: Path) -> str:
    return (out.parent / f"{out.name}.log").read_text()[-2000:]


def main() -> int:
    p = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    p.add_argument("--kills", type=int, default=200)
    p.add_argument("--cases", type=int, default=len(CASES), help="only so many of the first cases")
    p.add_argument("--threads", type=int, nargs="+", default=[1, 2, 3], help="processes choose among these")
    p.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = p.parse_args()
    draw, kills, runs, wrong = random.Random(args.seed), Counter[str](), 0, 0
    torch.set_num_threads(1)  # a process forked after two threads have computed waits for the other one for ever
    print(f"seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        root, cases = Path(folder), list(CASES)[: args.cases]
        for i, case in enumerate(cases):
            whole = root / case
            killed(case, whole, draw, args.threads[:1], 0)
            quota = kills.total() + -(-(args.kills - kills.total()) // (len(cases) - i))
            while kills.total() < quota:
                runs += 1
                out = root / f"{case} {runs}"
                threads = args.threads[:1] if case == "retraining" else args.threads
                kills += killed(case, out, draw, threads, quota - kills.total())
                different = differences(whole, out)
                wrong += bool(different)
                print(f"{case}: {kills.total()} kills; {', '.join(different) or 'equal'}", flush=True)
    print(f"{kills.total()} kills ({dict(kills)}), {runs} runs, {wrong} differ from those that were not killed")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
