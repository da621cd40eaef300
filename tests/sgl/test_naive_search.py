"""`Search`, step by step, against the algorithm written out: every schedule, space and ablation, 1 to 3 learners."""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import Any

import pytest
import torch
from naive_search import NaiveSearch
from networks import batch

from sgl_fast.data.batch import Batch
from sgl_fast.nets.supernet import Supernet
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.search import Search
from sgl_fast.spaces import space

SMALL = {"channels": 2, "layers": 3, "nodes": 1, "num_classes": 5}
STAGE_2 = ["none", "skip_connect", "dil_conv_3x3"], ["max_pool_3x3", "skip_connect", "sep_conv_3x3"]
# Settings that make all of them count: a limit of gradients that is below some and above others, decays that are felt.
COMMON: dict[str, Any] = {
    "method": "exact",
    "steps_per_epoch": 1,
    "epochs": 2,
    "lr": 0.1,
    "lr_min": 0.01,
    "arch_lr": 0.03,
    "weight_decay": 0.02,
    "arch_weight_decay": 0.05,
    "clip": 1.5,
    "lam": 0.7,
    "seed": 3,
}
LATE = {"pretrain_epochs": 1, "epochs": 4, "arch_start": 2, "warmup_epochs": 2}
RELEASED = {**LATE, "schedule": "released", "order": 1, "arch_clip": 0.01}
SEPARATE = {"schedule": "separate", "epochs": 2, "arch_start": 1}
PAPER = {"explicit_pseudo_label_grad": False}
OTHERS = {"forwards", "backwards", "implicit_error", "implicit_share"}  # of a record: of the package's way alone
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "best, 1": ("pc_darts", {"learners": 1}),
    "best, 2": ("pc_darts", {"steps_per_epoch": 2}),
    "best, 3": ("darts", {"learners": 3, "chunk": 2}),
    "paper, 3": ("pc_darts", {"learners": 3, **PAPER}),
    "first order": ("darts_minus", {"order": 1}),
    "minus": ("darts_minus", {}),
    "imagenet": ("pc_darts_imagenet", {"epochs": 1}),
    "late": ("darts_minus", LATE),
    "late, 1": ("darts", {**LATE, "learners": 1, "arch_start": 0}),
    "p": ("p_darts", {"skip_dropout": 0.4, "steps_per_epoch": 2}),
    "p, late": ("p_darts", {"skip_dropout": 0.4, **LATE}),
    "p, apart": ("p_darts", {"skip_dropout": 0.4, **SEPARATE}),
    "p, released": ("p_darts", {"skip_dropout": 0.4, **RELEASED}),
    "p, stage 2": ("p_darts 2", {"skip_dropout": 0.4}),
    "released": ("pc_darts", RELEASED),
    "released, 3": ("darts", {"learners": 3, **RELEASED}),
    "separate": ("pc_darts", SEPARATE),
    "separate, 3": ("darts_minus", {"learners": 3, **SEPARATE}),
    "self": ("pc_darts", {"teacher": "self"}),
    "self, paper": ("darts", {"teacher": "self", **PAPER}),
    "no labels": ("pc_darts", {"human_labels": False}),
    "no pseudo-labels": ("darts", {"lam": 0.0}),
}


def search_of(name: str, changes: dict[str, Any], dtype: torch.dtype = torch.float64) -> Search:
    config = Config(**{**COMMON, **changes})
    if name == "p_darts 2":
        edges = ({kind: [ops] * 2 for kind in ("normal", "reduce")} for ops in STAGE_2)
        nets = [Supernet(space("p_darts", stage=2, edge_ops=ops, **SMALL)) for ops in edges]
        return Search(nets, config, dtype=dtype)
    channels = {"pc_darts": 4}.get(name, 2)
    return Search(Supernet(space(name, **{**SMALL, "channels": channels})), config, dtype=dtype)


def differences(search: Search, naive: NaiveSearch, record: Any) -> dict[str, float]:
    """Largest difference of everything that a step changes or says, relative to the largest value."""
    pairs: dict[str, tuple[Any, Any]] = {name: (record[name], naive.said[name]) for name in set(record) - OTHERS}
    for k, one in enumerate(naive.learners):
        kept = {"w": search.w, "v": search.v, "mean": search.running.mean, "var": search.running.var}
        own = {"w": one.w, "v": one.v, "mean": one.running.mean[0], "var": one.running.var[0]}
        pairs |= {f"{name} {k}": (kept[name][k, : len(t)], t) for name, t in own.items()}
        for name, arch, t in (("a", search.arch, one.a), ("b", search.architect_v.arch, one.b)):
            pairs[f"{name} {k}"] = arch.rows([k]).flat()[0], torch.cat([x.flatten() for x in t])
    return {name: difference(*pair) for name, pair in pairs.items()}


def difference(got: Any, want: Any) -> float:
    got, want = (torch.as_tensor(t).detach().double() for t in (got, want))
    return ((got - want).abs().max() / want.abs().max().clamp(min=1e-3)).item()


def follow(search: Search, tolerance: float, own_images: bool = False) -> None:
    """Runs both to their end, and compares them after every step."""
    naive, side = NaiveSearch(search), 32 if search.space.imagenet else 4
    for step in range(search.config.total_epochs * search.config.steps_per_epoch):
        b = batch(step, side=side)
        if own_images:
            each = (batch(10 * k + step, side=side) for k in range(search.config.learners))
            own = Batch(*(torch.stack(images) for images in zip(*(astuple(one) for one in each), strict=True)))
            b = replace(own, x_unlabeled=b.x_unlabeled)
        naive.step(b.to(dtype=torch.float64))
        got = differences(search, naive, search.step(b.to(dtype=search.w.dtype)))
        assert max(got.values()) < tolerance, {name: d for name, d in got.items() if d > tolerance}


@pytest.mark.parametrize("case", CASES)
def test_a_search_is_the_algorithm_written_out(case: str) -> None:
    drawn = torch.get_rng_state()
    follow(search_of(*CASES[case]), 1e-9)
    assert torch.equal(torch.get_rng_state(), drawn)  # everything drawn depends on the seed alone


def test_images_of_every_learner() -> None:
    follow(search_of("darts", {}), 1e-9, own_images=True)


@pytest.mark.parametrize(("method", "r"), [("frozen", 1e-4), ("finite_difference", 1e-7)])
def test_differences_along_a_small_step_are_close(method: str, r: float) -> None:
    follow(search_of("pc_darts", {"method": method, "r": r}), 1e-4)


@pytest.mark.usefixtures("extension")
@pytest.mark.parametrize("case", ["best, 2", "p, released", "separate, 3"])
def test_a_search_in_float32_is_close(case: str) -> None:
    """By the kernels of the CPU, first order: differences in float32 are as good as their radius, see test_implicit."""
    name, changes = CASES[case]
    follow(search_of(name, {**changes, "order": 1}, torch.float32), 1e-4)
