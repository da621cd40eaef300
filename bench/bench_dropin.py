"""An eager model as its owner trains it, against the same model accelerated."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import sgl_fast

from . import eager
from .interleave import Interleave, Row
from .settings import Settings
from .shapes import space_of
from .tables import ITSELF


@pytest.mark.parametrize("threads", [1, 0], ids=["one thread", "all threads"])
@pytest.mark.parametrize("name", ["pc_darts", "darts"])
def test_drop_in_step(name: str, threads: int, settings: Settings, benchmark: Any) -> None:
    """Forward, backward, SGD: what a training loop does with it once a batch."""
    space = space_of(name, settings.short)
    torch.manual_seed(0)
    model, alphas = eager.Supernet(space), eager.Alphas(space)
    N, side = settings.pick((8, 32), (2, 8))
    images, labels = torch.randn(N, 3, side, side), torch.randint(10, (N,))
    fast = sgl_fast.accelerate(copy.deepcopy(model), example=(images, alphas), strict=True)
    ours, theirs = (training(one, alphas, images, labels) for one in (fast, model))
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        suffix = ", one thread" if threads else ""
        row = Row(f"{name} drop-in step{suffix}", f"N{N} C{space.channels} L{space.layers}", ITSELF)
        Interleave(benchmark, settings)(row, ours, theirs)
    finally:
        torch.set_num_threads(before)
    assert not any(cell.originals for cell in sgl_fast.report(fast))


def training(
    model: torch.nn.Module, alphas: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images, alphas), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
        optimizer.step()

    return step
