"""Recipes of a training from scratch: published settings, mixed precision, moving averages, held-out images."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import known
import pytest
import torch
from torch.nn.functional import cross_entropy
from toys import CHEAP, TINY, toy_images

from sgl_fast.data import Dataset, Feed
from sgl_fast.data.color_jitter import draw, jitter
from sgl_fast.data.whole import hold_out, with_validation
from sgl_fast.nets.network import drop_images
from sgl_fast.run.recipe import RECIPES, Recipe, preset
from sgl_fast.run.retrain import Retraining
from sgl_fast.run.retrain_schedule import learning_rate
from sgl_fast.setting import SettingError

SCHEDULES = json.loads((known.FOLDER / "schedules.json").read_text())
SEVEN = 7


@pytest.fixture(scope="module")
def data() -> Dataset:
    return toy_images(SEVEN)


def toy(data: Dataset, **options: Any) -> Retraining:
    return Retraining(CHEAP, data, Recipe(**{**TINY, "drop_path": 0.0, "cutout": 0, **options}))


@pytest.mark.parametrize(
    ("recipe", "rates"),
    [
        ("pc_darts_imagenet", SCHEDULES["imagenet_eval_linear_lr_250ep"]["pc_darts_bs1024_lr0.5_warmup_times_base"]),
        ("darts_imagenet", SCHEDULES["imagenet_eval_step_lr_darts_0.1_gamma0.97"]),
    ],
)
def test_published_rates_on_imagenet(recipe: str, rates: dict[str, float]) -> None:
    for epoch, rate in rates.items():
        assert learning_rate(preset(recipe), int(epoch)) == pytest.approx(rate, rel=1e-9)


def test_a_linear_schedule_of_few_epochs_ends_above_zero() -> None:
    recipe = Recipe(epochs=4, schedule="linear", lr=1.0)
    assert [learning_rate(recipe, epoch) for epoch in range(4)] == [1, 0.75, 0.5, 0.25]


def test_recipes_are_the_published_ones() -> None:
    paper = preset("pc_darts_imagenet")
    assert (paper.channels, paper.layers, paper.epochs, paper.batch_size) == (48, 14, 250, 1024)
    assert (paper.lr, paper.weight_decay, paper.label_smoothing, paper.warmup_epochs) == (0.5, 3e-5, 0.1, 5)
    assert not paper.auxiliary_second_bn and preset("p_darts_imagenet").auxiliary_second_bn
    assert [preset(name).drop_path for name in ("darts", "p_darts", "pc_darts")] == [0.2, 0.3, 0.3]
    assert [preset(name).batch_size for name in ("darts", "p_darts", "pc_darts")] == [96, 128, 96]
    for name in RECIPES:
        assert preset(name, "tiny").channels == 8


def test_no_warm_up_is_longer_than_the_training() -> None:
    with pytest.raises(SettingError, match="need warmup_epochs a number below the 3 epochs; got 3"):
        Recipe(epochs=3, warmup_epochs=3)


def test_labels_are_smoothed_in_training_alone(data: Dataset) -> None:
    retraining = toy(data, label_smoothing=0.3, auxiliary_weight=0.0, lr=0.1, weight_decay=0.0, momentum=0.0, clip=1e9)
    x, y = retraining.batch()
    before = [p.detach().clone() for p in retraining.network.parameters()]
    logits = retraining.network.train()(x)
    target = torch.full_like(logits, 0.3 / SEVEN).scatter_add(1, y[:, None], torch.full((len(y), 1), 0.7))
    loss = -(target * logits.log_softmax(1)).sum(1).mean()
    gradients = torch.autograd.grad(loss, list(retraining.network.parameters()))
    retraining.train_step((x, y))
    for p, old, g in zip(retraining.network.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(p.detach(), old - 0.1 * g, rtol=1e-4, atol=1e-6)
    with torch.no_grad():  # the record has cross-entropy with the labels as they are
        assert retraining.running()["train_loss"] == pytest.approx(cross_entropy(logits, y).item(), rel=1e-5)


def test_a_moving_average_is_tested_beside_the_weights(data: Dataset) -> None:
    retraining = toy(data, ema=0.6, lr=0.2)
    average = [p.detach().clone() for p in retraining.network.parameters()]
    for step in range(3):
        retraining.train_step(retraining.batch())
        now = [p.detach() for p in retraining.network.parameters()]
        average = [p.clone() if step == 0 else 0.6 * a + 0.4 * p for a, p in zip(average, now, strict=True)]
    for kept, a in zip(retraining.average.module.parameters(), average, strict=True):
        torch.testing.assert_close(kept.detach(), a, rtol=1e-5, atol=1e-7)
    found = retraining.test()
    assert found["ema_test_loss"] != found["test_loss"]


def test_top5(data: Dataset) -> None:
    retraining = toy(data)
    x = ((data.test[0].float() / 255) - 0.5) / 0.25
    with torch.no_grad():
        top = retraining.network.eval()(x).argsort(1, descending=True)[:, :5]
    assert retraining.test()["test_top5"] == (top == data.test[1][:, None]).any(1).double().mean().item()
    assert "test_top5" not in toy(toy_images(5)).test()


@pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"channels_last": True}, {"compile": True}])
def test_faster_ways_train_the_same(data: Dataset, options: dict[str, Any]) -> None:
    runs = [toy(data, lr=0.01), toy(data, lr=0.01, **options)]
    for run in runs:
        run.train_step(run.batch())
    exact, other = (run.running() for run in runs)
    tolerance = 0.03 if "precision" in options else 1e-4
    assert other["train_loss"] == pytest.approx(exact["train_loss"], rel=tolerance)
    assert other["grad_norm"] == pytest.approx(exact["grad_norm"], rel=5 * tolerance)
    dtypes = {p.dtype for p in runs[1].network.parameters()}
    assert dtypes == {torch.float32}
    if "channels_last" in options:
        stem = runs[1].network.stem[0].weight
        assert stem.is_contiguous(memory_format=torch.channels_last)


def test_drop_path_compiles_once_for_all_epochs(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """And once for the first epoch, which drops nothing."""
    graphs: list[Any] = []

    def counted(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: compiled(module, backend=counted))
    retraining = toy(data, compile=True, epochs=5, drop_path=0.9, auxiliary_weight=0.0)
    for _ in range(5 * retraining.steps_per_epoch):
        retraining.train_step(retraining.batch())
    assert len(graphs) == 2
    for rate in (0.18, 0.72):
        retraining.network.drop_path = rate
        x = torch.ones(4000, 2, 2, 2)
        kept = drop_images(x, retraining.network._rate)
        assert (kept[:, 0, 0, 0] == 0).double().mean().item() == pytest.approx(rate, abs=0.03)
        assert kept.max().item() == pytest.approx(1 / (1 - rate))


def test_a_step_that_float16_overflows_is_left_out(data: Dataset) -> None:
    retraining = toy(data, precision="float16")
    retraining.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100)
    before = [p.detach().clone() for p in retraining.network.parameters()]
    retraining.train_step(retraining.batch())
    assert all(torch.equal(p, old) for p, old in zip(retraining.network.parameters(), before, strict=True))
    assert retraining.scaler.get_scale() == 2.0**99 and retraining.running()["grad_norm"] == 0


@pytest.mark.parametrize("options", [{"ema": 0.5}, {"precision": "float16"}, {"color_jitter": 0.4}])
def test_a_state_goes_on_to_the_same_numbers(data: Dataset, options: dict[str, Any]) -> None:
    whole, first, second = (toy(data, **options) for _ in range(3))
    for _ in range(3):
        whole.train_step(whole.batch())
    first.train_step(first.batch())
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.train_step(second.batch())
    assert whole.finish_epoch() == second.finish_epoch()
    kept = [run.state_dict().get("scaler") for run in (whole, second)]
    assert kept[0] == kept[1] and (kept[0] is not None) == ("precision" in options)


def test_colours_change_only_in_training(data: Dataset) -> None:
    plain, changed = (Feed(data, 8, 0, crop=0, flip=False, color_jitter=s) for s in (0.0, 0.4))
    for role in ("train", "val"):
        (x, y), (other, same) = plain.labeled(role, 1), changed.labeled(role, 1)
        assert torch.equal(y, same) and torch.equal(x, other) == (role == "val")
    again, later = changed.labeled("train", 1)[0], changed.labeled("train", 2)[0]
    assert torch.equal(again, changed.labeled("train", 1)[0]) and not torch.equal(again, later)


def test_factors_of_colours_stay_in_their_range() -> None:
    drawn = draw(5000, 0.4, torch.Generator().manual_seed(0))
    low, high = drawn.min(0).values, drawn.max(0).values
    torch.testing.assert_close(low[:4], torch.tensor([0.6, 0.6, 0.6, -0.2]).double(), rtol=0, atol=5e-3)
    torch.testing.assert_close(high[:4], torch.tensor([1.4, 1.4, 1.4, 0.2]).double(), rtol=0, atol=5e-3)
    image = torch.randint(256, (3, 8, 8), generator=torch.Generator().manual_seed(1)).byte()
    assert torch.equal(jitter(image, [1, 1, 1, 0, 0.1, 0.2, 0.3, 0.4]), image)
    darker = jitter(image, [0.5, 1, 1, 0, 0.1, 0.2, 0.3, 0.4])
    assert (darker.int() - image.int() // 2).abs().max() <= 1


def test_held_out_images_are_tested_and_not_trained_on(data: Dataset) -> None:
    held = hold_out(data, 6)
    every = torch.cat([data.train[0], data.val[0]])
    parts = torch.cat([held.train[0], held.val[0], held.test[0]])
    assert len(held.test[1]) == 6 and "6 images held out" in held.source
    assert sorted(x.sum().item() for x in parts) == sorted(x.sum().item() for x in every)
    whole = hold_out(with_validation(data), 6)  # the same ones, whether the search splits the rest or not
    assert torch.equal(whole.test[0].flatten(1).sum(1).sort().values, held.test[0].flatten(1).sum(1).sort().values)
    retraining = toy(data, held_out=6, limit=None)
    assert len(retraining.feed.dataset.train[1]) == 18 and len(retraining.feed.dataset.test[1]) == 6
    with pytest.raises(ValueError, match="held_out: need fewer than the 24 images to train on; got 24"):
        hold_out(data, 24)


def test_a_whole_set_is_not_joined_with_itself(data: Dataset) -> None:
    whole = dataclasses.replace(data, val=data.train)
    assert len(with_validation(whole).train[1]) == 12 and len(with_validation(whole, 5).train[1]) == 5
