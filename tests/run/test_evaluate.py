"""Training a genotype's network from scratch: the recipe, resuming to the bit, and the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import known
import pytest
import torch
from sources import paint
from states import repeatable, same
from torch.nn.functional import cross_entropy
from toys import CHEAP, TINY, toy_images

from sgl_fast import evaluate, search
from sgl_fast.data import Dataset, open_dataset
from sgl_fast.data.whole import with_validation
from sgl_fast.genotype.genotype import Genotype
from sgl_fast.run import checkpoint
from sgl_fast.run.recipe import Recipe, preset
from sgl_fast.run.retrain import Retraining
from sgl_fast.run.retrain_schedule import schedules

SCHEDULES = json.loads((known.FOLDER / "schedules.json").read_text())
FLAGS = [part for name, value in TINY.items() for part in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return toy_images()


def toy(data: Dataset, **options) -> Retraining:
    return Retraining(CHEAP, data, Recipe(**{**TINY, **options}))


def test_it_trains_on_training_and_validation_images_and_tests_on_the_rest(data: Dataset) -> None:
    both = with_validation(data, limit=5)
    assert torch.equal(both.train[0], torch.cat([data.train[0][:5], data.val[0][:5]]))
    assert torch.equal(both.train[1], torch.cat([data.train[1][:5], data.val[1][:5]]))
    assert both.test is data.test
    assert toy(data, limit=None).steps_per_epoch == 3


@pytest.mark.parametrize(("rate", "table"), [(0.2, "darts_0.2_600ep"), (0.3, "pdarts_pcdarts_0.3_600ep")])
def test_schedules(data: Dataset, rate: float, table: str) -> None:
    retraining = toy(data, epochs=600, drop_path=rate)
    known = SCHEDULES["eval_drop_path"][table]
    for epoch, lr in SCHEDULES["eval_cifar_lr_600ep_0.025_to_0"].items():
        retraining.step = int(epoch) * retraining.steps_per_epoch
        assert schedules(retraining.recipe, int(epoch))["lr"] == pytest.approx(lr, rel=1e-9, abs=1e-15)
        if epoch in known:
            retraining.train_step(retraining.batch())
            assert retraining.network.drop_path == pytest.approx(known[epoch], rel=1e-12)
            assert retraining.optimizer.param_groups[0]["lr"] == pytest.approx(lr, rel=1e-9)


def test_a_step_is_clipped_momentum_sgd_on_both_heads(data: Dataset) -> None:
    """Two steps against the update written out; a large weight on the second head makes the clip bite."""
    retraining = toy(data, auxiliary_weight=50.0, lr=0.1, weight_decay=0.01, drop_path=0.0)
    velocity = [torch.zeros_like(p) for p in retraining.network.parameters()]
    for _ in range(2):
        x, y = retraining.batch()
        before = [p.detach().clone() for p in retraining.network.parameters()]
        logits, auxiliary = retraining.network.train()(x)
        loss = cross_entropy(logits, y) + 50.0 * cross_entropy(auxiliary, y)
        gradients = torch.autograd.grad(loss, list(retraining.network.parameters()))
        norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
        assert norm > 5
        velocity = [0.9 * v + g * 5 / norm + 0.01 * p for v, g, p in zip(velocity, gradients, before, strict=True)]
        retraining.train_step((x, y))
        for p, old, v in zip(retraining.network.parameters(), before, velocity, strict=True):
            torch.testing.assert_close(p.detach(), old - 0.1 * v, rtol=1e-4, atol=1e-6)


def test_measures(data: Dataset) -> None:
    """Test loss and accuracy of the whole set do not depend on how it is cut into batches."""
    retraining = toy(data)
    x = ((data.test[0].float() / 255) - 0.5) / 0.25
    with torch.no_grad():
        logits = retraining.network.eval()(x)
    found = retraining.test()
    assert found == {
        "test_loss": pytest.approx(cross_entropy(logits, data.test[1]).item(), rel=1e-5),
        "test_accuracy": (logits.argmax(1) == data.test[1]).double().mean().item(),
    }


def test_no_auxiliary_head_at_weight_zero(data: Dataset) -> None:
    retraining = toy(data, auxiliary_weight=0.0)
    assert retraining.network.auxiliary is None
    retraining.train_step(retraining.batch())


def test_the_seed_decides_everything(data: Dataset) -> None:
    def record(seed: int) -> dict:
        retraining = toy(data, seed=seed)
        torch.rand(1)  # the global generator's state does not matter
        for _ in range(retraining.steps_per_epoch):
            retraining.train_step(retraining.batch())
        return retraining.finish_epoch()

    assert record(1) == record(1) != record(2)


def test_a_run_that_is_stopped_and_resumed_equals_one_that_is_not(tmp_path: Path, monkeypatch) -> None:
    arguments = ["--genotype", "DARTS_V2", "--data", "embedded", "--quiet", *FLAGS]
    assert evaluate.main([*arguments, "--out", str(tmp_path / "whole")]) == 0

    train_step = Retraining.train_step
    for stop_at in (2, 3):  # steps: in the middle of an epoch, at its end, where its test is left for the resume

        def stopped(self: Retraining, batch: Any, stop_at: int = stop_at) -> None:
            train_step(self, batch)
            if self.step == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

        out = tmp_path / f"stopped{stop_at}"
        with monkeypatch.context() as patch:
            patch.setattr(Retraining, "train_step", stopped)
            assert evaluate.main([*arguments, "--out", str(out)]) == 143
        state = checkpoint.load(out / "checkpoint.pt")
        assert state["step"] == state["run"]["step"] == stop_at and state["sums"][2] == {2: 16, 3: 24}[stop_at]
        with (out / "metrics.jsonl").open("a") as metrics:
            metrics.write('{"step": 999}\n{"st')  # written after the checkpoint, then killed
        assert evaluate.main(["--resume", "--quiet", "--out", str(out)]) == 0
        for name in ("metrics.jsonl", "result.json", "config.json"):
            assert repeatable(out / name) == repeatable(tmp_path / "whole" / name), name
        assert same(*(checkpoint.load(tmp_path / run / "checkpoint.pt") for run in ("whole", out.name)))


def test_what_a_run_leaves(tmp_path: Path, capsys) -> None:
    out = tmp_path / "run"
    genotype = tmp_path / "genotype.json"
    genotype.write_text(CHEAP.to_json())
    arguments = ["--genotype", str(genotype), "--data", "embedded", *FLAGS, "--out", str(out)]
    assert evaluate.main(arguments) == 0
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [(r["step"], r["epoch"]) for r in records] == [(3, 1), (6, 2)]
    result = json.loads((out / "result.json").read_text())
    assert result["test_accuracy"] == records[-1]["test_accuracy"]
    assert result["parameters"] > 0 and result["multiply_adds_conv_linear"] > 0
    assert Genotype.from_json((out / "genotype.json").read_text()) == CHEAP
    page = (out / "report.html").read_text()
    assert "done; epoch 2 of 2" in page and f"{100 * (1 - result['test_accuracy']):.2f} %" in page
    said = capsys.readouterr()
    assert "after the last of 2 epochs" in said.out
    assert "tested on 1000" in said.err and "epoch 2/2" in said.err

    assert evaluate.main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert evaluate.main(["--resume", "--out", str(out), "--quiet"]) == 0  # already done: says it again
    assert "after the last of 2 epochs" in capsys.readouterr().out
    for extra, message in [
        (["--channels", "3"], "--channels: the run in .* began with 2; got 3"),
        (["--scale", "paper"], "--channels: .* got 36"),
        (["--genotype", "DARTS_V1"], "--genotype: the run in .* trains another one"),
        (["--data", "cifar10"], "--data: the run in .* began with embedded"),
    ]:
        assert_refused(["--resume", "--out", str(out), *extra], message, capsys)


def assert_refused(arguments: list[str], message: str, capsys) -> None:
    """Exit code 2 and one line."""
    try:
        code = evaluate.main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    assert re.search(message, error), error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--genotype: need a run's folder, a file or a name"),
        (["--genotype", "DARTS_V3"], "--genotype: unknown genotype 'DARTS_V3'; near it"),
        (["--genotype", "nowhere/genotype.json"], "there is no file nowhere/genotype.json"),
        (["--genotype", "DARTS", "--channels", "0"], "--channels: need a number of at least 1; got 0"),
        (["--genotype", "DARTS", "--channels", "x"], "--channels"),
        (["--genotype", "DARTS", "--lr", "nan"], "--lr"),
        (["--genotype", "DARTS", "--drop-path", "1"], "--drop-path"),
        (["--genotype", "DARTS", "--seed", "-1"], "--seed"),
        (["--genotype", "DARTS", "--imagenet", "--channels", "7"], "--channels"),
        (["--genotype", "DARTS", "--data", "mnist"], "unknown data set 'mnist'"),
        (["--genotype", "DARTS", "--data", "cifar10", "--root", "/nowhere"], "cifar10 is not in /nowhere"),
        (["--genotype", "DARTS", "--device", "gpu"], "--device: need auto, cpu, cuda"),
        (["--genotype", "DARTS", "--device", "cuda:99"], "--device: there is no cuda:99"),
        (["--genotype", "DARTS", "--scale", "big"], "--scale"),
        (["--genotype", "DARTS", "--data", "embedded", "--image-size", "30"], "--image-size: embedded takes 32 or 16"),
        (["--genotype", "DARTS", "--data", "embedded", "--limit", "4"], "--batch-size 64"),
        (["--genotype", "DARTS", "--count", "--image-size", "30"], "even height and width"),
        (["--genotype", "DARTS", "--channels", "1000000000"], "--channels: need at most 4096; got 1000000000"),
        (["--genotype", "DARTS", "--epochs", "1000000000"], "--epochs: need at most 100000"),
        (["--genotype", "DARTS", "--data", "embedded", "--image-size", "100000"], "--image-size: need at most 4096"),
        (["--resume"], "no run to resume"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "run"
    assert_refused([*arguments, "--out", str(out)], message, capsys)
    assert not out.exists()


def test_a_genotype_of_very_many_nodes_is_refused(tmp_path: Path, capsys) -> None:
    cell = [("skip_connect", 0), ("skip_connect", 1)] * 100_000
    file = tmp_path / "many.json"
    file.write_text(json.dumps({"normal": cell, "normal_concat": [2], "reduce": cell, "reduce_concat": [2]}))
    arguments = ["--genotype", str(file), "--data", "embedded", "--out", str(tmp_path / "run")]
    assert_refused(arguments, "--genotype: .*need at most 16 nodes in the normal cell; got 100000", capsys)


def test_no_image_that_a_search_saw_is_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the seed of the training: the split is the search's."""
    for number in range(60):
        paint(tmp_path / "own" / "ab"[number % 2] / f"{number}.png", (4 * number, number, 0), (16, 16))
    data = ["--data", f"folder:{tmp_path / 'own'}", "--image-size", "16", "--figures", "none", "--quiet"]
    sizes = [
        "--channels",
        "4",
        "--layers",
        "3",
        "--epochs",
        "1",
        "--batch-size",
        "4",
        "--limit",
        "8",
        "--scale",
        "tiny",
    ]
    found = tmp_path / "search"
    words = [*data, *sizes, "--space", "darts", "--nodes", "2", "--order", "1", "--seed", "3", "--out", str(found)]
    assert search.main(words) == 0
    seen = list[list[float]]()

    def opened(*args: Any, **more: Any) -> Dataset:
        dataset = open_dataset(*args, **more)
        seen.append(sorted(dataset.test[0].float().mean((1, 2, 3)).tolist()))
        return dataset

    monkeypatch.setattr("sgl_fast.data.open_dataset", opened)
    for seed, more in ((3, []), (5, []), (5, ["--split-seed", "4"])):
        out = tmp_path / f"{seed}{len(more)}"
        training = ["--genotype", str(found), *sizes, *data[4:], "--seed", str(seed), *more, "--out", str(out)]
        assert evaluate.main(training) == 0
    same_split, another, asked = seen
    assert same_split == another != asked


def test_another_commands_run_is_not_resumed(tmp_path: Path, capsys) -> None:
    (tmp_path / "config.json").write_text('{"space": "darts"}')
    assert_refused(["--resume", "--out", str(tmp_path)], "--resume: .* holds no run of this command", capsys)


def test_counts(capsys) -> None:
    assert evaluate.main(["--genotype", "PDARTS", "--count"]) == 0
    out = capsys.readouterr().out
    assert "36 channels, 20 layers, 10 classes, 32 x 32" in out
    assert "3,433,798" in out and "3,910,224" in out and "532,174,464" in out


def test_scales_are_recipes() -> None:
    assert preset("darts") == Recipe()
    assert preset("pc_darts_imagenet", "tiny").epochs < 50


def test_help_loads_no_torch() -> None:
    code = "import sys, sgl_fast.run.evaluate_args, sgl_fast.evaluate; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
