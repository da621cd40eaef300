"""Cells that must stay as they were, and calls that the original must answer."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from foreign_broken import SEEN, TRIED, DroppedPathOp, NoisyOp, TupleCell, TupleNetwork
from foreign_check import distance, images, one_pass
from foreign_darts import Cell, Network, cell_of
from foreign_nested import pdarts
from foreign_ops import SepConv
from torch import nn

import sgl_fast

NOTHING = pytest.mark.filterwarnings("ignore:nothing is accelerated")


@NOTHING
@pytest.mark.parametrize("reason", SEEN)
def test_refused_by_structure(reason: str) -> None:
    nets = []
    for _ in range(2):
        torch.manual_seed(1)
        nets.append(SEEN[reason]())
    original, model = nets[0], sgl_fast.accelerate(nets[1], verify=False)
    report = sgl_fast.report(model)
    assert len(report) == 3 and any(reason in cell.reason and not cell.accelerated for cell in report), str(report)
    assert distance(one_pass(original, images(2)), one_pass(model, images(2))) < (1e-5, "")


@NOTHING
@pytest.mark.parametrize("name", TRIED)
def test_refused_by_trial(name: str) -> None:
    torch.manual_seed(3)
    reason, make = TRIED[name]
    model = sgl_fast.accelerate(make(), "reference")
    report = sgl_fast.report(model)
    assert len(report) == 3 and not report.accelerated, str(report)
    assert reason in report[0].reason and all(cell.reason for cell in report), str(report)


def test_a_cell_that_returns_something_else() -> None:
    torch.manual_seed(4)
    model = sgl_fast.accelerate(TupleNetwork(make_cell=TupleCell))
    states = [(cell.status, cell.reason) for cell in sgl_fast.report(model)]
    assert states[0][0] == "kept as it was" and "got tuple" in states[0][1]
    assert states[1:] == [("waiting", "verified at its first call")] * 2


def falls_back(change: Callable[[nn.Module], object], reason: str) -> None:
    """After the change the original answers, and equals a model that never was accelerated."""
    torch.manual_seed(5)
    model = sgl_fast.accelerate(Network())
    original = sgl_fast.restore(copy.deepcopy(model))
    for one in (model, original):
        change(one)
    x = images(6).to(next(model.parameters()).dtype)
    assert distance(one_pass(original, x), one_pass(model, x)) < (1e-5, "")
    cells = [cell for cell in sgl_fast.report(model) if cell.originals]
    assert cells and all(reason in cell.last for cell in cells), str(sgl_fast.report(model))


def hook(model: nn.Module) -> None:
    model.cells[0]._ops[0]._ops[5].register_forward_hook(lambda *_: None)


def exchange(model: nn.Module) -> None:
    torch.manual_seed(7)
    model.cells[2]._ops[1]._ops[4] = SepConv(16, 3, 2, 1)


def freeze(model: nn.Module) -> None:
    model.cells[1]._ops[0]._ops[1][1].eval()


def test_the_original_answers() -> None:
    falls_back(hook, "hooks on its SepConv")
    falls_back(exchange, "modules were exchanged")
    falls_back(freeze, "some of its batch norms train")


@pytest.mark.skipif(sgl_fast.why_not("cpu") is not None, reason="no compiled backend, so the reference takes all")
def test_the_original_answers_in_float64() -> None:
    falls_back(lambda model: model.double(), "no compiled backend for float64")


def test_too_few_values_for_batch_statistics() -> None:
    """As many or as few as the original can take: one image of 4 pixels a side ends in one value a channel."""
    torch.manual_seed(8)
    model = sgl_fast.accelerate(Network())
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        model(torch.randn(1, 3, 4, 4))
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        model(torch.randn(2, 3, 15, 15))
    model.eval()
    model(torch.randn(1, 3, 4, 4))


def test_a_named_backend_does_what_it_can() -> None:
    torch.manual_seed(8)
    model = sgl_fast.accelerate(Network().double(), "reference")
    original = sgl_fast.restore(copy.deepcopy(model))
    x = images(6).double()
    assert distance(one_pass(original, x), one_pass(model, x)) < (1e-10, "")
    assert not any(cell.originals for cell in sgl_fast.report(model))


def test_autocast_is_the_originals() -> None:
    torch.manual_seed(9)
    model = sgl_fast.accelerate(Network())
    original = sgl_fast.restore(copy.deepcopy(model))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(images(1)), original(images(1)))
    assert sgl_fast.report(model)[0].last == "autocast"


def test_unequal_dropout_is_the_originals() -> None:
    torch.manual_seed(10)
    model = pdarts(p=0.2)
    for index, module in enumerate(m for m in model.modules() if isinstance(m, nn.Dropout)):
        module.p = 0.1 + 0.1 * (index % 3)
    original = copy.deepcopy(model)
    sgl_fast.accelerate(model)
    for net in (original, model):
        torch.manual_seed(11)
        net.logits = net(images(1))
    assert torch.allclose(original.logits, model.logits, atol=1e-5)
    assert "dropout of its skips" in sgl_fast.report(model)[0].last


def test_settings_that_change_are_verified_again() -> None:
    """P-DARTS's cells carry their dropout rate; a rate of the cell's own making must not slip through."""
    torch.manual_seed(12)
    model = pdarts(p=0.2)
    cell = type(model.net.body[0])

    class Sneaky(cell):
        scale = 1

        def __init__(self) -> None:
            raise NotImplementedError

        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs) * self.factor

    for one in model.net.body:
        one.__class__, one.factor = Sneaky, 1.0
    sgl_fast.accelerate(model)
    assert sgl_fast.report(model).accelerated == 4
    for one in model.net.body:
        one.set_drop(0.0)
    original = sgl_fast.restore(copy.deepcopy(model))
    assert distance(one_pass(original, images(1)), one_pass(model, images(1))) < (1e-5, "")
    assert not any(cell.originals for cell in sgl_fast.report(model))
    for net in (original, model):
        net.net.body[2].factor = 1.5
    assert distance(one_pass(original, images(2)), one_pass(model, images(2))) < (1e-5, "")
    assert [c.originals for c in sgl_fast.report(model)] == [0, 0, 1, 0]
    assert "differs by" in sgl_fast.report(model)[2].last


def test_too_many_changes_are_not_verified() -> None:
    class Counting(Cell):
        step = 0

        def forward(self, s0, s1, weights):
            return super().forward(s0, s1, weights) * (1 if self.step < 1000 else 2)

    torch.manual_seed(13)
    model = sgl_fast.accelerate(Network(layers=2, make_cell=Counting))
    cell = model.cells[0]
    for step in range(20):
        cell.step = step
        with torch.no_grad():
            model(images(1))
    entry = sgl_fast.report(model)[0]
    assert 10 <= entry.originals <= 14 and "too often: self.step" in entry.last


@pytest.mark.parametrize(("mixed", "name"), [(DroppedPathOp, "rate"), (NoisyOp, "level")])
def test_random_edges_are_the_originals(mixed: type[nn.Module], name: str) -> None:
    """Taken while nothing is drawn; from then on the original draws its own numbers, and the report says why."""
    torch.manual_seed(14)
    model = sgl_fast.accelerate(Network(layers=2, make_cell=cell_of(mixed)))
    original = sgl_fast.restore(copy.deepcopy(model))
    assert distance(one_pass(original, images(1)), one_pass(model, images(1))) < (1e-5, "")
    report = sgl_fast.report(model)
    assert [(c.calls, c.originals) for c in report] == [(1, 0)] * 2, str(report)
    passes = []
    for one in (original, model):
        for module in one.modules():
            if isinstance(module, mixed):
                setattr(module, name, 0.5)
        torch.manual_seed(15)
        passes.append(one_pass(one, images(1)))
    assert distance(*passes) < (1e-6, "")
    assert [(c.calls, c.originals) for c in report] == [(1, 1)] * 2, str(report)
    assert all("draws random numbers" in c.last for c in report), str(report)
