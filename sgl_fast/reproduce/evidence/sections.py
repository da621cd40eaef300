"""The tables of the other experiments, each beside what random architectures show. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median, stdev
from typing import Any

from . import plan
from .plan import EXPERIMENTS, METHODS, Study
from .readings import Trained, all_look, all_trained, distinct, learners, tops
from .section import Section, summed, told
from .statistics import Contrast, Share, at_most, count_needed, least_difference

SMALL = 0.25  # points: a gain that papers report


def noise(study: Study) -> Section:
    """(a)"""
    marks = study.scale.marks
    found = Section(
        f"(a) {EXPERIMENTS['a']}",
        "Edges with noise in front, % of the ten of both cells: mean ± deviation over seeds, each the mean of its "
        "learners, after so many steps. p: chance of so few for random architectures, edges taken as independent, one "
        "learner a seed.",
        ["search", "seeds", *(f"{mark} steps" for mark in marks), f"p at {marks[-1]}"],
    )
    spread = 50 / math.sqrt(10)
    found.add("random architectures", ["", *([f"50 ± {spread:.0f}"] * len(marks)), ""])
    share = Share(frozenset({plan.made(True).ops("normal")[0].index("noise")}))
    for method, searches in plan.noise_searches(study).items():
        cells, p = [], ""
        for mark in marks:
            records = all_look(searches, mark)
            shares = [share([tops(r, k) for k in learners(r)]) for r in records]
            cells.append(told(shares, 0))
            edges = 10 * len(shares)
            chance = at_most(round(sum(shares) / 10), edges) if shares else math.nan
            p = f"{chance:.1g}" if shares else "-"
            found.numbers.append({"row": METHODS[method][0], "quantity": "noise, %", "step": mark, **summed(shares)})
            found.numbers[-1] |= {"null_mean": 50.0, "p": chance} if shares else {}
        found.add(METHODS[method][0], [str(len(all_look(searches, marks[-1]))), *cells, p])
    return found


def noise_cells(study: Study) -> Section:
    """(b)"""
    found = _contrasts(
        f"(b) {EXPERIMENTS['b']}",
        f"Cells after {study.scale.marks[-1]} steps of (a), the first learner's, each genotype once. "
        + _training(study, noise=True),
    )
    randoms = all_trained(study.random_cell(number, noise=True) for number in range(study.scale.noise_random))
    every = [search for searches in plan.noise_searches(study).values() for search in searches]
    searched = all_trained(study.cell_of(search, study.scale.marks[-1]) for search in every)
    _row(found, "random", randoms, None)
    _row(found, "searched, all of (a)", distinct(searched), randoms)
    noises = [sum(op == "noise" for op, _ in (*cell.genotype.normal, *cell.genotype.reduce)) for cell in searched]
    if noises:
        found.notes.append(
            f"{len(searched)} searches left {len(distinct(searched))} different cells, with noise in "
            f"{sum(noises)} of {8 * len(noises)} pairs; a random cell has it in half of them."
        )
    return found


def cells(study: Study) -> Section:
    """(d)"""
    scale = study.scale
    begin, end = scale.looks[0], scale.looks[-1]
    found = _contrasts(
        f"(d) {EXPERIMENTS['d']}",
        f"Cells of K = 1, first order, after {end} steps, and of the same searches after {begin}. "
        + _training(study, noise=False),
    )
    randoms = all_trained(study.random_cell(number) for number in range(scale.random))
    singles = plan.single_searches(study)
    late, early = (all_trained(study.cell_of(s, step) for s in singles) for step in (end, begin))
    _row(found, "random", randoms, None)
    _row(found, f"searched, {end} steps", late, randoms)
    _row(found, f"the same, {begin} steps", early, randoms)
    if contrast := Contrast.of(_means(late), _means(early)):
        found.notes.append(f"{end} steps against {begin}: {_points(contrast)}.")
    if len(late) > 1 and (deviation := stdev(_means(late))):
        found.notes.append(
            f"Searched cells deviate by {deviation:.2f} points. To tell two methods apart that differ by {SMALL} "
            f"points, each needs {count_needed(deviation, SMALL)} searches (5% error, 80% power)."
        )
    return found


def sweep(study: Study) -> Section:
    """(e)"""
    found = _contrasts(
        f"(e) {EXPERIMENTS['e']}",
        f"The best learner's cell after {study.scale.looks[-1]} steps, first order. " + _training(study, noise=False),
        "lambda = 1, K = 2",
    )
    points = {
        label: all_trained(study.cell_of(search, study.scale.looks[-1]) for search in searches)
        for label, searches in plan.sweeps(study).items()
    }
    first, *others = points
    base = points[first]
    _row(found, first, base, None)
    for label in others:
        _row(found, label, points[label], base)
    singles = _means(all_trained(study.cell_of(s, study.scale.looks[-1]) for s in plan.single_searches(study)))
    if len(base) > 1 and len(singles) > 1 and (deviation := stdev(singles)):
        least = least_difference(deviation, len(base), len(base))
        found.notes.append(
            f"With {len(base)} searches a point, which deviate as the {len(singles)} of K = 1 do, by {deviation:.2f} "
            f"points, a difference below {least:.1f} points is not found in 80% of cases; the deviations of so few, "
            "and t with them, say little. No row here says that one lambda, or one K, is better than another."
        )
    return found


def _contrasts(title: str, text: str, base: str = "random") -> Section:
    head = ["cells", "n", "test accuracy, %", "median", f"less {base}", "t", "P(better)"]
    return Section(title, text, head)


def _row(found: Section, label: str, ours: Sequence[Trained], others: Sequence[Trained] | None) -> None:
    """Of cells, each the mean over its initialisations."""
    values = _means(ours)
    contrast = Contrast.of(values, _means(others)) if others else None
    cells = [str(len(values)), told(values), f"{median(values):.2f}" if values else "-"]
    more: dict[str, Any] = {"quantity": "accuracy, %", **summed(values)}
    if contrast:
        cells += [f"{contrast.difference:+.2f} ± {contrast.error:.2f}"]
        cells += ["-" if contrast.t is None else f"{contrast.t:.1f}", f"{contrast.better:.2f}"]
        more |= {"difference": contrast.difference, "error": contrast.error, "t": contrast.t}
        more |= {"degrees": contrast.degrees, "better": contrast.better}
    found.add(label, cells if contrast else [*cells, "", "", ""], more)


def _points(contrast: Contrast) -> str:
    t = "" if contrast.t is None else f", t {contrast.t:.1f}"
    return f"{contrast.difference:+.2f} ± {contrast.error:.2f} points{t}, P(better) {contrast.better:.2f}"


def _training(study: Study, noise: bool) -> str:
    steps, times = study.scale.steps[noise], study.scale.initialisations[noise]
    return (
        f"Trained for {steps} steps, {times} initialisations each, on the same batches; n cells, mean ± deviation "
        "over cells, difference ± its standard error, t of Welch, P(better) of one cell of each."
    )


def _means(cells: Sequence[Trained]) -> list[float]:
    return [cell.mean for cell in cells]
