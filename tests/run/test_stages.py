"""Stages of a run and the end of an epoch, against what they should be, learner by learner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sgl_fast.data.seeds import seed_of
from sgl_fast.genotype.genotype import derive
from sgl_fast.reference.layers import RunningStats
from sgl_fast.run.progress import Progress
from sgl_fast.run.run_folder import RunFolder
from sgl_fast.run.search_loop import finish_epoch
from sgl_fast.run.search_settings import settings_of
from sgl_fast.run.stages import Stages
from sgl_fast.run.validate import validate
from sgl_fast.search import open_data
from sgl_fast.sgl.search import Search
from sgl_fast.spaces import KINDS, PRIMITIVES

K, TINY = 3, {"data": "embedded", "channels": 4, "layers": 1, "nodes": 1, "batch_size": 4, "limit": 130, "learners": 3}


def stages_of(name: str, **changes: Any) -> Stages:
    settings = settings_of({**TINY, "space": name, **changes}, "cpu")
    return Stages(settings, open_data(settings), "cpu")


def shaken(search: Search) -> None:
    """Weights, statistics and architectures of a search in its midst: every learner has its own."""
    draw = torch.Generator().manual_seed(5)

    def noise(t: Tensor) -> Tensor:
        return torch.randn(t.shape, generator=draw)

    search.w = search.w + 0.3 * noise(search.w)
    search.running = RunningStats(0.5 * noise(search.running.mean), 1 + noise(search.running.var).abs())
    search.architect.arch = search.arch.map(noise)


def test_stages_of_p_darts_drop_three_operations_and_then_two() -> None:
    stages = stages_of("p_darts", epochs=2)
    assert (stages.count, stages.settings["layers"], stages.stage_steps) == (3, [1, 2, 3], 2 * 32)
    ops = [{kind: [list(PRIMITIVES)] * 2 for kind in KINDS}] * K
    for stage, (drop, rate) in enumerate([(0, 0.1), (3, 0.4), (2, 0.7)]):
        if stage:
            arch = stages.search.arch
            for k in range(K):
                ops[k] = {kind: without(ops[k][kind], getattr(arch, f"alphas_{kind}")[k], drop) for kind in KINDS}
            stages.search.steps = stages.stage_steps - 1
            assert not stages.stage_ended
            stages.search.steps += 1
            assert stages.stage_ended
            stages.next_stage()
        search = stages.search
        assert [{kind: [list(e) for e in net.space.ops(kind)] for kind in KINDS} for net in search.nets] == ops
        assert search.config.skip_dropout == rate and {len(net.sections.cells) for net in search.nets} == {stage + 1}
        assert (stages.step, stages.epoch, stages.stage_ended) == (stage * 64, stage * 2, False)
        shaken(search)
    search.steps = stages.stage_steps
    assert not stages.stage_ended and stages.step == stages.steps


def without(edges: list[list[str]], alphas: Tensor, drop: int) -> list[list[str]]:
    """Each edge's ops but the `drop` of least alpha."""
    left = []
    for ops, row in zip(edges, alphas.tolist(), strict=True):
        gone = sorted(row)[:drop]
        left.append([op for op, alpha in zip(ops, row, strict=True) if alpha not in gone])
    return left


def test_every_stage_begins_anew_with_a_seed_of_its_own() -> None:
    stages = stages_of("p_darts")
    seen: dict[str, list[Any]] = {"stem": [], "alphas": [], "dropout": []}
    for stage in range(3):
        if stage:
            stages.next_stage()
        search = stages.search
        assert search.config.seed == (seed_of(0, stage) if stage else 0)
        assert not (search.momentum_w.any() or search.momentum_v.any() or search.architect.steps.any())
        seen["stem"] += [row[:6].tolist() for row in (*search.w, *search.v)]
        seen["alphas"] += [row[:3].tolist() for row in (*search.arch.flat(), *search.architect_v.arch.flat())]
        seeds = search.next_inputs().seeds
        assert seeds is not None
        seen["dropout"] += seeds.tolist()
        shaken(search)
    for values in seen.values():
        assert not any(a == b for i, a in enumerate(values) for b in values[:i])


def validated(search: Search, batches: list[tuple[Tensor, Tensor]], beta: float) -> tuple[list[float], list[float]]:
    """Mean loss and accuracy over all images of each learner, alone and one batch at a time."""
    losses, accuracies = [], []
    for k, net in enumerate(search.nets):
        w = search.w[k : k + 1, : net.num_weights]
        running = RunningStats(*(t[k : k + 1, : net.num_statistics] for t in (search.running.mean, search.running.var)))
        each = []
        for x, y in batches:
            logits = net(w, search.arch.rows([k]), x, training=False, running=running, skip_beta=beta)[0]
            each += [(F.cross_entropy(z, t).item(), float(z.argmax() == t)) for z, t in zip(logits, y, strict=True)]
        losses.append(sum(loss for loss, _ in each) / len(each))
        accuracies.append(sum(right for _, right in each) / len(each))
    return losses, accuracies


@pytest.mark.parametrize("name", ["darts_minus", "p_darts", "pc_darts"])
def test_validation_is_every_learner_over_every_image(name: str) -> None:
    """In evaluation mode, with the beta that the weights were trained with; batches of different sizes."""
    stages = stages_of(name, epochs=3)
    if name == "p_darts":
        shaken(stages.search)
        stages.next_stage()
    search = stages.search
    shaken(search)
    search.steps = 2 * stages.feed.steps_per_epoch  # the second epoch of three is over
    kept = search.running.mean.clone()
    x, y = next(iter(stages.feed.validation(9)))
    batches = [(x[:5], y[:5]), (x[5:6], y[5:6]), (x[6:], y[6:])]
    losses, accuracies = validated(search, batches, 2 / 3)
    got = validate(search, batches)
    assert got["validation_loss"] == pytest.approx(losses, rel=1e-5)
    assert got["validation_accuracy"] == pytest.approx(accuracies) and torch.equal(search.running.mean, kept)


def test_the_best_learner_is_the_one_of_least_loss(tmp_path: Path) -> None:
    """Over all validation images; its genotype is written."""
    stages = stages_of("darts")
    search = stages.search
    shaken(search)
    search.steps = stages.feed.steps_per_epoch
    search.architect.steps += 1  # it has moved
    losses, _ = validated(search, list(stages.feed.validation(7)), 1.0)
    best = min(range(K), key=losses.__getitem__)
    with RunFolder.create(tmp_path / "run") as run:
        record = finish_epoch(run, stages, Progress(1, 1, 1, 0, quiet=True))
    assert record["validation_loss"] == pytest.approx(losses, rel=1e-5) and record["best_learner"] == best
    want = [json.loads(derive(search.space, search.arch, k).to_json()) for k in range(K)]
    assert all(a != b for i, a in enumerate(want) for b in want[:i])
    assert json.loads((tmp_path / "run" / "genotype.json").read_text()) == want
    assert json.loads((tmp_path / "run" / "best.json").read_text()) == want[best]


def test_learners_may_draw_their_own_images() -> None:
    """Learner 0 those that all share otherwise; what resumes goes on with the same."""
    shared, own = stages_of("darts"), stages_of("darts", batches="own")
    a, b = shared.feed.batch(1), own.feed.batch(1)
    assert a.learners is None and b.learners == K
    assert torch.equal(a.x_train, b.x_train[0]) and torch.equal(a.x_unlabeled, b.x_unlabeled)
    assert not torch.equal(b.x_train[1], b.x_train[0]) and not torch.equal(b.x_val[1], b.x_val[2])
    own.search.step(b)
    resumed = stages_of("darts", batches="own")
    resumed.load_state_dict(own.state_dict())
    for stages in (own, resumed):
        stages.search.step(stages.feed.batch(stages.step))
    assert torch.equal(own.search.w, resumed.search.w)
