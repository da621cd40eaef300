"""How cells score without being trained, against supernets in which all other operations have weight 0."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from networks import whole_with
from test_stages import shaken, stages_of

from sgl_fast import search
from sgl_fast.data.seeds import seed_of
from sgl_fast.genotype.baseline import random_genotype
from sgl_fast.genotype.genotype import Genotype
from sgl_fast.genotype.score import alpha_score, spearman
from sgl_fast.ops import mixed_cell
from sgl_fast.run import discrete_scores as module
from sgl_fast.run.command import Stopped
from sgl_fast.run.discrete_scores import CELLS, IMAGES, discrete_scores
from sgl_fast.run.run_folder import plain
from sgl_fast.run.search_loop import probabilities_of
from sgl_fast.run.search_report import SCORES, cells
from sgl_fast.run.stages import Stages
from sgl_fast.spaces import KINDS

TINY = ["--data", "embedded", "--image-size", "16", "--channels", "4", "--layers", "1", "--nodes", "1"]
TINY += ["--batch-size", "4", "--limit", "12", "--epochs", "2", "--order", "1", "--quiet"]


def scores_of(stages: Stages, **more: Any) -> dict[str, list[Any]]:
    record = probabilities_of(stages.search)
    return discrete_scores(stages.search, stages.genotypes(), record, stages.feed.validation(50), **more)


def accuracy(stages: Stages, k: int, genotype: Genotype, most: int) -> float:
    """On the first images, in batches of 50, without a discrete network."""
    run, right, count = stages.search, 0.0, 0
    net = run.nets[k]
    betas = {kind: [0.0] * net.space.edges for kind in KINDS}
    if net.space.edge_norm:
        betas = {kind: getattr(run.arch, f"betas_{kind}")[k].tolist() for kind in KINDS}
    for x, y in stages.feed.validation(50):
        if count < most:
            logits = whole_with(net, genotype, betas, run.w[k : k + 1, : net.num_weights], x)[0]
            right, count = right + (logits.argmax(-1) == y).sum().item(), count + len(y)
    return right / count


@pytest.mark.parametrize("name", ["darts_minus", "pc_darts", "p_darts"])
def test_scores_are_those_of_the_supernets(name: str) -> None:
    """Of three learners in the midst of a search; in P-DARTS each has operations of its own."""
    stages = stages_of(name, limit=270, nodes=2)
    shaken(stages.search)
    if name == "p_darts":
        stages.next_stage()
        shaken(stages.search)
    found, run = scores_of(stages), stages.search
    record = plain(probabilities_of(run))
    for k, genotype in enumerate(stages.genotypes()):
        assert found["discrete_accuracy"][k] == pytest.approx(accuracy(stages, k, genotype, 270), abs=0.006)
        space = run.nets[k].space
        drawn = [random_genotype(seed=seed_of(run.config.seed, i), space=space) for i in range(CELLS)]
        accuracies = [accuracy(stages, k, one, IMAGES) for one in drawn]
        assert found["random_accuracy"][k] == pytest.approx(sum(accuracies) / CELLS, abs=0.003)
        want = spearman([alpha_score(space, one, record, k) for one in drawn], accuracies)
        assert found["rank_correlation"][k] == pytest.approx(want, abs=0.02)
    assert len({tuple(row) for row in found.values()}) == 3 and len(set(found["rank_correlation"])) == 3


def test_they_are_functions_of_the_search() -> None:
    stages = stages_of("s4")
    shaken(stages.search)
    assert scores_of(stages) == scores_of(stages)


@pytest.mark.parametrize("chosen", ["cpu", "cuda", "triton"])
def test_no_kernel_is_compiled_for_a_cell(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a GPU would be, for each: plain PyTorch computes there, and no fused cell is called."""
    stages = stages_of("darts")
    monkeypatch.setattr(module, "choose", lambda *args: chosen)
    monkeypatch.setattr(mixed_cell, "_FUSED", {})
    if chosen == "cpu":
        with pytest.raises(KeyError):
            scores_of(stages)
    else:
        assert len(scores_of(stages)["discrete_accuracy"]) == 3


def test_a_signal_ends_them() -> None:
    stages, asked = stages_of("darts"), []

    def second_time() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise Stopped(15)

    with pytest.raises(Stopped):
        scores_of(stages, before_each=second_time)


def test_where_all_cells_are_one_nothing_correlates() -> None:
    stages = stages_of("darts", ops="skip_connect")
    found = scores_of(stages)
    assert found["rank_correlation"] == [None] * 3
    assert found["random_accuracy"] == pytest.approx(found["discrete_accuracy"], abs=0.2)


def test_two_operations_of_one_source_have_no_accuracy() -> None:
    """As GDAS may choose; the other learners' scores stay as they are."""
    stages = stages_of("darts", nodes=1)
    genotypes = stages.genotypes()
    pairs = [("sep_conv_3x3", 1), ("max_pool_3x3", 1)]
    genotypes[1] = Genotype(pairs, genotypes[1].normal_concat, genotypes[1].reduce, genotypes[1].reduce_concat)
    record = probabilities_of(stages.search)
    found = discrete_scores(stages.search, genotypes, record, stages.feed.validation(50))
    want = scores_of(stages)
    want["discrete_accuracy"][1] = None
    assert found == want


def test_records_tables_and_report_have_them(tmp_path: Path) -> None:
    """From the epoch on in which the architecture moves."""
    out = tmp_path / "run"
    assert search.main([*TINY, "--space", "darts", "--arch-start", "1", "--log", "csv", "--out", str(out)]) == 0
    first, last = (json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()[2::3])
    assert not {*SCORES} & {*first} and {*SCORES} < {*last} and all(len(last[name]) == 2 for name in SCORES)
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert [float(rows[1][f"discrete_accuracy/{k}"]) for k in (0, 1)] == last["discrete_accuracy"]
    assert "Their cells, not trained" in (out / "report.html").read_text()
    table = cells({**last, "rank_correlation": [None, 0.25]})[0]
    assert [row[-1] for row in table.rows] == ["-", "0.25"] and table.rows[0][
        1
    ] == f"{last['discrete_accuracy'][0]:.2%}"
    assert cells(first) == []


def test_they_tell_a_cell_that_learned_from_random_ones() -> None:
    """With alphas that prefer what works, at weights that learned with them, both scores say so."""
    stages = stages_of("darts", ops="none,noise,sep_conv_3x3", limit=400, batch_size=16, learners=1, order=1, lr=0.1)
    run = stages.search
    for kind in KINDS:
        getattr(run.arch, f"alphas_{kind}")[:, :, 2] = 4.0
    for step in range(40):
        run.step(stages.feed.batch(step))
    found = scores_of(stages)
    assert found["discrete_accuracy"][0] > 1.3 * found["random_accuracy"][0] and found["rank_correlation"][0] > 0.5
