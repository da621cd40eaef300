"""Layers and classes that change after a cell was verified: settings, forwards, classes, batch norms."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from foreign_check import distance, equal_after, images, one_pass
from foreign_darts import Cell, MixedOp, Network
from torch import nn

import sgl_fast


def dilate(cell: nn.Module) -> None:
    conv = cell._ops[0]._ops[6].op[1]
    conv.dilation, conv.padding = (1, 1), (1, 1)


def double(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return 2 * x


LAYERS: dict[str, Callable[[nn.Module], object]] = {
    "forward of an operation": lambda c: setattr(c._ops[4]._ops[3], "forward", lambda x: 2 * x),
    "forward of a layer of torch's": lambda c: setattr(c._ops[4]._ops[4].op[1], "forward", lambda x: x),
    "bound forward": lambda c: setattr(c._ops[4]._ops[3], "forward", types.MethodType(double, c._ops[4]._ops[3])),
    "dilation": dilate,
    "stride of a pool and its neighbours": lambda c: [
        setattr(m, "kernel_size", 1) or setattr(m, "padding", 0)
        for m in c.modules()
        if isinstance(m, nn.MaxPool2d) and m.kernel_size == 3
    ],
    "count_include_pad": lambda c: [
        setattr(m, "count_include_pad", True) for m in c.modules() if isinstance(m, nn.AvgPool2d)
    ],
    "eps": lambda c: [setattr(m, "eps", 0.5) for m in c.modules() if isinstance(m, nn.BatchNorm2d)],
    "bias of a norm": lambda c: setattr(c.preprocess1.op[2], "bias", nn.Parameter(torch.ones(4 * 2))),
    "another class": lambda c: setattr(c._ops[0], "__class__", Doubled),
}


class Doubled(MixedOp):
    def forward(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x, weights)


@pytest.mark.parametrize("change", LAYERS)
def test_a_layer_changes(change: str) -> None:
    torch.manual_seed(0)
    model = sgl_fast.accelerate(Network(layers=1))
    with torch.no_grad():
        model.alphas_normal.normal_()
    assert equal_after(LAYERS[change], model).originals


def test_the_class_of_a_cell_is_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    for way in (lambda _: Cell, type):
        model, forward = sgl_fast.accelerate(Network(layers=1)), Cell.forward

        def put(cell: nn.Module, way: Any = way, forward: Any = forward) -> None:
            monkeypatch.setattr(way(cell), "forward", lambda *a: 2 * forward(*a))

        assert equal_after(put, model).originals
        monkeypatch.undo()
        assert Cell.forward is forward
        before = sgl_fast.report(model)[0].originals
        model(images(1))
        assert sgl_fast.report(model)[0].originals == before


def test_a_class_is_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = sgl_fast.accelerate(Network(layers=1))
    forward = MixedOp.forward
    assert equal_after(lambda _: monkeypatch.setattr(MixedOp, "forward", lambda *a: 2 * forward(*a)), model).originals
    monkeypatch.undo()
    relu = nn.ReLU.forward
    assert equal_after(
        lambda _: monkeypatch.setattr(nn.ReLU, "forward", lambda m, x: relu(m, x - 0.1)), model
    ).originals


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("buffers", [True, False])
def test_batch_norms_as_torch_reads_them(buffers: bool, flag: bool, training: bool) -> None:
    torch.manual_seed(0)
    model = sgl_fast.accelerate(Network(layers=1))
    original = sgl_fast.restore(copy.deepcopy(model))
    for one in (model, original):
        one_pass(one, images(3))
        one.train(training)
        for norm in one.cells.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.track_running_stats = flag
                if not buffers:
                    norm.running_mean = norm.running_var = None
    assert distance(one_pass(original, images(1)), one_pass(model, images(1))) < (1e-5, "")
    assert not sgl_fast.report(model)[0].originals, str(sgl_fast.report(model))
