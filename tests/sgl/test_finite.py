"""Numbers that are not finite: nothing takes them over, whatever they are in, and what was good stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import batch, small
from tape import Tape

from sgl_fast import evaluate, search
from sgl_fast.data import Feed
from sgl_fast.data.batch import ROLES, Batch
from sgl_fast.reference.layers import RunningStats
from sgl_fast.run import checkpoint
from sgl_fast.run.retrain import Retraining
from sgl_fast.run.retrain_loop import LOOK_EVERY
from sgl_fast.sgl.arch_adam import ArchAdam
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.record import LARGEST, Record, Report
from sgl_fast.sgl.search import Search
from sgl_fast.spaces.arch import init_arch

INF, NAN = float("inf"), float("nan")
TINY = ["--data", "embedded", "--channels", "4", "--layers", "1", "--nodes", "1", "--batch-size", "4", "--limit", "12"]
TINY += ["--epochs", "2", "--order", "2", "--arch-start", "0", "--quiet"]
RETRAIN = ["--genotype", "DARTS_V2", "--data", "embedded", "--channels", "2", "--layers", "2", "--epochs", "2"]
RETRAIN += ["--batch-size", "8", "--limit", "12", "--quiet"]


class Taped(Search):
    recorder = Tape


def huge(images: str) -> Callable[[Search, Batch], None]:
    return lambda s, b: getattr(b, images).fill_(1e30)


def steep(s: Search, b: Batch) -> None:
    s.config = replace(s.config, lr=1e38)
    s.momentum_w = s.momentum_w + 10


def large_moment(s: Search, b: Batch) -> None:
    """The second moment overflows, and nothing else: the architecture then stands still."""
    s.config = replace(s.config, arch_weight_decay=1e25)


CASES: dict[str, tuple[Callable[[Search, Batch], None], str]] = {
    "training images": (huge("x_train"), "new running_var of learner 0 is inf"),
    "unlabelled images": (huge("x_unlabeled"), "size of x_unlabeled of learner 0 is inf"),
    "validation images": (huge("x_val"), "size of x_val of learner 0 is inf"),
    "weights": (steep, r"\w+ of learner \d is (inf|nan)"),
    "moments": (large_moment, r"new architect of learner 0 is inf"),
}


@pytest.mark.parametrize("graph", [False, True], ids=["launched", "graph"])
@pytest.mark.parametrize("case", CASES)
def test_a_step_to_a_state_that_is_not_finite_changes_nothing(case: str, graph: bool) -> None:
    change, message = CASES[case]
    config = Config.preset("pc_darts", arch_start=0, steps_per_epoch=100)
    s = Taped(small("pc_darts", channels=8), config, graph=graph)
    for step in range(3):
        s.step(batch(step))
    bad = batch(3)
    change(s, bad)
    s.synchronize()
    before = [t.clone() for t in s.tensors()]
    with pytest.raises(FloatingPointError, match=f"step 3: {message}"):
        for b in (bad, bad):  # of a graph, the first of a kind is launched
            s.step(b)
            s.synchronize()
    assert s.steps == 3 and all(torch.equal(a, b) for a, b in zip(before, s.tensors(), strict=True))


def state_of(space: str = "pc_darts") -> dict[str, Any]:
    weights = {name: torch.ones(2, 7) for name in ("w", "v", "momentum_w", "momentum_v")}
    architects = {name: ArchAdam(init_arch(small(space).space, 2)) for name in ("architect", "architect_v")}
    return {**weights, **architects, "running": RunningStats(torch.ones(2, 3), torch.ones(2, 3))}


def parts_of(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    running, a, b = (state[name] for name in ("running", "architect", "architect_v"))
    tensors = {name: t for name, t in state.items() if isinstance(t, torch.Tensor)}
    tensors |= {"running_mean": running.mean, "running_var": running.var}
    for name, architect in (("architect", a), ("architect_v", b)):
        tensors |= {f"{name} {i}": t for i, t in enumerate([*architect.arch.tensors(), *architect.moments])}
    return tensors


@pytest.mark.parametrize("bad", [INF, -INF, NAN])
def test_every_part_of_the_new_state_is_looked_at(bad: float) -> None:
    """One number anywhere; the largest float32 numbers themselves are finite, though their sum is not."""
    numbers, images = {"train_loss": torch.ones(2)}, batch(0)
    for part in parts_of(state_of()):
        state = state_of()
        tensor = parts_of(state)[part]
        tensor.fill_(torch.finfo(torch.float32).max)
        report = Report.of(numbers, {}, {"forwards": 1}).with_state(state, images)
        assert report.finite() and dict(Record(report, 0).read()) == {"train_loss": [1.0, 1.0], "forwards": 1}
        tensor.flatten()[-1] = bad
        report = Report.of(numbers, {}, {}).with_state(state, images)
        assert not report.finite()
        with pytest.raises(FloatingPointError, match=f"step 4: new {part.split()[0]} of learner 1 is (inf|nan)"):
            Record(report, 4).read()


def test_images_of_one_learner_are_looked_at() -> None:
    for role in ROLES:
        images = batch(0)
        x = torch.stack([images.images(role)] * 2)
        setattr(images, f"x_{role}", x)
        x[1, 0, 0, 0, 0] = -0.9 * LARGEST
        report = Report.of({"train_loss": torch.ones(2)}, {}, {})
        assert report.with_state(state_of(), images).finite()
        x[1, 0, 0, 0, 0] = -1.1 * LARGEST
        with pytest.raises(FloatingPointError, match=f"step 0: size of x_{role} of learner 1 is inf"):
            Record(report.with_state(state_of(), images), 0).read()


@pytest.mark.parametrize("name", ["train_loss", "grad_norm_w"])
def test_losses_and_norms_are_looked_at(name: str) -> None:
    losses, norms = {"train_loss": torch.ones(2)}, {"grad_norm_w": torch.ones(2)}
    {**losses, **norms}[name][1] = INF
    report = Report.of(losses, norms, {})
    assert not report.finite()
    with pytest.raises(FloatingPointError, match=f"step 0: {name} of learner 1 is inf"):
        Record(report, 0).read()


def ends_in_one_line(
    program: Any, arguments: list[str], said: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, one line; checkpoint, genotypes and result are those of before."""
    kept = {p.name: p.read_bytes() for p in out.iterdir() if p.suffix in (".json", ".pt")}
    capsys.readouterr()
    assert program.main([*arguments, "--out", str(out), "--resume"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1] and lines[-1].endswith("; last good checkpoint: step 3"), lines
    assert kept == {p.name: p.read_bytes() for p in out.iterdir() if p.suffix in (".json", ".pt")}


@pytest.fixture
def one_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, list[str]], Path]:
    """A run that was killed after the checkpoint of its first epoch."""

    def begin(program: Any, arguments: list[str]) -> Path:
        save = program.RunFolder.save

        def last(*args: Any) -> None:
            save(*args)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(program.RunFolder, "save", last)
            program.main([*arguments, "--out", str(tmp_path / "run")])
        return tmp_path / "run"

    return begin


@pytest.mark.parametrize("role", ["x_train", "x_unlabeled", "x_val"])
def test_images_of_1e30_end_a_search_in_one_line(
    role: str, one_epoch: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, batch_of = one_epoch(search, TINY), Feed.batch

    def batch_(feed: Feed, step: int) -> Batch:
        found = batch_of(feed, step)
        setattr(found, role, getattr(found, role) * 1e30)
        return found

    monkeypatch.setattr(Feed, "batch", batch_)
    ends_in_one_line(search, TINY, "step 3: ", out, capsys)


def test_a_validation_loss_that_is_not_finite_replaces_nothing(
    one_epoch: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, validation = one_epoch(search, TINY), Feed.validation
    monkeypatch.setattr(Feed, "validation", lambda *args: ((x * INF, y) for x, y in validation(*args)))
    ends_in_one_line(search, TINY, "step 6: validation_loss of learner 0 is nan", out, capsys)


def test_divergence_on_an_epochs_last_step_replaces_nothing(tmp_path: Path, capsys: Any) -> None:
    """The weights' last update is to numbers whose losses overflow, and no loss is taken there but validation's."""
    arguments = [*TINY, "--learners", "1", "--arch-start", "6", "--lr", "3e38", "--limit", "4", "--out", str(tmp_path)]
    assert search.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.endswith("step 1: validation_loss of learner 0 is nan; last good checkpoint: none yet\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "config.json"]


@pytest.mark.parametrize("what", ["train_loss", "test_loss", "grad_norm"])
def test_a_retraining_that_is_not_finite_replaces_nothing(
    what: str, one_epoch: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = one_epoch(evaluate, RETRAIN)
    if what == "grad_norm":
        clip = torch.nn.utils.clip_grad_norm_
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args: clip(*args) * INF)
    else:
        name = "labeled" if what == "train_loss" else "evaluation"
        images = getattr(Feed, name)
        of = {"labeled": lambda r: (r[0] * INF, r[1]), "evaluation": lambda r: ((x * INF, y) for x, y in r)}[name]
        monkeypatch.setattr(Feed, name, lambda *args: of(images(*args)))
    ends_in_one_line(evaluate, [], f"step 6: {what} is ", out, capsys)


def test_a_retraining_reads_its_numbers_now_and_then(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A divergence does not train on to the end of the epoch."""
    steps: list[int] = []
    train_step = Retraining.train_step

    def counted(self: Retraining, batch: Any) -> None:
        train_step(self, (batch[0] * INF, batch[1]))
        steps.append(self.step)

    monkeypatch.setattr(Retraining, "train_step", counted)
    arguments = [*RETRAIN, "--limit", "1000", "--batch-size", "2", "--out", str(tmp_path)]
    assert evaluate.main(arguments) == 1
    assert len(steps) <= LOOK_EVERY


@pytest.mark.parametrize("bad", [INF, -INF, NAN])
def test_no_checkpoint_takes_what_is_not_finite(bad: float, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"w": torch.zeros(2)})
    with pytest.raises(FloatingPointError, match=r"state\['a'\]\[0\] is not finite"):
        checkpoint.save(path, {"a": [torch.tensor([0.0, bad])]})
    assert torch.equal(checkpoint.load(path)["w"], torch.zeros(2))
