"""2 x 2 processes (gloo), which share learners and images, step as one process does on the joined batch.

The one process is a reference written here: it takes the batch in two halves, each with batch statistics of its own, as
the processes do (and DataParallel does), joins what is of single images and averages what is a mean. No collective, no
code of the processes has a part in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import batch, small, space_of
from test_ranks import ROOT, free_port, off
from torch import Tensor

from sgl_fast.data.loader import Feed
from sgl_fast.reference.layers import RunningStats
from sgl_fast.sgl import ranks
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.passes import Gradients, Linearized, Passes
from sgl_fast.sgl.ranks import parts_of
from sgl_fast.sgl.search import Search
from sgl_fast.sgl.virtual_learners import VirtualLearners
from sgl_fast.spaces.arch import Arch

D = 2
SETTINGS: dict[str, dict[str, Any]] = {
    "pc_darts": {"method": "frozen"},
    "pc_darts_drnas": {"method": "frozen", "relaxation": "drnas"},
    "darts": {"method": "finite_difference", "r": 0.1},
    "p_darts": {"skip_dropout": 0.4, "order": 1, "pretrain_epochs": 1, "arch_start": 1},
}
PROGRAM = """
import sys
import torch
sys.path.insert(0, "tests")
from networks import batch, small, space_of
from sgl_fast.data.batch import Batch
from sgl_fast.sgl import processes, ranks
from sgl_fast.sgl.search import Search
from test_parts import SETTINGS, config_of

out = sys.argv[1]
with processes.joined("cpu"):
    assert ranks.share(2, 4, None, "cpu") is None
    place = ranks.grid()
    assert (place.learners, place.parts) == (2, 2)
    for name in SETTINGS:
        search, records = Search(small(space_of(name), channels=8), config_of(name)), []
        for step in range(3):
            whole, mine = batch(step), slice(2 * place.part, 2 * place.part + 2)
            record = search.step(Batch(*(getattr(whole, f)[mine] for f in Batch.__dataclass_fields__)))
            records.append(dict(record))
        torch.save({"tensors": search.tensors(), "records": records}, f"{out}/{name}{torch.distributed.get_rank()}.pt")
"""


def config_of(name: str) -> Config:
    common = {"learners": 2, "arch_start": 0, "steps_per_epoch": 1}
    return replace(Config.preset(space_of(name)), **{**common, **SETTINGS[name]})


def parts(t: Tensor, axis: int) -> list[Tensor]:
    return list(t.chunk(D, axis))


def mean(tensors: Any) -> Tensor:
    return torch.stack(list(tensors)).mean(0)


def mean_arch(archs: list[Arch]) -> Arch:
    return archs[0].unflatten([mean(column) for column in zip(*(a.tensors() for a in archs), strict=True)])


class PassesInHalves(Passes):
    """Every pass half by half; patterns are those of both halves."""

    def halves(self, rows: VirtualLearners) -> list[VirtualLearners]:
        return [
            replace(
                rows,
                images=parts(rows.images, rows.images.dim() - 4)[d],
                targets=None if rows.targets is None else parts(rows.targets, 1)[d],
                patterns=None if rows.patterns is None else [both[d] for both in rows.patterns],  # type: ignore[index]
                seeds=None if rows.seeds is None else rows.seeds + d,
            )
            for d in range(D)
        ]

    def gradients(self, rows: VirtualLearners, *args: Any, running: Any = None, **kwargs: Any) -> Gradients:
        stats = [None if running is None else RunningStats(running.mean.clone(), running.var.clone()) for _ in range(D)]
        given = zip(self.halves(rows), stats, strict=True)
        found = [Passes.gradients(self, half, *args, running=s, **kwargs) for half, s in given]
        if running is not None:
            running.mean.copy_(mean(s.mean for s in stats if s is not None))
            running.var.copy_(mean(s.var for s in stats if s is not None))
        whole = torch.cat([f.log_probs for f in found], 1)
        patterns: Any = list(zip(*(f.patterns for f in found), strict=True))
        averages = mean(f.loss for f in found), whole, mean(f.weights for f in found)
        return Gradients(*averages, mean_arch([f.arch for f in found]), patterns)

    def linearize(self, rows: VirtualLearners, grad: bool = True) -> Linearized:
        found: Any = [Passes.linearize(self, half, grad) for half in self.halves(rows)]
        return Linearized(torch.cat([f.logits for f in found], 1), rows.learners, [], found)

    def vjp(self, linearized: Linearized, cotangent: Tensor) -> tuple[Tensor, Arch]:
        """The cotangent is that of a mean over all images: the halves' products are its terms."""
        given = zip(linearized.graphs, parts(cotangent, 1), strict=True)
        found = [Passes.vjp(self, half, part) for half, part in given]  # type: ignore[arg-type]
        summed = mean_arch([f[1] for f in found]).scaled(D)
        return D * mean(f[0] for f in found), summed


class SearchInHalves(Search):
    def passes(self, *args: Any) -> Passes:
        made = super().passes(*args)
        made.__class__ = PassesInHalves
        return made


@pytest.fixture(scope="module")
def by_four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where four processes left their states."""
    tmp_path = tmp_path_factory.mktemp("parts")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "4"]
    command += ["--master-port", str(free_port())]
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{ROOT / 'tests/sgl'}"}
    done = subprocess.run(
        [*command, str(program), str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return tmp_path


@pytest.mark.parametrize("name", SETTINGS)
def test_two_by_two_processes_are_as_one(name: str, by_four: Path) -> None:
    """State and records of every process: both orders, running statistics, dropout by part, draws by learner."""
    one = SearchInHalves(small(space_of(name), channels=8), config_of(name))
    records = [dict(one.step(batch(step))) for step in range(3)]
    for rank in range(4):
        got = torch.load(by_four / f"{name}{rank}.pt")
        assert max(off(a, b) for a, b in zip(got["tensors"], one.tensors(), strict=True)) < 1e-5
        for mine, want in zip(got["records"], records, strict=True):
            assert mine.keys() == want.keys()
            for key, value in want.items():
                if key not in ("forwards", "backwards"):
                    assert mine[key] == pytest.approx(value, rel=1e-4, abs=1e-7), key


@pytest.mark.parametrize("learners", [None, 2])
def test_the_parts_of_a_feed_are_its_batch(learners: int | None) -> None:
    """Of every role, images, labels and augmentation, whether images are in memory or decoded."""
    from sgl_fast.data import open_dataset

    data = open_dataset("embedded", None, None, None, 0)
    whole = Feed(data, 12, seed=3, limit=30, learners=learners).batch(4)
    found = [Feed(data, 12, seed=3, limit=30, learners=learners, part=(d, 3)).batch(4) for d in range(3)]
    for name in ("x_train", "y_train", "x_unlabeled", "x_val", "y_val"):
        images_of = 0 if learners is None or name == "x_unlabeled" else 1
        assert torch.equal(torch.cat([getattr(b, name) for b in found], images_of), getattr(whole, name))


def test_how_many_processes_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {(1, 2): 1, (2, 2): 1, (4, 2): 2, (3, 2): 3, (8, 3): 4, (6, 2): 3, (2, 1): 2}
    assert {(R, K): parts_of(R, K, 24, None) for R, K in asked} == asked
    assert parts_of(4, 2, 24, 4) == 4
    monkeypatch.setattr(ranks, "count", lambda: 4)
    idle = "processes 2 to 3 of 4 have nothing to do: 2 learners x 1 parts of a batch (see --data-parallel)"
    assert ranks.share(2, 24, 1, "cpu") == idle and ranks.share(4, 24, None, "cpu") is None
    with pytest.raises(ValueError, match="--data-parallel: need a divisor of the 4 processes; got 3"):
        parts_of(4, 2, 24, 3)
    with pytest.raises(ValueError, match=r"--batch-size: need a batch that 4 processes share evenly .*; got 10"):
        parts_of(4, 1, 10, None)
