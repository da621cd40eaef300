"""What is run for each row of an item of the paper: a search, or a genotype, and its network's training. No torch.

A published row whose network is known is trained by that genotype. Rows of SGL, and single learners that the authors
ran again, are searched. Tables 2 to 4 get rows of their own: every single learner (K = 1) and random architectures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .paper import Item, Row

Words = tuple[str, ...]
# What SGL is applied to, and single learners: the space, and words of `search`.
METHODS: dict[str, tuple[str, Words]] = {
    "DARTS-1st": ("darts", ("--order", "1")),
    "DARTS-2nd": ("darts", ("--order", "2")),
    "DARTS-": ("darts_minus", ()),
    "P-DARTS": ("p_darts", ()),
    "PC-DARTS": ("pc_darts", ()),
}
# The recipe of a space's network on CIFAR; the paper prints batches of 96 for all (section 4.2).
RECIPES = {"darts_minus": "darts"}  # others have one of their own name
HELD_OUT = 5000  # of figures 3 and 4
SIZES = {"cifar": "3.3,3.7", "imagenet": "4.9,5.4"}  # of random architectures: those of most of the tables' networks
BASELINES = ("table2", "table3", "table4")
RANDOM = "random"


@dataclass(frozen=True)
class Plan:
    """label: as the table shows it; row: the paper's, None for a row that it has not

    search    words of `search` but for data, seed and scale, None where `genotype` says what is trained
    searched  the data set of the search; data: that of the error
    budget    of a random genotype: least and most parameters, in millions, "" for any
    recipe    of the training
    """

    label: str
    row: Row | None
    data: str
    search: Words | None = None
    searched: str = ""
    genotype: str = ""
    budget: str = ""
    recipe: str = "darts"
    held_out: bool = False

    @property
    def runs(self) -> bool:
        """Whether anything is; else the paper's numbers stand alone."""
        return self.search is not None or bool(self.genotype)

    @property
    def name(self) -> str:
        """Of its folder: equal for rows, of any item, that run the same."""
        if self.search is None:
            return _slug(self.genotype, *([self.budget] if self.budget else []), self.data)
        return _slug(*self.search, self.searched, *(["held-out"] if self.held_out else []))


def plans(item: Item) -> list[Plan]:
    """A plan for each row, in the paper's order, and for the baselines that it lacks."""
    found = [_of_row(row, item) for row in item.rows]
    if item.name not in BASELINES:
        return found
    data = item.rows[0].data
    searched = "cifar10" if data == "imagenet" else data
    have = {plan.name for plan in found}
    for method in METHODS:
        single = _searched(f"{method}, single learner", None, method, data, searched, learners=1)
        if single.name not in have:
            found.append(single)
    recipe, sizes = _recipe("darts", data), SIZES["imagenet" if data == "imagenet" else "cifar"]
    free = Plan("random architectures", None, data, genotype=RANDOM, recipe=recipe)
    label = f"random architectures of {sizes.replace(',', ' to ')} M parameters"
    return [*found, free, Plan(label, None, data, genotype=RANDOM, budget=sizes, recipe=recipe)]


def chosen(every: Sequence[Plan], pattern: str | None) -> list[Plan]:
    """Those with a label that the regular expression finds, whatever its case. ValueError where there is none."""
    try:
        found = [plan for plan in every if pattern is None or re.search(pattern, plan.label, re.IGNORECASE)]
    except re.error as error:
        raise ValueError(f"--rows: {pattern!r} is no regular expression ({error})") from None
    if not found:
        raise ValueError(f"--rows: no row matches {pattern!r}; there are {'; '.join(plan.label for plan in every)}")
    return found


def _of_row(row: Row, item: Item) -> Plan:
    figure = item.name.startswith("figure")
    if row.is_sgl:
        learners = 2 if row.learners is None else int(row.learners.mean)
        more = ["--ablation", row.ablation] if row.ablation else []
        if row.lam is not None:
            more += ["--lam", str(row.lam)]
        searched = row.searched_on or row.data
        return _searched(_label(row, item), row, row.base, row.data, searched, learners, more, held_out=figure)
    if row.genotype:
        return Plan(row.label, row, row.data, genotype=row.genotype, recipe=_recipe(_space(row.method), row.data))
    if row.mark == "run" and row.method in METHODS:
        return _searched(row.label, row, row.method, row.data, row.searched_on or row.data, learners=1)
    return Plan(row.label, row, row.data)


def _searched(
    label: str,
    row: Row | None,
    method: str,
    data: str,
    searched: str,
    learners: int,
    more: Sequence[str] = (),
    held_out: bool = False,
) -> Plan:
    space, words = METHODS[method]
    if searched == "imagenet":
        space = f"{space}_imagenet"
    words = ("--space", space, *words, "--learners", str(learners), *more)
    recipe = _recipe(METHODS[method][0], data)
    return Plan(label, row, data, words, searched, recipe=recipe, held_out=held_out)


def _label(row: Row, item: Item) -> str:
    """With the point, of a figure, whose rows are called the same."""
    names = {"lam": ("lam", row.lam), "learners": ("K", row.learners)}
    points = [f"{names[c.name][0]} = {names[c.name][1]}" for c in item.columns if c.name in names]
    return ", ".join([row.label, *points, *([row.data] if points else [])])


def _space(method: str) -> str:
    return METHODS[method][0] if method in METHODS else "darts"


def _recipe(space: str, data: str) -> str:
    """SGL's paper trains all on ImageNet as PC-DARTS does."""
    return "pc_darts_imagenet" if data == "imagenet" else RECIPES.get(space, space)


def _slug(*parts: str) -> str:
    return re.sub(r"[^\w.]+", "-", "-".join(part.lstrip("-") for part in parts)).strip("-").removeprefix("space-")
