"""The experiments (a) to (e): which searches and cells each needs, as plain data. No torch.

Sizes are those at which searches were found to have a signal; the architecture moves from the first step on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...genotype.baseline import random_genotype
from ...genotype.genotype import Genotype
from ...spaces import Space, space
from ..jobs import Job
from ..plan import Words

EXPERIMENTS = {
    "a": "Operations of S4: noise or a separable convolution",
    "b": "Cells of S4, trained, against random ones",
    "c": "Seven operations: what searches drop, whether seeds agree, whether alphas rank cells",
    "d": "Searched cells, trained, against random ones",
    "e": "Lambda and the number of learners",
}
SEVEN = ["max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"]
NOISE, WHOLE = "s4", "darts"  # the two spaces
PIXELS, CELLS, NODES, BATCH, ARCH_LR = 16, 3, 2, 16, 0.003
# Words of `search`, by the name of the folder.
METHODS: dict[str, tuple[str, Words]] = {
    "k1-first": ("K = 1, first order", ("--learners", "1", "--order", "1")),
    "k1-second": ("K = 1, second order", ("--learners", "1")),
    "k2-released": ("SGL, as released (K = 2)", ("--algorithm", "released")),
    "k2-paper": ("SGL, as printed (K = 2)", ("--algorithm", "paper")),
    "k2-best": ("SGL, best (K = 2)", ("--algorithm", "best")),
}
SINGLE, GROUPS = "k1-first", ("k2-released", "k2-best")
LAMS, LEARNERS = (0.0, 0.1, 0.5, 1.0, 2.0, 3.0), (2, 3, 4)  # 2 learners are lam = 1, one learner is SINGLE
_SIZES = (
    f"--scale tiny --data embedded --image-size {PIXELS} --layers {CELLS} --batch-size {BATCH} --arch-start 0 "
    "--pretrain-epochs 0"
)
_RATES = f"--settings paper --lr 0.025 --arch-lr {ARCH_LR}"


@dataclass(frozen=True)
class Scale:
    """How much of it is run.

    channels      of searches and of cells' networks
    noise         methods of (a), and how many seeds; marks: steps at which it looks
    noise_random  cells of (b) that are random
    singles       seeds of K = 1 in (c) and (d); groups: of SGL in (c)
    looks         steps after which searches of (c), (d), (e) are looked at, their end the last; (d) also takes the
                  cells of the first
    images        that they have of each role; epochs: passes over them, which the learning rate is for
    random, scored  cells of (d) that are random, and how many of them (c) scores
    lams, learners, sweeps  points of (e), and seeds of each
    steps         of the training of a cell, of (b) the second; initialisations: as many
    """

    channels: int = 8
    noise: tuple[str, ...] = tuple(METHODS)
    noise_seeds: int = 3
    marks: tuple[int, ...] = (5, 10, 20, 40, 60)
    noise_random: int = 10
    singles: int = 24
    groups: int = 3
    looks: tuple[int, ...] = (40, 80, 160, 240, 320, 400)
    images: int = 2000
    epochs: int = 4
    random: int = 40
    scored: int = 30
    lams: tuple[float, ...] = LAMS
    learners: tuple[int, ...] = LEARNERS
    sweeps: int = 3
    steps: tuple[int, int] = (200, 120)
    initialisations: tuple[int, int] = (3, 2)


SCALES = {
    "laptop": Scale(),
    # (a) is itself, of one method; of the others only the path is run.
    "tiny": Scale(
        channels=4,
        noise=(SINGLE,),
        noise_seeds=2,
        marks=(5, 20, 60),
        noise_random=4,
        singles=3,
        groups=2,
        looks=(2, 4),
        images=32,
        epochs=2,
        random=4,
        scored=4,
        lams=(0.0, 1.0),
        learners=(2,),
        sweeps=2,
        steps=(4, 4),
        initialisations=(2, 2),
    ),
}


@dataclass(frozen=True)
class Study:
    """Which experiments, at which scale, in which folder."""

    out: Path
    scale: Scale
    only: tuple[str, ...] = tuple(EXPERIMENTS)

    def noise_search(self, method: str, seed: int) -> Job:
        steps = self.scale.marks[-1]
        own = ("--space", NOISE, "--limit", str(BATCH * steps), "--epochs", "1", *METHODS[method][1])
        marks = ",".join(map(str, self.scale.marks))
        words = ("--at", marks, *own, "--seed", str(seed), *self._sizes())
        return Job(self.out / "noise" / method / f"seed{seed}", "reproduce.evidence.trace", words)

    def search(self, name: str, method: Words, seed: int) -> Job:
        """name: of its folder, that of `METHODS` or of `points`; of the latter the best learner's cell is asked for"""
        images = ("--limit", str(self.scale.images), "--epochs", str(self.scale.epochs))
        looks = ("--at", ",".join(map(str, self.scale.looks)))
        chosen = () if name in METHODS else ("--validate",)
        words = (*looks, *chosen, *self._whole(), *images, *method, "--seed", str(seed), *self._sizes())
        return Job(self.out / "search" / name / f"seed{seed}", "reproduce.evidence.trace", words)

    def cell_of(self, search: Job, step: int) -> Job:
        """Of a search after so many steps."""
        noise = "noise" in search.folder.relative_to(self.out).parts
        folder = self.out / "cells" / search.folder.relative_to(self.out) / f"step{step}"
        return self._cell(folder, ("--cell", str(search.folder), "--step", str(step)), noise, search.folder)

    def random_cell(self, number: int, noise: bool = False) -> Job:
        genotype = random_genotype(seed=number, space=made(noise))
        folder = self.out / "cells" / f"random-{NOISE if noise else WHOLE}" / str(number)
        return self._cell(folder, ("--cell", genotype.to_json()), noise)

    def cell_of_one(self, op: str) -> Job:
        """All of one operation, from sources that every such cell shares."""
        pairs = [(op, source) for source in (0, 1, 1, 2)]
        genotype = Genotype(pairs, (2, 3), pairs, (2, 3))
        return self._cell(self.out / "cells" / "alone" / op, ("--cell", genotype.to_json()), False)

    def points(self) -> Iterator[tuple[str, str, Words]]:
        """Of (e): label, name of the folder, words; the first one is also that of two learners."""
        for lam in sorted(self.scale.lams, key=lambda lam: lam != 1):
            yield f"lambda = {lam:g}, K = 2", f"lam-{lam:g}", ("--order", "1", "--lam", str(lam))
        for K in self.scale.learners:
            if K != 2:
                yield f"lambda = 1, K = {K}", f"learners-{K}", ("--order", "1", "--learners", str(K))

    def _cell(self, folder: Path, source: Words, noise: bool, needs: Path | None = None) -> Job:
        steps, times = self.scale.steps[noise], self.scale.initialisations[noise]
        own = ("--steps", str(steps), "--initialisations", str(times))
        words = (*source, *own, *(("--space", NOISE) if noise else self._whole()), *self._sizes())
        return Job(folder, "reproduce.evidence.cell", words, needs)

    def _whole(self) -> Words:
        return ("--space", WHOLE, "--ops", ",".join(SEVEN))

    def _sizes(self) -> Words:
        own = ("--channels", str(self.scale.channels), "--nodes", str(NODES))
        return (*_SIZES.split(), *own, *_RATES.split())


def made(noise: bool) -> Space:
    """The space, as far as genotypes and scores of cells need it."""
    return space(NOISE, nodes=NODES) if noise else space(WHOLE, nodes=NODES, ops=SEVEN)


def jobs(study: Study) -> list[Job]:
    """All that the experiments need, each once, in their order, but searches of several learners that are not of (a)
    and (b), the dear ones, at the end; of sweeps seed by seed, so that each point gets one.
    """
    found: dict[Path, Job] = {}
    for name in study.only:
        for job in _NEEDS[name](study):
            found.setdefault(job.folder, job)
    single = study.out / "search" / SINGLE

    def dear(job: Job) -> bool:
        search = job.needs or job.folder
        return search.is_relative_to(study.out / "search") and not search.is_relative_to(single)

    return sorted(found.values(), key=dear)


def noise_searches(study: Study) -> dict[str, list[Job]]:
    seeds = range(1, study.scale.noise_seeds + 1)
    return {method: [study.noise_search(method, seed) for seed in seeds] for method in study.scale.noise}


def single_searches(study: Study, seeds: int | None = None) -> list[Job]:
    seeds = study.scale.singles if seeds is None else seeds
    return [study.search(SINGLE, METHODS[SINGLE][1], seed) for seed in range(1, seeds + 1)]


def group_searches(study: Study) -> dict[str, list[Job]]:
    seeds = range(1, study.scale.groups + 1)
    return {method: [study.search(method, METHODS[method][1], seed) for seed in seeds] for method in GROUPS}


def sweeps(study: Study) -> dict[str, list[Job]]:
    """Searches of each point of (e), by its label; the first two are K = 2 and K = 1."""
    seeds = range(1, study.scale.sweeps + 1)
    points = {label: [study.search(name, words, seed) for seed in seeds] for label, name, words in study.points()}
    first = next(iter(points))
    return {first: points.pop(first), "K = 1": single_searches(study, study.scale.sweeps), **points}


def _a(study: Study) -> Iterator[Job]:
    for searches in noise_searches(study).values():
        yield from searches


def _b(study: Study) -> Iterator[Job]:
    for search in _a(study):
        yield from (search, study.cell_of(search, study.scale.marks[-1]))
    yield from (study.random_cell(number, noise=True) for number in range(study.scale.noise_random))


def _c(study: Study) -> Iterator[Job]:
    yield from (study.cell_of_one(op) for op in SEVEN)
    yield from single_searches(study)
    yield from (study.random_cell(number) for number in range(study.scale.scored))
    for searches in group_searches(study).values():
        yield from searches


def _d(study: Study) -> Iterator[Job]:
    for search in single_searches(study):
        yield from (search, study.cell_of(search, study.scale.looks[-1]), study.cell_of(search, study.scale.looks[0]))
    yield from (study.random_cell(number) for number in range(study.scale.random))


def _e(study: Study) -> Iterator[Job]:
    points = sweeps(study)
    for seed in range(study.scale.sweeps):
        for searches in points.values():
            yield from (searches[seed], study.cell_of(searches[seed], study.scale.looks[-1]))


_NEEDS = dict(zip(EXPERIMENTS, (_a, _b, _c, _d, _e), strict=True))
