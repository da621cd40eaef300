"""The tables of experiment (c), each row beside what random architectures show. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, stdev

from ...genotype.score import spearman
from ..jobs import Job
from .plan import EXPERIMENTS, METHODS, SEVEN, SINGLE, Study, group_searches, single_searches
from .readings import Record, Trained, all_look, all_trained, learners, scores, tops
from .section import Section, summed, told
from .statistics import DRAWS, Null, Share, Tops, agreement, null_of_groups, random_scores


def seven(study: Study) -> list[Section]:
    """(c): operations alone, what searches drop, how seeds agree; and how alphas rank cells."""
    alone = {op: all_trained([study.cell_of_one(op)]) for op in SEVEN}
    worst = sorted((op for op in SEVEN if alone[op]), key=lambda op: alone[op][0].mean)[:2]
    known = all(alone.values())
    by_chance, worst_ones = "as many random ones (95%)", "Edges with one of the two worst operations in front"
    dropped = _steps(study, f"{worst_ones}, % of the ten of both cells.", by_chance)
    agreed = _steps(study, "Edges, of ten, on which two seeds agree, mean over all pairs.", by_chance)
    share = Share(frozenset(SEVEN.index(op) for op in worst))
    for label, searches in _searches(study):
        if known:
            _line(dropped, study, label, searches, share, True)
        _line(agreed, study, label, searches, agreement, False)
    return [_alone(alone, worst), *([dropped] if known else []), agreed, _scores(study)]


def _alone(cells: dict[str, list[Trained]], worst: Sequence[str]) -> Section:
    """cells: of each operation its cell, where that is trained; worst: two of them, fewer as long as no two are"""
    found = Section(
        f"(c) {EXPERIMENTS['c']}",
        "Test accuracy, %, of networks of one operation alone, mean ± deviation over initialisations; no search has "
        "to do with it. The two worst are those that a search should drop.",
        ["operation", "alone"],
    )
    for op, trained in cells.items():
        values = trained[0].accuracies if trained else ()
        label = f"{op} (one of the two worst)" if op in worst and len(worst) == 2 else op
        found.add(label, [told(values)], {"quantity": "alone, %", **summed(values)})
    return found


def _scores(study: Study) -> Section:
    """Rank correlation of alpha scores with accuracies."""
    found = _steps(
        study,
        f"Spearman correlation, over {study.scale.scored} random cells, of their score by the alphas of a search "
        "(`genotype.score.alpha_score`) with their test accuracy: each learner by itself, mean ± deviation over "
        "seeds; then of the mean score over all searches.",
    )
    cells = all_trained(study.random_cell(number) for number in range(study.scale.scored))
    if len(cells) < study.scale.scored:
        return found
    genotypes, accuracies = [cell.genotype for cell in cells], [cell.mean for cell in cells]

    def rho(scores: Sequence[float]) -> float:
        return spearman(scores, accuracies) or 0.0

    null = Null(tuple(sorted(map(rho, random_scores(len(cells))))))
    for label, searches in _searches(study):
        single, together = dict[int, list[float]](), dict[int, float]()
        for step in study.scale.looks:
            every = [[scores(r, k, genotypes) for k in learners(r)] for r in all_look(searches, step)]
            single[step] = [fmean(map(rho, one)) for one in every]
            if every:
                together[step] = rho([fmean(column) for column in zip(*(s for one in every for s in one), strict=True)])
        _ranks(found, label, single, together, null)
    found.notes.append(
        f"{DRAWS} random architectures: mean {null.mean:.2f}, deviation {null.deviation:.2f}; 95% are below "
        f"{null.quantile(0.95):.2f}, 99% below {null.quantile(0.99):.2f}. p of the mean score: share that reach it; of "
        "single searches: share of means of as many. Where all seeds share a bias that has nothing to do "
        "with accuracy, all of them are one draw, and the first p is the one that counts."
    )
    return found


def _ranks(found: Section, label: str, single: dict[int, list[float]], together: dict[int, float], null: Null) -> None:
    """Two rows, and their numbers.

    single     by steps, the correlation of each search; together: that of the mean score of all of them
    """
    for step, values in single.items():
        found.numbers.append({"row": label, "quantity": "rho, one search", "step": step, **summed(values)})
        if step in together:
            more = {"mean": together[step], "n": len(values), "null_mean": null.mean, "p": null.reaches(together[step])}
            found.numbers.append({"row": label, "quantity": "rho, mean score", "step": step, **more})
    end = list(single.values())[-1]
    p = f"{null.mean_reaches(fmean(end), len(end)):.2g}" if end else "-"
    found.rows.append([label, str(len(end)), *map(told, single.values()), p])
    shown = [f"{together[step]:.2f}" if step in together else "-" for step in single]
    p = f"{null.reaches(together[list(single)[-1]]):.2g}" if end else "-"
    found.rows.append([f"{label}: mean score", str(len(end)), *shown, p])


def _steps(study: Study, text: str, *more: str) -> Section:
    head = ["search", "seeds", *(f"{step} steps" for step in study.scale.looks), *more, "p at the end"]
    return Section("", text, head)


def _searches(study: Study) -> Iterator[tuple[str, list[Job]]]:
    yield METHODS[SINGLE][0], single_searches(study)
    for method, searches in group_searches(study).items():
        yield METHODS[method][0], searches


def _line(
    found: Section,
    study: Study,
    label: str,
    searches: list[Job],
    number: Callable[[Sequence[Tops]], float],
    low: bool,
) -> None:
    """A row: a number of a group of searches, beside what groups of as many random architectures show.

    number   of the operations that are ahead, a row a search
    low      whether little of it says that a search found something; else much of it does
    """
    shown, chance, p = list[str](), "-", "-"
    for step in study.scale.looks:
        records = all_look(searches, step)
        groups = [[tops(r, k) for r in records if k in learners(r)] for k in _learners(records)]
        if not groups or len(groups[0]) < 2:
            shown.append("-")
            continue
        value, null = fmean(number(group) for group in groups), null_of_groups(number, len(groups[0]))
        each = [fmean(number([t]) for t in one) for one in zip(*groups, strict=True)]
        spread = [] if math.isnan(each[0]) else [stdev(each)]
        shown.append(f"{value:.1f}" + "".join(f" ± {one:.1f}" for one in spread))
        chance = f"{null.mean:.1f} ({null.quantile(0.025):.1f} to {null.quantile(0.975):.1f})"
        reached = null.falls_to(value) if low else null.reaches(value)
        p = f"{reached:.2g}"
        more = {"step": step, "mean": value, "deviation": spread[0] if spread else None, "n": len(records)}
        found.numbers.append({"row": label, "quantity": found.text.split(",")[0], **more})
        found.numbers[-1] |= {"null_mean": null.mean, "p": reached}
    seeds = str(len(all_look(searches, study.scale.looks[-1])))
    found.rows.append([label, seeds, *shown, chance, p])


def _learners(records: Sequence[Record]) -> range:
    return learners(records[0]) if records else range(0)
