"""The search step with its optimisers: schedules, updates against torch.optim, state, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import known
import pytest
import torch
import torch.nn.functional as F
from networks import batch
from torch import Tensor

import sgl_fast
from sgl_fast.nets.supernet import Supernet
from sgl_fast.ops.flat_update import adam, sgd
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.search import Search

SCHEDULES = {
    "darts_search_lr_50ep_0.025_to_0.001": {"lr_min": 0.001},
    "pc_darts_cifar_search_lr_50ep_0.1_to_0": {"lr": 0.1},
    "pc_darts_imagenet_search_lr_50ep_0.5_to_0_warmup5": {"lr": 0.5, "warmup_epochs": 5},
    "p_darts_search_lr_25ep_0.025_to_0": {"epochs": 25},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rates(name: str) -> None:
    config = Config(**SCHEDULES[name])
    known.close([config.lr_at(e) for e in range(config.epochs)], known.load("schedules")[name], 1e-12)


def test_updates_are_the_librarys() -> None:
    draw = torch.Generator().manual_seed(2)
    w = torch.randn(1, 9, generator=draw, dtype=torch.float64)
    a, b = (w.clone().requires_grad_() for _ in range(2))
    optimisers = (
        torch.optim.SGD([a], lr=0.1, momentum=0.9, weight_decay=3e-4),
        torch.optim.Adam([b], lr=3e-3, betas=(0.5, 0.999), weight_decay=1e-3),
    )
    ours, buffer = w.clone(), torch.zeros_like(w)
    ours_adam, moments = w.clone(), (torch.zeros_like(w), torch.zeros_like(w))
    for step in range(1, 5):
        grad = 4 * torch.randn(1, 9, generator=draw, dtype=torch.float64)
        a.grad, b.grad = grad.clone(), grad.clone()
        torch.nn.utils.clip_grad_norm_([a], 5.0)
        for optimiser in optimisers:
            optimiser.step()
        ours, buffer, _ = sgd(ours, grad, buffer, 0.1, 0.9, 3e-4, 5.0)
        ours_adam, moments = adam(ours_adam, grad, moments, step, 3e-3, (0.5, 0.999), 1e-3)
    torch.testing.assert_close(ours, a.detach())
    torch.testing.assert_close(ours_adam, b.detach())


def search(name: str = "pc_darts", **changes: object) -> Search:
    net = Supernet(sgl_fast.space(name, channels=8, layers=3, nodes=2, num_classes=5))
    return Search(net, replace(Config.preset(name), arch_start=0, steps_per_epoch=2, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["darts", "darts_minus", "p_darts", "pc_darts", "pc_darts_imagenet"])
def test_resume_is_bit_exact(name: str) -> None:
    changes = {"skip_dropout": 0.3} if name == "p_darts" else {}
    side = 32 if name.endswith("imagenet") else 8
    whole, first = search(name, **changes), search(name, **changes)
    for step in range(4):
        whole.step(batch(step, side=side))
    for step in range(2):
        first.step(batch(step, side=side))
    second = search(name, seed=9, **changes)
    second.config = first.config
    second.load_state_dict(first.state_dict())
    for step in range(2, 4):
        second.step(batch(step, side=side))
    assert torch.equal(second.arch.flat(), whole.arch.flat()) and torch.equal(second.w, whole.w)
    assert torch.equal(second.running.var, whole.running.var)


def test_one_step_counts_and_moves() -> None:
    s = search()
    before = s.arch.flat().clone()
    record = s.step(batch(0))
    assert (record["forwards"], record["backwards"]) == (22, 22)
    assert not torch.equal(s.arch.flat(), before)
    assert {"train_loss", "train_v_loss", "pseudo_loss", "val_loss"} <= set(record)
    logits = search().nets[0](search().w, search().arch, batch(0).x_train)
    right = (logits.argmax(-1) == batch(0).y_train).float().mean(-1)
    assert record["train_accuracy"] == pytest.approx(right.tolist())


def test_the_architecture_waits_for_its_epoch() -> None:
    s = search(order=1)
    s.config = replace(s.config, arch_start=1)
    before = s.arch.flat().clone()
    for step in range(2):
        assert s.step(batch(step))["backwards"] == 6
    assert torch.equal(s.arch.flat(), before)
    s.step(batch(2))
    assert not torch.equal(s.arch.flat(), before)


def test_released_is_a_v_w_with_the_first_order_term() -> None:
    """Its own step written out: A at the current W, V, pseudo-labels of the new V, W."""
    s = search(schedule="released", order=1, arch_clip=5.0, lr=0.05)
    b, K, net = batch(0), 2, s.nets[0]
    arch = s.arch.map(lambda t: t.clone().requires_grad_())
    loss = sum(F.cross_entropy(logits, b.y_val) for logits in net(s.w, arch, b.x_val))
    grad = torch.cat([g.flatten(1) for g in torch.autograd.grad(loss, arch.tensors())], 1)  # type: ignore[arg-type]
    zeros = torch.zeros_like(grad)
    flat, _ = adam(s.arch.flat(), grad, (zeros, zeros), 1, s.config.arch_lr, (0.5, 0.999), 1e-3)
    moved = s.arch.from_flat(flat)

    def stepped(weights: Tensor, loss_of: Any) -> Tensor:
        leaf = weights.clone().requires_grad_()
        (g,) = torch.autograd.grad(loss_of(leaf), leaf)
        return sgd(weights, g, torch.zeros_like(g), 0.05, 0.9, 3e-4, 5.0)[0]

    def labelled(weights: Tensor) -> Any:
        return sum(F.cross_entropy(logits, b.y_train) for logits in net(weights, moved, b.x_train))

    v = stepped(s.v, labelled)
    p = net(v, moved, b.x_unlabeled).softmax(-1).flip(0)

    def coupled(weights: Tensor) -> Any:
        log_q = net(weights, moved, b.x_unlabeled).log_softmax(-1)
        return labelled(weights) - (p * log_q).sum(-1).mean(-1).sum()

    w = stepped(s.w, coupled)
    record = s.step(b)
    assert (record["forwards"], record["backwards"]) == (5 * K, 4 * K)
    torch.testing.assert_close(s.arch.flat(), flat, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(s.v, v, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(s.w, w, rtol=1e-4, atol=1e-6)


def test_pretraining_moves_v_alone() -> None:
    s = search(schedule="released", order=1, pretrain_epochs=1)
    w, v, flat = s.w, s.v, s.arch.flat()
    assert s.step(batch(0))["forwards"] == 2
    assert torch.equal(s.w, w) and torch.equal(s.arch.flat(), flat) and not torch.equal(s.v, v)
    s.step(batch(1))
    s.step(batch(2))
    assert not torch.equal(s.w, w)


def test_separate_teachers_then_students() -> None:
    s = search(schedule="separate", epochs=1)
    w, flat = s.w, s.arch.flat()
    before = s.architect_v.arch.flat()
    for step in range(2):
        s.step(batch(step))
    assert torch.equal(s.w, w) and torch.equal(s.arch.flat(), flat)
    teachers = s.v, s.architect_v.arch.flat()
    assert not torch.equal(teachers[1], before)
    for step in range(2, 4):
        s.step(batch(step))
    assert torch.equal(s.v, teachers[0]) and torch.equal(s.architect_v.arch.flat(), teachers[1])
    assert not torch.equal(s.w, w) and not torch.equal(s.arch.flat(), flat)


@pytest.mark.parametrize("method", ["frozen", "finite_difference"])
def test_learners_with_different_operations(method: str) -> None:
    """Two learners of P-DARTS's second stage whose edges keep other ops, in another order of the learners."""
    ops = [["none", "skip_connect", "dil_conv_3x3"], ["max_pool_3x3", "sep_conv_5x5", "dil_conv_5x5"]]
    nets = []
    for alive in ops:
        edge_ops = {"normal": [alive] * 5, "reduce": [alive[:2] + ["avg_pool_3x3"]] * 5}
        sizes = {"channels": 4, "layers": 3, "nodes": 2, "num_classes": 5}
        nets.append(Supernet(sgl_fast.space("p_darts", stage=2, edge_ops=edge_ops, **sizes)))
    config = Config.preset("p_darts", arch_start=0, steps_per_epoch=2, method=method, r=0.1)
    one, other = Search(nets, config), Search(nets[::-1], config)
    other.w, other.v = one.w.flip(0), one.v.flip(0)
    other.architect.arch = one.arch.rows([1, 0])
    records = [s.step(batch(0)) for s in (one, other)]
    assert records[0]["val_loss"] == pytest.approx(records[1]["val_loss"][::-1], rel=1e-4)
    assert records[0]["grad_norm_w"] == pytest.approx(records[1]["grad_norm_w"][::-1], rel=1e-3)
    small = nets[0].num_weights
    assert small < nets[1].num_weights and not one.w[0, small:].any() and one.w[1, small:].any()


def test_a_loss_that_is_not_finite_is_named_and_changes_nothing() -> None:
    s = search()
    s.w[1] = float("nan")
    v, steps = s.v.clone(), s.steps
    with pytest.raises(FloatingPointError, match="step 0: train_loss of learner 1"):
        s.step(batch(0))
    assert torch.equal(s.v, v) and s.steps == steps and not s.momentum_v.any()


@pytest.mark.parametrize("change", [{"learners": 0}, {"lr": 0.0}, {"skip_dropout": 1.0}, {"lam": float("nan")}])
def test_bad_settings(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        Config(**change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the algorithms are best, paper"):
        Config.preset("darts", "magic")


@pytest.mark.parametrize("schedule", ["joint", "released", "separate"])
@pytest.mark.parametrize("name", ["y_train", "y_val"])
def test_labels_that_are_no_classes_change_nothing(schedule: str, name: str) -> None:
    s = search(schedule=schedule)
    before, bad = [t.clone() for t in s.tensors()], batch(0)
    getattr(bad, name)[1] = 5
    with pytest.raises(ValueError, match=rf"^need {name} class indices from 0 to 4; got 5 at \[1\]$"):
        s.step(bad)
    assert s.steps == 0 and all(torch.equal(a, b) for a, b in zip(before, s.tensors(), strict=True))
