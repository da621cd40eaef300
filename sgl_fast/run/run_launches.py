"""What a search launches of Triton's kernels from its first step to its last, found on a CPU without running any."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import torch

from ..data import Dataset
from ..kernels.ahead import Launch, caught
from ..sgl.search import Search
from .stages import Stages
from .validate import curvature, validate

ALIKE = 16  # images: what kernels are specialised for knows a number of them by its rest


def launches_of_run(settings: dict[str, Any], dataset: Dataset, arch: int) -> Counter[Launch]:
    """Of a step of every kind, a validation and a curvature in every stage.

    settings, dataset   of `Stages`
    arch                70 for sm_70
    What stages after the first one keep is not known before: they are those of architectures that did not move, and
    rows of weights of any length.
    """
    few = {"batch_size": few_alike(settings["batch_size"]), "memory": None}
    stages = Stages({**settings, **few}, dataset, "cpu", graph=False)
    with caught(arch) as found:
        for _ in range(stages.count - 1):
            _stage(stages)
            stages.next_stage()
        _stage(stages)
    if stages.count > 1:
        found.update(map(_of_other_length, list(found)))
    return found


def few_alike(images: int) -> int:
    """The least number of images, of two times ALIKE, for which the same kernels are compiled."""
    return images if images < 2 * ALIKE else ALIKE + images % ALIKE


def _of_other_length(launch: Launch) -> Launch:
    """The same where the length P of rows is no multiple of 16, or is one."""
    names = [name for name, _ in launch.signature]
    if "P" not in names:
        return launch
    place = (names.index("P"),)
    others = [one for one in launch.aligned if one != place]
    return launch._replace(aligned=tuple(others if place in launch.aligned else sorted([*others, place])))


def _stage(stages: Stages) -> None:
    search, feed = stages.search, stages.feed
    for number in _epochs(search):
        before = search.snapshot()
        search.steps = number * search.config.steps_per_epoch
        with suppress(FloatingPointError):  # what was not computed is no number
            search.step(feed.batch(search.steps))
        before()
    x, y = feed.labeled("val", 0)
    if feed.learners is not None:
        x, y = x[0], y[0]
    validate(search, [(x, y)])
    if search.relaxation.curvature:
        with suppress(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
            curvature(search, x, y)


def _epochs(search: Search) -> list[int]:
    """One of each kind."""
    kinds = {search.epoch_of(n * search.config.steps_per_epoch): n for n in range(search.config.total_epochs)}
    return list(kinds.values())
