"""Models in one pass: each gets its own logits, gradients and statistics, as if it ran alone."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from foreign_check import distance, images, one_pass, twins
from foreign_darts import Network
from foreign_nested import Controller, pdarts
from foreign_styles import CutNetwork
from torch import nn

import sgl_fast
from sgl_fast.dropin import turns


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many models met at each cell, in order."""
    met: list[int] = []

    def compute(requests, *options):
        met.append(len(requests))
        return turns_compute(requests, *options)

    turns_compute = turns.compute
    monkeypatch.setattr(turns, "compute", compute)
    return met


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("make", "cells", "K"),
    [
        (lambda: Network(C=8, k=4), 3, 3),
        (Controller, 4, 2),
        (pdarts, 4, 2),
        (CutNetwork, 3, 2),
        (lambda: Network(layers=2), 2, 1),
    ],
)
def test_equal_to_each_alone(make: Callable[[], nn.Module], cells: int, K: int, shared: bool, sizes: list[int]) -> None:
    torch.manual_seed(1)
    originals, models = zip(*[twins(make()) for _ in range(K)], strict=True)
    stack = sgl_fast.stack(models)
    x = images(2) if shared else images(2, K=K)
    for training in (True, False):
        stack.train(training)
        for net in originals:
            net.train(training)
        expected = [one_pass(net, x if shared else x[k]) for k, net in enumerate(originals)]
        stack.zero_grad()
        y = x.clone().requires_grad_()
        logits = stack(y)
        assert logits.shape == (K, 3, 5)
        logits.square().sum().backward()
        assert y.grad is not None
        total = torch.zeros_like(x[0] if not shared else x)
        for k, net in enumerate(models):
            grads = {f"grad {n}": torch.zeros_like(p) if p.grad is None else p.grad for n, p in net.named_parameters()}
            buffers = {f"buffer {n}": b for n, b in net.named_buffers()}
            grad = expected[k]["grad images"] if shared else y.grad[k]
            got = {"logits": logits[k].detach(), "grad images": grad, **grads, **buffers}
            assert distance(expected[k], got) < (1e-5, "")
            total = total + expected[k]["grad images"]
        assert not shared or torch.allclose(y.grad, total, atol=1e-5 * float(total.abs().max()))
    assert sizes == [K] * (2 * cells)


def test_training_together_is_training_apart() -> None:
    torch.manual_seed(3)
    originals, models = zip(*[twins(Network(C=4)) for _ in range(2)], strict=True)
    stack = sgl_fast.stack(models)
    together = torch.optim.SGD(stack.parameters(), 0.05, momentum=0.9)
    apart = torch.optim.SGD([p for net in originals for p in net.parameters()], 0.05, momentum=0.9)
    for step in range(3):
        for optimiser, run in ((together, stack), (apart, lambda x: torch.stack([net(x) for net in originals]))):
            optimiser.zero_grad()
            run(images(step)).square().mean().backward()
            optimiser.step()
    for a, b in zip(originals, models, strict=True):
        after = b.state_dict()
        for name, value in a.state_dict().items():
            scale = max(1.0, float(value.abs().max()))
            assert float((value - after[name]).abs().max()) < 1e-5 * scale, name


def test_the_callers_modes_hold_in_every_thread() -> None:
    torch.manual_seed(4)
    stack = sgl_fast.stack([Network(layers=2), Network(layers=2)])
    with torch.no_grad():
        assert not stack(images(1)).requires_grad
    with torch.inference_mode():
        assert stack(images(1)).is_inference()
    with torch.autocast("cpu", torch.bfloat16):
        assert stack(images(1)).dtype == torch.bfloat16
    assert sgl_fast.report(stack.models[1])[0].last == "autocast"


def test_a_failure_is_raised_and_leaves_no_thread() -> None:
    torch.manual_seed(5)
    stack = sgl_fast.stack([Network(layers=2), Network(layers=2), Network(layers=2)])
    stack.models[1].classifier = nn.Linear(3, 5)
    ran: list[nn.Module] = []
    stack.models[2].global_pooling.register_forward_pre_hook(lambda module, _: ran.append(module))
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        stack(images(1))
    assert threading.active_count() == before and not ran


def test_models_apart_at_a_cell_run_apart(sizes: list[int]) -> None:
    """One of them in evaluation mode."""
    torch.manual_seed(6)
    originals, models = zip(*[twins(Network(layers=2)) for _ in range(3)], strict=True)
    stack = sgl_fast.stack(models)
    originals[1].eval(), models[1].eval()
    expected = torch.stack([net(images(1)) for net in originals])
    assert torch.allclose(stack(images(1)), expected, atol=1e-5)
    assert sizes == [2, 1] * 2


def test_a_copied_stack_is_a_stack(sizes: list[int]) -> None:
    torch.manual_seed(7)
    stack = sgl_fast.stack([Network(layers=2), Network(layers=2)]).eval()
    assert torch.equal(copy.deepcopy(stack)(images(1)), stack(images(1)))
    assert sizes == [2] * 4


def test_differences_are_named() -> None:
    torch.manual_seed(8)
    first = Network(layers=2)
    with pytest.raises(ValueError, match=r"model 1 differs from model 0: stem.0.weight \(24, 3, 3, 3\), not \(12"):
        sgl_fast.stack([first, Network(C=8, layers=2)])
    with pytest.raises(ValueError, match=r"model 2 .*classifier.weight \(7, 32\), not \(5, 32\)"):
        sgl_fast.stack([first, Network(layers=2), Network(layers=2, num_classes=7)])
    for i, j, what in ((1, 2, "_ops.4._ops has .*'avg_pool_3x3 .*'max_pool_3x3"), (6, 7, "cells.1._ops.4._ops.6.op.1")):
        other = Network(layers=2)
        ops = other.cells[1]._ops[4]._ops
        ops[i], ops[j] = ops[j], ops[i]
        with pytest.raises(ValueError, match=what):
            sgl_fast.stack([first, other])
    with pytest.raises(ValueError, match="need one or more different models; got 2, some of them the same"):
        sgl_fast.stack([first, first])
    with pytest.raises(ValueError, match=r"need images \(N, 3, H, W\) or \(1, N, 3, H, W\); got \(2, 3, 3, 16, 16\)"):
        sgl_fast.stack([first])(images(1, K=2))


def test_cells_that_are_not_accelerated_run_by_themselves(sizes: list[int]) -> None:
    torch.manual_seed(9)
    models = [Network(layers=2) for _ in range(2)]
    for net in models:
        for module in net.cells[0].modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.01
    expected = torch.stack([net(images(1)) for net in models])
    assert torch.allclose(sgl_fast.stack(models)(images(1)), expected, atol=1e-5)
    assert sizes == [2]
