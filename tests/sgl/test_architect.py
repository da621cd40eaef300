"""The family's architect: against a naive one with a copied model, and exact second order against autograd."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from architects import (
    DECAY,
    DIFFERENCE,
    ETA,
    MOMENTUM,
    accelerated,
    batches,
    by_autograd,
    double,
    everything,
    family,
    far,
    gradient,
    naive,
    optimizer_of,
    same,
    sgd,
    train,
    trained,
)
from foreign_darts import Network
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import sgl_fast


@pytest.mark.parametrize(
    ("by", "k", "unrolled"),
    [("plain", 1, True), ("plain", 4, False), ("reference", 1, False), ("reference", 4, True)],
)
def test_steps_of_a_search(by: str, k: int, unrolled: bool, extension: None) -> None:
    """As the family's loop does it: gradients, architectures, weights and running statistics after each step."""
    model, other = family(k)
    if by != "plain":
        accelerated(model, by)
    args = SimpleNamespace(momentum=MOMENTUM, weight_decay=DECAY, arch_learning_rate=6e-4, arch_weight_decay=1e-3)
    architect, adam = (
        sgl_fast.Architect(model, args),
        torch.optim.Adam(other.arch_parameters(), 6e-4, (0.5, 0.999), weight_decay=1e-3),
    )
    optimizers = sgd(model), sgd(other)
    for step in range(3):
        batch = batches(step)
        architect.step(*batch, ETA, optimizers[0], unrolled=unrolled)
        want = naive(other, optimizers[1], batch, unrolled)
        assert far([p.grad for p in model.arch_parameters()], want) < 1e-9
        for p, grad in zip(other.arch_parameters(), want, strict=True):
            p.grad = grad
        adam.step()
        assert far(model.state_dict().values(), other.state_dict().values()) < 1e-9
        for one, optimizer in zip((model, other), optimizers, strict=True):
            train(one, optimizer, batch)


@pytest.mark.parametrize("unrolled", [False, True])
@pytest.mark.parametrize("k", [1, 4])
def test_fused_cells(k: int, unrolled: bool, extension: None) -> None:
    """In float32, beside the naive one in float64."""
    model, optimizer = trained(k, torch.float32)
    want = naive(*double(model, optimizer), batches(7), unrolled)
    assert far(gradient(accelerated(model, "cpu"), optimizer, unrolled), want) < 1e-4
    assert not any(cell.originals for cell in sgl_fast.report(model))


@pytest.mark.parametrize(("dtype", "by"), [("float64", ""), ("float64", "reference"), ("float32", "cpu")])
@pytest.mark.parametrize("k", [1, 4])
def test_exact(k: int, dtype: str, by: str, extension: None) -> None:
    model, optimizer = trained(k, getattr(torch, dtype))
    want = by_autograd(*double(model, optimizer))
    twice = copy.deepcopy(model)
    for _ in range(2):
        twice._loss(*batches(7, getattr(torch, dtype))[:2])
    if by:
        accelerated(model, by)
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that second derivatives are slow
        assert far(gradient(model, optimizer, method="exact"), want) < tolerance
    assert far(model.buffers(), twice.buffers()) < tolerance, "statistics of two passes on the training batch"
    first_order = naive(twice, optimizer, batches(7, getattr(torch, dtype)), False)
    assert far(first_order, want) > 100 * tolerance


@pytest.mark.parametrize(("dtype", "by"), [("float64", "reference"), ("float32", "cpu")])
@pytest.mark.parametrize("k", [1, 4])
def test_frozen(k: int, dtype: str, by: str, extension: None) -> None:
    """Nearer to autograd's derivative than the plain difference, and for the same running statistics."""
    model, optimizer = trained(k, getattr(torch, dtype))
    want = by_autograd(*double(model, optimizer))
    accelerated(model, by)
    plain, errors = copy.deepcopy(model), {}
    for method, one in (("frozen", model), (DIFFERENCE, plain)):
        errors[method] = far(gradient(one, optimizer_of(one, optimizer), method=method), want)
    assert errors["frozen"] < 1e-3 and errors["frozen"] < errors[DIFFERENCE] / 3, errors
    assert far(model.buffers(), plain.buffers()) < 1e-3
    model.cells[1]._ops[0]._ops[4].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="need every cell accelerated for method 'frozen'"):
        gradient(model, optimizer, method="frozen")


@pytest.mark.parametrize(
    ("unrolled", "method", "by"),
    [(False, DIFFERENCE, None), (True, DIFFERENCE, "cpu"), (True, "exact", None)],
)
def test_weights_and_their_gradients_stay(unrolled: bool, method: str, by: str | None, extension: None) -> None:
    model, optimizer = trained(1, torch.float32)
    if by:
        accelerated(model, by)
    before = everything(nn.ParameterList(model.weights().values()))
    assert all(t is not None for t in before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        gradient(model, optimizer, unrolled, method)
    assert same(everything(nn.ParameterList(model.weights().values())), before)


@pytest.mark.parametrize(
    ("unrolled", "method", "passes"),
    [(False, DIFFERENCE, 1), (True, DIFFERENCE, 4), (True, "exact", 3)],
)
def test_an_error_leaves_everything(unrolled: bool, method: str, passes: int) -> None:
    model, optimizer = trained(1)
    before = everything(model)
    for last in range(1, passes + 1):
        losses = iter(range(1, 9))

        def loss(logits: Tensor, targets: Tensor, last: int = last, losses: Iterator[int] = losses) -> Tensor:
            if next(losses) == last:
                raise KeyboardInterrupt
            return F.cross_entropy(logits, targets)

        architect = sgl_fast.Architect.like(model, loss=loss)
        with pytest.raises(KeyboardInterrupt):
            architect.step(*batches(3), ETA, optimizer, unrolled, method)
        assert same(everything(model), before) and not architect.optimizer.state


class Bare(Network):
    """No arch_parameters, no loss; a tuple."""

    def forward(self, input: Tensor) -> tuple[Tensor, None]:
        return super().forward(input), None


def bare(model: Any) -> tuple[nn.Module, dict[str, Any]]:
    other = Bare(*model._arguments).double()
    other.load_state_dict(model.state_dict())
    return other, {"arch_parameters": iter([other.alphas_normal, other.alphas_reduce])}


@pytest.mark.parametrize(
    "of", [bare, lambda model: (nn.DataParallel(model), {}), lambda model: (model, {"loss": F.cross_entropy})]
)
def test_what_a_model_may_have(of: Callable[[Any], tuple[nn.Module, dict[str, Any]]]) -> None:
    """The step is that of the optimizer that is given."""
    model, optimizer = trained(1)
    before = [a.detach().clone() for a in model.arch_parameters()]
    want = naive(copy.deepcopy(model), optimizer, batches(7), False)
    one, options = of(model)
    alphas = [p for name, p in one.named_parameters() if "alphas" in name]
    own = torch.optim.SGD(alphas, 2.0)
    sgl_fast.Architect.like(one, own, **options).step(*batches(7), ETA)
    assert far(alphas, [a - 2 * g for a, g in zip(before, want, strict=True)]) < 1e-12


ARGS = {"momentum": 0.9, "weight_decay": 0.0, "arch_learning_rate": 1e-3}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda model: sgl_fast.Architect.like(model._loss), TypeError, "need an nn.Module of one process; got method"),
        (lambda _: sgl_fast.Architect.like(object.__new__(DistributedDataParallel)), TypeError, "got DistributedData"),
        (lambda model: sgl_fast.Architect(model, SimpleNamespace(**ARGS)), ValueError, "got none with arch_weight_dec"),
        (lambda model: sgl_fast.Architect.like(Network()), ValueError, "need arch_parameters=...: Network has no"),
        (lambda model: gradient(model, sgd(model), method="free"), ValueError, "out of finite_difference, frozen, ex"),
        (lambda model: gradient(model, sgd(model), method="frozen"), ValueError, "need every cell accelerated for me"),
        (lambda model: gradient(model, None), ValueError, "need the network_optimizer, whose momentum"),  # type: ignore[arg-type]
    ],
)
def test_bad_input(call: Callable[[Any], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(family()[0])
