"""The evidence: its jobs, its statistics against plain counting, and the tables of a short run."""

from __future__ import annotations

import csv
import json
import math
from importlib import import_module
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev, variance
from typing import Any

import pytest
from killed import kill

from sgl_fast.genotype.genotype import Genotype
from sgl_fast.reproduce import main
from sgl_fast.reproduce.evidence import cell, trace
from sgl_fast.reproduce.evidence.about import about
from sgl_fast.reproduce.evidence.plan import EXPERIMENTS, SCALES, SEVEN, Study, jobs, made
from sgl_fast.reproduce.evidence.readings import Trained, distinct, tops
from sgl_fast.reproduce.evidence.settings import parsed
from sgl_fast.reproduce.evidence.statistics import (
    Contrast,
    Null,
    Share,
    agreement,
    at_most,
    count_needed,
    least_difference,
    null_of_groups,
    random_scores,
    random_tops,
)
from sgl_fast.reproduce.jobs import Job

ROOT = Path(__file__).parents[2]
SMALL = ["--scale", "tiny", "--data", "embedded", "--image-size", "16", "--channels", "4", "--layers", "3"]
SMALL += ["--nodes", "2", "--batch-size", "8"]
DEAR_LAST = ("search", "k2-best"), ("cells", "random-darts"), ("search", "k1-first")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """(a) short, and the path of (b)."""
    folder = tmp_path_factory.mktemp("evidence")
    assert main(["evidence", "--scale", "tiny", "--only", "a,b", "--out", str(folder)]) == 0
    return folder


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def records_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def searched(job: Job) -> dict[str, Any]:
    """The settings of its search, as its command reads them."""
    own = import_module(f"sgl_fast.{job.command}").options()
    return parsed(own, [*job.words, "--out", str(job.folder)])[1]


def test_a_search_drops_noise(out: Path) -> None:
    """(a) short: after 60 steps fewer edges have noise in front than of one in a thousand random architectures."""
    rows = {int(row["step"]): row for row in rows_of(out / "evidence.csv") if row["quantity"] == "noise, %"}
    assert float(rows[5]["mean"]) > 20 and float(rows[60]["mean"]) <= 10 and float(rows[60]["p"]) < 1e-3
    for step, row in rows.items():
        shares = []
        for seed in (1, 2):
            record = next(r for r in records_of(out / f"noise/k1-first/seed{seed}") if r["step"] == step)
            edges = [edge for kind in ("normal", "reduce") for edge in record[f"alphas_{kind}"][0]]
            shares.append(100 * mean(noise > other for noise, other in edges))
        assert float(row["mean"]) == pytest.approx(mean(shares)) and row["n"] == "2" and row["null_mean"] == "50.0"
        assert float(row["deviation"]) == pytest.approx(stdev(shares))
    text = (out / "evidence.md").read_text()
    assert "| K = 1, first order | 2 |" in text and "(a) alone means something" in text


def test_cells_beside_random_ones(out: Path) -> None:
    rows = {row["row"]: row for row in rows_of(out / "evidence.csv") if row["experiment"] == "b"}
    found = {}
    for label, pattern in (("random", "random-s4/*"), ("searched, all of (a)", "noise/*/*/*")):
        results = [json.loads((p / "result.json").read_text()) for p in sorted((out / "cells").glob(pattern))]
        different = {json.dumps(r["genotype"]): 100 * mean(r["test_accuracy"]) for r in results}
        assert all(len(r["test_accuracy"]) == 2 for r in results)
        found[label] = list(different.values())
        assert rows[label]["n"] == str(len(different))
        assert float(rows[label]["mean"]) == pytest.approx(mean(found[label]))
    assert float(rows["searched, all of (a)"]["difference"]) == pytest.approx(
        mean(found[label]) - mean(found["random"])
    )


def test_every_experiment_writes_its_tables(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With nothing done but (a) and (b), and once more with all of it."""
    from sgl_fast.reproduce.evidence.page import write

    study = Study(out, SCALES["tiny"])
    every = jobs(study)
    left = [job for job in every if not job.done]
    text = write(study, every)
    assert f"**{len(left)} of {len(every)} jobs are not done" in text and "| - | - |" in text
    assert all(f"## ({name}) {title}" in text for name, title in EXPERIMENTS.items())
    assert main(["evidence", "--scale", "tiny", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert f"{len(left)} to do" in said.err and "not done" not in said.out
    assert (out / "evidence.md").read_text().strip() == said.out.strip()
    assert said.out.startswith("# Whether searches find anything\n") and "for 4 steps on 32 images" in said.out
    rows = rows_of(out / "evidence.csv")
    assert {row["experiment"] for row in rows} == set(EXPERIMENTS)
    assert {row["quantity"] for row in rows} >= {"alone, %", "rho, one search", "rho, mean score", "accuracy, %"}
    assert all(row["mean"] for row in rows)


def test_killed_and_started_again_it_gives_the_same_table(out: Path, tmp_path: Path) -> None:
    words = ["evidence", "--scale", "tiny", "--only", "a", "--out"]
    kill([*words, str(tmp_path)], tmp_path, ["log.txt", "log.txt", "metrics.jsonl"])
    for place in (tmp_path, out):
        assert main([*words, str(place)]) == 0
    tables = [(place / "evidence.csv").read_text() for place in (tmp_path, out)]
    assert tables[0] == tables[1] and len(rows_of(tmp_path / "evidence.csv")) == 3


@pytest.mark.parametrize("scale", SCALES)
def test_every_job_has_settings_that_its_command_takes(scale: str) -> None:
    every = jobs(Study(Path("/out"), SCALES[scale]))
    folders = {job.folder for job in every}
    assert len(folders) == len(every) and all(job.needs is None or job.needs in folders for job in every)
    for job in every:
        settings = searched(job)
        assert settings["image_size"] == 16 and settings["config"]["arch_lr"] == 3e-3 and settings["nodes"] == 2
        assert job.command in ("reproduce.evidence.trace", "reproduce.evidence.cell")
        assert settings["space"] == ("s4" if "s4" in str(job.folder) or "noise" in str(job.folder) else "darts")


def test_the_laptop_runs_what_was_planned() -> None:
    study = Study(Path("/out"), SCALES["laptop"])
    counts = {}
    for name in EXPERIMENTS:
        every = jobs(Study(study.out, study.scale, (name,)))
        counts[name] = [sum(job.command.endswith(end) for job in every) for end in ("trace", "cell")]
    assert counts == {
        "a": [5 * 3, 0],
        "b": [5 * 3, 5 * 3 + 10],
        "c": [24 + 2 * 3, 7 + 30],
        "d": [24, 2 * 24 + 40],
        "e": [9 * 3, 9 * 3],
    }
    searches = [job for job in jobs(study) if job.folder.is_relative_to(study.out / "search")]
    seeds = {job.folder.parent.name: set[str]() for job in searches}
    for job in searches:
        seeds[job.folder.parent.name].add(job.words[job.words.index("--seed") + 1])
        assert ("--validate" in job.words) == job.folder.parent.name.startswith(("lam-", "learners-"))
        settings = searched(job)
        assert settings["limit"] == 2000 and settings["batch_size"] == 16
        assert 400 <= settings["config"]["epochs"] * 2000 // 16 < 400 + 2000 // 16, "no more epochs than its steps need"
    order = [job.folder.relative_to(study.out).parts[:2] for job in jobs(study)]
    dear, random, single = (order.index((above, name)) for above, name in DEAR_LAST)
    assert dear > random > single
    assert len(seeds["k1-first"]) == 24 and seeds["lam-0.5"] == {"1", "2", "3"}


def test_the_page_in_the_docs_says_what_the_command_does() -> None:
    """Its method is told as the command tells it, and its tables are of these jobs."""
    lines = (ROOT / "docs/evidence.md").read_text().splitlines()
    study = Study(Path("/out"), SCALES["laptop"])
    assert [line for line in lines if line in about(study)] == about(study)
    looks = " | ".join(f"{step} steps" for step in study.scale.looks)
    assert any(line.startswith(f"| search | seeds | {looks} |") for line in lines)


def test_contrasts_are_those_of_welch() -> None:
    ours, others = [5.0, 6.0, 7.5, 6.5], [4.0, 6.0, 5.5, 1.0, 3.0]
    found = Contrast.of(ours, others)
    assert found is not None
    parts = [variance(ours) / 4, variance(others) / 5]
    assert found.difference == pytest.approx(mean(ours) - mean(others)) and found.error == pytest.approx(
        sum(parts) ** 0.5
    )
    assert found.t == pytest.approx(found.difference / sum(parts) ** 0.5)
    assert found.degrees == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 4))
    assert found.better == pytest.approx((3 + 4.5 + 5 + 5) / 20)
    assert Contrast.of([1.0], others) is None and Contrast.of([1.0, 1.0], [1.0, 1.0]) == Contrast(
        0.0, 0.0, None, None, 0.5
    )


def test_power() -> None:
    """The numbers of any table of it: a difference of half a deviation takes 63 a side."""
    assert count_needed(2.0, 1.0) == 63 and least_difference(2.0, 63, 63) == pytest.approx(1.0, abs=0.005)
    assert at_most(0, 10) == 1 / 1024 and at_most(10, 10) == 1 and at_most(1, 2) == 0.75


def test_agreement_and_shares_are_counted() -> None:
    every = random_tops(12)
    pairs = [sum(x == y for x, y in zip(a, b, strict=True)) for a, b in combinations(every, 2)]
    assert agreement(every) == pytest.approx(mean(pairs)) and math.isnan(agreement(every[:1]))
    assert Share(frozenset({1, 2}))([(0, 1, 2, 3), (1, 1, 1, 4)]) == pytest.approx(100 * 5 / 8)
    by_chance, dropped = null_of_groups(agreement, 10), null_of_groups(Share(frozenset({1, 2})), 10)
    assert by_chance.mean == pytest.approx(10 / 7, abs=0.1) and dropped.mean == pytest.approx(200 / 7, abs=1.5)
    record = {"alphas_normal": [[[0.1, 0.9], [0.6, 0.4]]], "alphas_reduce": [[[0.5, 0.4]]]}
    assert tops(record, 0) == (1, 0, 0)


def test_a_null_counts_itself() -> None:
    null = Null(tuple(float(i) for i in range(100)))
    assert null.reaches(99) == 2 / 101 and null.falls_to(-1) == 1 / 101 and null.quantile(0.95) == 95
    assert null.mean_reaches(49.5, 4) == pytest.approx(0.5, abs=0.05) and null.mean_reaches(95, 4) < 0.01


def test_random_architectures_have_no_preference() -> None:
    every = random_scores(6)
    assert len(every) == 400 and len(every[0]) == 6
    for column in zip(*every, strict=True):  # eight centred normal numbers, some of the same edges
        assert abs(mean(column)) < 5 * stdev(column) / 20 and 2 < stdev(column) < 3.5


def test_equal_cells_are_one() -> None:
    pairs = [("skip_connect", 0), ("skip_connect", 1)] * 2
    one, other = (Genotype(cell, [2, 3], pairs, [2, 3]) for cell in (pairs, [("noise", 0), *pairs[1:]]))
    assert len(distinct([Trained(one, (1.0,)), Trained(other, (2.0,)), Trained(one, (3.0,))])) == 2
    assert {op for g in (one,) for op, _ in g.normal} <= {*SEVEN} and made(True).ops("normal")[0][0] == "noise"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "a,x"], "--only: need some of a, b, c, d, e; got 'x'"),
        (["--scale", "paper"], "--scale: need one of laptop, tiny; got 'paper'"),
        (["--seeds", "1"], "--seeds: evidence has its own; got '1'"),
        (["--device", "cuda"], "--device: evidence runs on cpu; got 'cuda'"),
        (["--workers", "0"], "--workers: need a number of at least 1; got 0"),
        (["--launcher", "ray"], "--launcher: need one of local, slurm; got 'ray'"),
    ],
)
def test_bad_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["evidence", *words, "--out", str(tmp_path / "x")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and message in said and not (tmp_path / "x").exists()
    assert main(["table2", "--only", "a", "--out", str(tmp_path / "x")]) == 2
    assert "--only: it is of evidence; --rows chooses those of a table" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("run", "words", "message"),
    [
        (trace, ["--at", "5"], "--out: need a folder"),
        (trace, ["--at", "9", "--limit", "64", "--epochs", "1"], "--at: the search has 8 steps; got 9"),
        (cell, ["--cell", "{}"], "need a genotype with the keys normal"),
        (cell, ["--cell", "no/run", "--step", "3"], "--step: no genotype of step 3 in no/run"),
    ],
)
def test_bad_jobs(run: Any, words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = ["--out", str(tmp_path / "x")] if "--out: need" not in message else []
    assert run.main([*words, *SMALL, *place]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and message in said and not (tmp_path / "x").exists()


def test_a_trace_is_the_search(tmp_path: Path) -> None:
    """At the ends of epochs it has the records of `sgl_fast.search` of the same words; and a cell is the best learner's
    where the search was validated, else the first's.
    """
    from sgl_fast import search

    words = [*SMALL, "--space", "darts", "--limit", "24", "--epochs", "2", "--order", "1", "--seed", "4"]
    words += ["--arch-start", "0", "--pretrain-epochs", "0", "--learners", "3"]
    for name, more in (("trace", []), ("validated", ["--validate"])):
        assert trace.main(["--at", "2,3,6", *more, *words, "--out", str(tmp_path / name)]) == 0
    assert search.main([*words, "--quiet", "--figures", "none", "--out", str(tmp_path / "search")]) == 0
    theirs = {r["step"]: r for r in records_of(tmp_path / "search")}
    ours, chosen = ({r["step"]: r for r in records_of(tmp_path / name)} for name in ("trace", "validated"))
    assert list(ours) == list(chosen) == [2, 3, 6]
    for step in (3, 6):
        for name in ("alphas_normal", "alphas_reduce", "genotypes"):
            assert ours[step][name] == chosen[step][name] == theirs[step][name], (step, name)
    for name in ("validation_loss", "validation_accuracy", "best_learner"):
        assert chosen[6][name] == theirs[6][name] and name not in ours[6] and name not in chosen[3]
    best, genotypes = chosen[6]["best_learner"], theirs[6]["genotypes"]
    assert best != 0 and genotypes[best] != genotypes[0], "or the two cells could not be told apart"
    for name, learner in (("trace", 0), ("validated", best), ("search", best)):
        assert cell.genotype_of(str(tmp_path / name), 6) == Genotype(**genotypes[learner])
