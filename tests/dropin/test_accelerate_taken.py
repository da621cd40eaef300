"""Cells that are taken though they differ: their order, rates that live elsewhere, other methods, equal models."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from foreign_check import distance, images, one_pass, twins
from foreign_darts import Cell, Network, cell_of
from foreign_sampled import NonZeroOp
from foreign_styles import AuxiliaryCell, AuxiliaryNetwork
from torch import Tensor, nn

import sgl_fast
from sgl_fast.spaces import edges_of

RATE = types.SimpleNamespace(value=1.0)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_a_rate_that_lives_elsewhere(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """DARTS- as it is published: the rate of the extra skip is an attribute of a global, and decays."""

    class Decaying(AuxiliaryCell):
        def forward(self, s0: Tensor, s1: Tensor, weights: Tensor, drop_prob: float = 0.0) -> Tensor:
            assert not drop_prob, "here it would ask for a GPU"
            return super().forward(s0, s1, weights, RATE.value)

    class Decayed(AuxiliaryNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.cell0, self.cell1 = Decaying(4, 4, False), Decaying(8, 4, True)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = self.cell0(x, x, self.alphas[0].softmax(-1))
            return self.head(self.cell1(x, x, self.alphas[1].softmax(-1)).mean((2, 3)))

    torch.manual_seed(0)
    original, model = twins(Decayed())
    monkeypatch.setattr(RATE, "value", 1.0 - shift)
    sgl_fast.accelerate(model)
    for rate in (1.0, 0.5, 0.25, 0.0, 1.0):
        RATE.value = rate
        assert distance(one_pass(original, images(1)), one_pass(model, images(1))) < (1e-5, ""), rate
    report = sgl_fast.report(model)
    assert [c.originals for c in report] == [0, 0], str(report)


def test_operations_of_weight_zero_are_skipped() -> None:
    torch.manual_seed(0)
    original, model = twins(Network(make_cell=cell_of(NonZeroOp)))
    sgl_fast.accelerate(model)
    report = sgl_fast.report(model)
    assert report.accelerated == 3, str(report)
    assert distance(one_pass(original, images(1)), one_pass(model, images(1))) < (1e-5, "")
    assert [c.originals for c in report] == [0, 0, 0]
    with torch.no_grad():
        for one in (original, model):
            one.alphas_normal[1, 3] = -torch.inf
    assert distance(one_pass(original, images(1)), one_pass(model, images(1))) < (1e-5, "")
    assert [c.originals for c in report] == [0, 0, 0], str(report)


ORDERS: dict[str, Callable[[int, int], Any]] = {
    "by node": lambda node, source: (node, source),
    "by source": lambda node, source: (source, node),
    "by node, the newest first": lambda node, source: (node, -source),
}


def listed(order: str) -> type[Cell]:
    class Listed(Cell):
        """Three nodes; mixed ops in an order of its own, and their weights and factors in the same one."""

        def __init__(self, steps: int, multiplier: int, *sizes: Any) -> None:
            super().__init__(steps, multiplier, *sizes)
            pairs = [(n, s) for n in range(steps) for s in range(n + 2)]
            self.place = {pair: i for i, pair in enumerate(sorted(pairs, key=lambda p: ORDERS[order](*p)))}
            ops = [self._ops[edges_of(n)[s]] for n, s in sorted(pairs, key=lambda p: ORDERS[order](*p))]
            self._ops = nn.ModuleList(ops)

        def forward(self, s0: Tensor, s1: Tensor, weights: Tensor, weights2: Any = None) -> Tensor:
            states = [self.preprocess0(s0), self.preprocess1(s1)]
            for n in range(self._steps):
                places = [self.place[n, s] for s in range(n + 2)]
                factors = [1.0 if weights2 is None else weights2[p] for p in places]
                parts = zip(factors, places, states, strict=False)
                states.append(sum(f * self._ops[p](h, weights[p]) for f, p, h in parts))
            return torch.cat(states[-self._multiplier :], dim=1)

    return Listed


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("order", ORDERS)
def test_edges_in_another_order(order: str, k: int) -> None:
    torch.manual_seed(0)
    original, model = twins(Network(layers=2, steps=3, multiplier=3, k=k, make_cell=listed(order)))
    sgl_fast.accelerate(model)
    report = sgl_fast.report(model)
    assert report.accelerated == 2, str(report)
    assert distance(one_pass(original, images(1)), one_pass(model, images(1))) < (1e-5, "")
    assert [c.originals for c in report] == [0, 0]


class Other(Cell):
    """Its forward is another cell than its method."""

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor) -> Tensor:
        return 2 * self.mix(s0, s1, weights)

    def mix(self, s0: Tensor, s1: Tensor, weights: Tensor) -> Tensor:
        return super().forward(s0, s1, weights)


class Mixing(Network):
    def forward(self, images: Tensor) -> Tensor:
        s0 = s1 = self.stem(images)
        for cell in self.cells:
            weights = (self.alphas_reduce if cell.reduction else self.alphas_normal).softmax(-1)
            s0, s1 = s1, cell.mix(s0, s1, weights)
        return self.classifier(s1.mean((2, 3)))


def test_cells_called_by_another_method() -> None:
    torch.manual_seed(0)
    original, model = twins(Mixing(layers=2, make_cell=Other))
    sgl_fast.accelerate(model, method="mix")
    assert sgl_fast.report(model).accelerated == 2, str(sgl_fast.report(model))
    assert distance(one_pass(original, images(1)), one_pass(model, images(1))) < (1e-5, "")
    assert [(c.calls, c.originals) for c in sgl_fast.report(model)] == [(1, 0)] * 2
    sgl_fast.accelerate(sgl_fast.restore(model))
    model(images(1))
    assert "not called yet" in str(sgl_fast.report(model))
    with pytest.warns(UserWarning, match="no method mixed"):
        sgl_fast.accelerate(model, method="mixed")


def test_an_equal_model_takes_over_what_was_proven() -> None:
    torch.manual_seed(0)
    model = sgl_fast.accelerate(Network())
    original = model.new()
    new = sgl_fast.accelerate(model.new(), like=model)
    assert sgl_fast.report(new).accelerated == 3
    assert not any(c.seconds for c in sgl_fast.report(new)), "verified once more"
    assert distance(one_pass(original, images(1)), one_pass(new, images(1))) < (1e-5, "")
    assert not any(c.originals for c in sgl_fast.report(new))


class Scaled(Cell):
    scale = 1.0

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor) -> Tensor:
        return super().forward(s0, s1, weights) * self.scale


def test_a_cell_that_is_not_equal_is_verified() -> None:
    torch.manual_seed(0)
    model = sgl_fast.accelerate(Network(make_cell=Scaled))
    other = Network(make_cell=Scaled)
    other.cells[0].scale = 1.5
    other.cells[1]._ops[2]._ops = nn.ModuleList(list(other.cells[1]._ops[2]._ops)[::-1])
    original = copy.deepcopy(other)
    sgl_fast.accelerate(other, like=model)
    report = sgl_fast.report(other)
    assert [c.accelerated for c in report] == [False, True, True], str(report)
    assert [bool(c.seconds) for c in report] == [True, True, False]
    assert distance(one_pass(original, images(1)), one_pass(other, images(1))) < (1e-5, "")


def test_strict() -> None:
    torch.manual_seed(0)
    model = Network()
    model.cells[1].register_module("extra", nn.Dropout(0.5))
    with pytest.raises(ValueError, match="need every cell accelerated; got\n.*\n(.*\n)*.*dropout beside"):
        sgl_fast.accelerate(model, strict=True)
    assert not len(sgl_fast.report(model)) and type(model.cells[0]) is Cell
    assert sgl_fast.report(sgl_fast.accelerate(Network(), strict=True)).accelerated == 3
