"""Verification leaves no trace, inside a checkpoint, too; a forward that leaves one is kept."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from foreign_check import distance, images, twins
from foreign_darts import Cell, MixedOp, Network, small
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import sgl_fast

x = images(1)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_cell_that_waits_inside_a_checkpoint(reentrant: bool) -> None:
    class Scaled(Network):
        def forward(self, images: Tensor, scale: Any = None) -> Tensor:
            assert isinstance(scale, float)
            states = [self.stem(images)] * 2
            for cell in self.cells:
                weights = (self.alphas_reduce if cell.reduction else self.alphas_normal).softmax(-1)
                states = [states[1], checkpoint(cell, *states, weights, use_reentrant=reentrant)]
            return scale * self.classifier(states[1].mean((2, 3)))

    torch.manual_seed(0)
    original, model = twins(Scaled(layers=2, steps=1, multiplier=1))
    sgl_fast.accelerate(model)
    assert {cell.status for cell in sgl_fast.report(model)} == {"waiting"}
    assert "not called yet: name another method" in str(sgl_fast.report(model))
    grads = []
    for one in (original, model):
        one(x, 2.0).square().sum().backward()
        grads.append({f"grad {n}": torch.zeros(1) if p.grad is None else p.grad for n, p in one.named_parameters()})
    assert distance(*grads) < (1e-5, "")
    assert sgl_fast.report(model).accelerated == 2


def test_no_state_of_random_numbers_moves() -> None:
    model = small()
    torch.manual_seed(7), random.seed(7), np.random.seed(7)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    sgl_fast.accelerate(model)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())


def writes(change: Callable[[Any], object]) -> type[Cell]:
    class Writing(Cell):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.seen: list[Any] = []
            self.count = 0

        def forward(self, *args: Any) -> Tensor:
            change(self)
            return super().forward(*args)

    return Writing


TALLY = [0]


@pytest.mark.filterwarnings("ignore:nothing is accelerated")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda cell: cell.seen.append(1), "writes to seen"),
        (lambda cell: setattr(cell, "count", cell.count + 1), "writes to count"),
        (lambda cell: setattr(cell._ops[0], "last", 1), "writes to _ops.0.last"),
        (lambda cell: TALLY.__setitem__(0, TALLY[0] + 1), "changes what it reads: .*TALLY"),
    ],
)
def test_a_forward_with_an_effect_is_kept_and_leaves_no_trace(change: Callable[[Any], object], reason: str) -> None:
    model = small(writes(change))
    if "TALLY" in reason:
        sgl_fast.accelerate(model)
    else:
        state = copy.deepcopy([dict(c.__dict__) for c in model.cells.modules() if isinstance(c, (Cell, MixedOp))])
        sgl_fast.accelerate(model)
        after = [c.__dict__ for c in model.cells.modules() if isinstance(c, (Cell, MixedOp))]
        assert [(a.keys(), a.get("seen"), a.get("count")) for a in after] == [
            (a.keys(), a.get("seen"), a.get("count")) for a in state
        ]
    entry = sgl_fast.report(model)[0]
    assert not entry.accelerated and re.search(reason, entry.reason), entry.reason


class Unreadable:
    @property
    def value(self) -> float:
        return 1.0

    def __repr__(self) -> str:
        raise RuntimeError("not now")

    __slots__ = ()


@pytest.mark.filterwarnings("ignore:nothing is accelerated")
def test_what_cannot_be_followed_is_said() -> None:
    model = small(writes(lambda cell: cell.held.value))
    for cell in model.cells:
        cell.held = Unreadable()
    sgl_fast.accelerate(model)
    reason = "what its forward reads cannot be followed (RuntimeError: not now)"
    assert {cell.reason for cell in sgl_fast.report(model)} == {reason}
    assert model(x).isfinite().all()
