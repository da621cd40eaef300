"""Searches and trainings of a reproduction: command lines, each with a folder of its own that resumes by itself."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..files import write_text_atomic
from .plan import HELD_OUT, RANDOM, Plan, Words

DONE, LOG, SEARCH = "done", "log.txt", "search"
SCALES = ("tiny", "paper")
_SMALL = "--scale tiny --data embedded --channels 4 --layers 3 --epochs 1"
TINY_SEARCH = tuple(f"{_SMALL} --nodes 2 --limit 32 --batch-size 8 --arch-start 0 --skip-dropout 0".split())
TINY_TRAINING = tuple(f"{_SMALL} --limit 64 --batch-size 16".split())
TINY_HELD_OUT = 100
BATCH = 96  # of trainings on CIFAR (section 4.2)
PLACES = ("--device", "--root")  # may be others when a reproduction goes on


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

    @property
    def identity(self) -> list[str]:
        """Command and words, but for those of `PLACES`; the folder before as seen from its own: both may be moved."""
        words = [self.command, *without(self.words, PLACES)]
        return [os.path.relpath(word, self.folder) if word == str(self.needs) else word for word in words]

    def check(self) -> None:
        """ValueError where its folder has what other words did."""
        if self.done and (there := _record(self.folder)["words"]) != self.identity:
            theirs, ours = _first_unlike(there, self.identity)
            raise ValueError(
                f"--out: {self.folder} was done by other options, {theirs!r} in place of {ours!r}: need another folder"
            )


def without(words: Words, flags: Words) -> list[str]:
    """The words of a command but for these flags, each with the value after it."""
    left = list(words)
    for flag in flags:
        while flag in left:
            place = left.index(flag)
            del left[place : place + 2]
    return left


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


def run(job: Job) -> tuple[int, float]:
    """It, in this process: its exit code, and seconds. What it prints goes to log.txt."""
    job.folder.mkdir(parents=True, exist_ok=True)
    begin, core = time.monotonic(), time.process_time()
    arguments = [*job.words, "--out", str(job.folder), "--resume", "auto", "--quiet"]
    with (job.folder / LOG).open("a") as log, redirect_stdout(log), redirect_stderr(log):
        print(f"{job.command} {' '.join(arguments)}")
        try:
            code = import_module(f"{__package__.partition('.')[0]}.{job.command}").main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 2
    if code == 0:
        record = {"core_seconds": time.process_time() - core, "words": job.identity}
        write_text_atomic(job.folder / DONE, json.dumps(record) + "\n")
    return code, time.monotonic() - begin


def core_seconds(jobs: Iterable[Job]) -> float:
    """Processor time of those that are done, as their processes counted it, stops left out."""
    return sum(float(_record(job.folder)["core_seconds"]) for job in jobs if job.done)


def last_line(folder: Path) -> str:
    """Of what a job printed."""
    try:
        lines = (folder / LOG).read_text(errors="replace").split(os.linesep)
    except OSError:
        return "it left no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def _record(folder: Path) -> dict[str, Any]:
    """Of a job that is done: core_seconds, and words, its identity. ValueError where it cannot be read."""
    try:
        found: dict[str, Any] = json.loads((folder / DONE).read_text())
        return {name: found[name] for name in ("core_seconds", "words")}
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{folder / DONE}: need the record of a job; without the file the job runs again") from None


def _first_unlike(one: list[str], other: list[str]) -> tuple[str, str]:
    """The first word of each that the other has not in its place, with the word before."""
    place = next(i for i in range(len(one) + len(other)) if one[: i + 1] != other[: i + 1])
    first, second = (shlex.join(words[max(0, place - 1) : place + 1]) for words in (one, other))
    return first, second
