"""A whole search step of two learners against the same step of eager modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from sgl_fast import Batch, Config, Search, Supernet

from . import eager
from .contenders import dressed, laid
from .interleave import NONE, Interleave, Row
from .settings import Settings
from .shapes import space_of

FIRST, SECOND = (12, 6), (16, 8)
K = 2


def test_first_order(baseline: str, device: str, settings: Settings, interleave: Interleave) -> None:
    """As the released code runs it: 5 forward and 4 backward passes a learner on both sides."""
    limits = FIRST if baseline == "eager" else NONE
    search, made, batch = contenders("released", baseline, device, settings)
    step, images = eager.Released(made).step, laid_batch(batch, baseline)
    row = Row("pc_darts step, first order", shape_of(search, batch), baseline, *limits)
    interleave(row, lambda: search.step(batch), lambda: step(images))
    assert passes(search.step(batch)) == (5 * K, 4 * K)


@pytest.mark.parametrize("name", ["pc_darts", "darts"])
def test_first_order_by_one_thread(name: str, settings: Settings, benchmark: Any) -> None:
    """On one core, where the library's own operators lose least."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        search, made, batch = contenders("released", "eager", "cpu", settings, name)
        step = eager.Released(made).step
        row = Row(f"{name} step, first order, one thread", shape_of(search, batch))
        Interleave(benchmark, settings)(row, lambda: search.step(batch), lambda: step(batch))
    finally:
        torch.set_num_threads(threads)


def test_second_order(baseline: str, device: str, settings: Settings, interleave: Interleave) -> None:
    """The finite difference of the paper on both sides."""
    second_order("paper", baseline, device, settings, interleave)


def test_frozen_second_order(device: str, settings: Settings, interleave: Interleave) -> None:
    """Activation patterns replayed, and the explicit term too: more than the baseline computes."""
    second_order("best", "eager", device, settings, interleave)


def second_order(algorithm: str, baseline: str, device: str, settings: Settings, interleave: Interleave) -> None:
    """11 forward and 11 backward passes a learner against 17 and 12 of the pairwise schedule."""
    limits = SECOND if baseline == "eager" else NONE
    search, made, batch = contenders(algorithm, baseline, device, settings)
    step, images = eager.Pairwise(made).step, laid_batch(batch, baseline)
    row = Row(f"pc_darts step, second order, {algorithm}", shape_of(search, batch), baseline, *limits)
    interleave(row, lambda: search.step(batch), lambda: step(images))
    assert passes(search.step(batch)) == (11 * K, 11 * K)


def contenders(
    algorithm: str, baseline: str, device: str, settings: Settings, name: str = "pc_darts"
) -> tuple[Search, list[eager.Learner], Batch]:
    space = space_of(name, settings.short)
    config = Config.preset(name, algorithm, learners=K, arch_start=0, pretrain_epochs=0)
    made = eager.learners(space, config)
    for one in made:
        one.alphas.to(device)
        for net in (one.v, one.w):
            dressed(net.to(device), baseline)
    N, side = settings.pick((8, 32), (2, 8))
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, N, 3, side, side, generator=draw), torch.randint(10, (2, N), generator=draw)
    return Search(Supernet(space), config, device), made, Batch(x[0], y[0], x[1], x[2], y[1]).to(device)


def laid_batch(batch: Batch, baseline: str) -> Batch:
    """The batch in the memory format of the baseline."""
    train, unlabeled, val = (laid(batch.images(role), baseline) for role in ("train", "unlabeled", "val"))
    return Batch(train, batch.y_train, unlabeled, val, batch.y_val)


def shape_of(search: Search, batch: Batch) -> str:
    return f"K{K} N{len(batch.y_train)} C{search.space.channels} L{search.space.layers}"


def passes(record: Mapping[str, Any]) -> tuple[int, int]:
    return record["forwards"], record["backwards"]
