"""Searches and trainings of a reproduction: command lines, each with a folder of its own that resumes by itself."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from ..files import write_text_atomic
from .plan import HELD_OUT, RANDOM, Plan, Words

DONE, LOG, SEARCH = "done", "log.txt", "search"
SCALES = ("tiny", "paper")
_SMALL = "--scale tiny --data embedded --channels 4 --layers 3 --epochs 1"
TINY_SEARCH = tuple(f"{_SMALL} --nodes 2 --limit 32 --batch-size 8 --arch-start 0 --skip-dropout 0".split())
TINY_TRAINING = tuple(f"{_SMALL} --limit 64 --batch-size 16".split())
TINY_HELD_OUT = 100
BATCH = 96  # of trainings on CIFAR (section 4.2)


@dataclass(frozen=True)
class Setup:
    """scale: of `SCALES`; algorithm: of searches; seeds: of searches; retrainings: of each search's network

    more   words for every search and training: where data lie, the device
    """

    out: Path
    scale: str
    algorithm: str
    seeds: tuple[int, ...]
    retrainings: int
    more: Words = ()


@dataclass(frozen=True)
class Job:
    """command: a module of the package with a `main`, such as search or evaluate; words: its options; needs: the folder
    of the job before, None for none
    """

    folder: Path
    command: str
    words: Words
    needs: Path | None = None

    @property
    def done(self) -> bool:
        return (self.folder / DONE).exists()


def folder_of(plan: Plan, seed: int, setup: Setup) -> Path:
    """Of a search and the trainings of its network."""
    return setup.out / plan.name / f"seed{seed}"


def training_folders(plan: Plan, seed: int, setup: Setup) -> list[Path]:
    above = folder_of(plan, seed, setup)
    return [above / f"{plan.data}-training{number}" for number in range(1, setup.retrainings + 1)]


def jobs(plans: Iterable[Plan], setup: Setup) -> list[Job]:
    """All that the plans need, each once, searches before their trainings."""
    found: dict[Path, Job] = {}
    for plan in plans:
        for seed in setup.seeds if plan.runs else ():
            for job in _of_seed(plan, seed, setup):
                found.setdefault(job.folder, job)
    return list(found.values())


def _of_seed(plan: Plan, seed: int, setup: Setup) -> list[Job]:
    found, search = [], None
    source = ("--genotype", plan.genotype)
    if plan.search is not None:
        search = folder_of(plan, seed, setup) / SEARCH
        own = ("--algorithm", setup.algorithm, "--seed", str(seed), *_search_scale(plan, setup.scale))
        found.append(Job(search, "search", (*plan.search, *own, *setup.more)))
        source = ("--genotype", str(search))
    if plan.genotype == RANDOM:
        source = ("--genotype", f"{RANDOM}:{seed}", *(("--budget", plan.budget) if plan.budget else ()))
    for number, folder in enumerate(training_folders(plan, seed, setup)):
        own = ("--recipe", plan.recipe, "--seed", str(100 * seed + number), *_training_scale(plan, setup.scale))
        found.append(Job(folder, "evaluate", (*source, *own, *setup.more), search))
    return found


def _search_scale(plan: Plan, scale: str) -> Words:
    if scale == "paper":
        return ("--scale", "paper", "--data", plan.searched, *_held_out(plan, HELD_OUT))
    return (*TINY_SEARCH, *_tiny_images(plan.searched), *_held_out(plan, TINY_HELD_OUT))


def _training_scale(plan: Plan, scale: str) -> Words:
    if scale == "tiny":
        return (*TINY_TRAINING, *_tiny_images(plan.data), *_held_out(plan, TINY_HELD_OUT))
    form = ("--imagenet",) if plan.data == "imagenet" else ("--batch-size", str(BATCH))
    return ("--scale", "paper", "--data", plan.data, *form, *_held_out(plan, HELD_OUT))


def _tiny_images(data: str) -> Words:
    return ("--image-size", "32" if data == "imagenet" else "16")  # ImageNet's stem halves three times


def _held_out(plan: Plan, count: int) -> Words:
    return ("--held-out", str(count)) if plan.held_out else ()


def run(command: str, words: Sequence[str], folder: str) -> tuple[int, float]:
    """One job, in this process: its exit code, and seconds. What it prints goes to log.txt."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    begin, core = time.monotonic(), time.process_time()
    arguments = [*words, "--out", folder, "--resume", "auto", "--quiet"]
    with (path / LOG).open("a") as log, redirect_stdout(log), redirect_stderr(log):
        print(f"{command} {' '.join(arguments)}")
        try:
            code = import_module(f"{__package__.partition('.')[0]}.{command}").main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 2
    if code == 0:
        write_text_atomic(path / DONE, json.dumps({"core_seconds": time.process_time() - core}))
    return code, time.monotonic() - begin


def last_line(folder: Path) -> str:
    """Of what a job printed."""
    try:
        lines = (folder / LOG).read_text(errors="replace").split(os.linesep)
    except OSError:
        return "it left no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
