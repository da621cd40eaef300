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
from foreign_check import images, twins
from foreign_darts import Network
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

import sgl_fast

DIFFERENCE = "finite_difference"
ETA, MOMENTUM, DECAY = 0.1, 0.9, 3e-4


class Family(Network):
    """k = 4: PC-DARTS, whose betas are architecture parameters, too."""

    def __init__(self, *sizes: Any, **more: Any) -> None:
        super().__init__(*sizes, **more)
        self._criterion = nn.CrossEntropyLoss()

    def arch_parameters(self) -> list[Tensor]:
        return [p for name, p in self.named_parameters() if name.startswith(("alphas", "betas"))]

    def weights(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.named_parameters() if not name.startswith(("alphas", "betas"))}

    def _loss(self, input: Tensor, target: Tensor) -> Tensor:
        return self._criterion(self(input), target)


def family(k: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    torch.manual_seed(20 + k)
    return twins(Family(C=4, steps=1, multiplier=1, k=k).to(dtype))


def accelerated(model: Any, backend: str | None) -> Any:
    assert sgl_fast.report(sgl_fast.accelerate(model, backend)).accelerated == 3
    return model


def batches(step: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Training images and labels, validation images and labels."""
    labels = torch.tensor([0, 3, 1]), torch.tensor([4, 3, 2])
    first, second = (images(2 * step + i)[:, :, :8, :8].to(dtype) for i in range(2))
    return first, labels[0], second, labels[1]


def sgd(model: Any) -> torch.optim.SGD:
    return torch.optim.SGD(model.weights().values(), ETA, MOMENTUM, weight_decay=DECAY)


def naive(model: Any, optimizer: torch.optim.SGD, batch: tuple[Tensor, ...], unrolled: bool) -> list[Tensor]:
    """The architecture's gradient by eqs 7 and 8, w' in a copy of the model."""
    x, y, x_val, y_val = batch
    if not unrolled:
        return list(torch.autograd.grad(model._loss(x_val, y_val), model.arch_parameters()))
    weights = list(model.weights().values())
    own = [w.detach().clone() for w in weights]
    grads = torch.autograd.grad(model._loss(x, y), weights)
    ahead = copy.deepcopy(model)
    for p, w, g in zip(ahead.weights().values(), weights, grads, strict=True):
        buffer = optimizer.state[w].get("momentum_buffer", torch.zeros_like(w))
        p.data = w.data - ETA * (MOMENTUM * buffer + g + DECAY * w.data)
    both = torch.autograd.grad(ahead._loss(x_val, y_val), [*ahead.arch_parameters(), *ahead.weights().values()])
    direct, v = both[: len(both) - len(weights)], both[len(both) - len(weights) :]
    epsilon = 0.01 / torch.cat([t.flatten() for t in v]).norm()
    sides = []
    for sign in (1, -1):
        for p, w, direction in zip(weights, own, v, strict=True):
            p.data = w + sign * epsilon * direction
        sides.append(torch.autograd.grad(model._loss(x, y), model.arch_parameters()))
    for p, w in zip(weights, own, strict=True):
        p.data = w
    return [d - ETA * (plus - minus) / (2 * epsilon) for d, plus, minus in zip(direct, *sides, strict=True)]


def far(got: Any, want: Any) -> float:
    """The largest difference of two lists of tensors, relative to the largest value."""
    got, want = ([t.detach().double().flatten() for t in ts] for ts in (got, want))
    return float((torch.cat(got) - torch.cat(want)).abs().max() / torch.cat(want).abs().max())


def train(model: Any, optimizer: torch.optim.SGD, batch: tuple[Tensor, ...]) -> None:
    optimizer.zero_grad()
    model._loss(*batch[:2]).backward()
    optimizer.step()


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


def trained(k: int, dtype: torch.dtype = torch.float64) -> tuple[Any, torch.optim.SGD]:
    """A model after one step of its weights, and their optimiser with its momentum."""
    model, _ = family(k, dtype)
    optimizer = sgd(model)
    train(model, optimizer, batches(9, dtype))
    return model, optimizer


def double(model: Any, optimizer: torch.optim.SGD) -> tuple[Any, torch.optim.SGD]:
    """Of a float32 model."""
    other = copy.deepcopy(model).double()
    others = sgd(other)
    others.load_state_dict(optimizer.state_dict())
    return other, others


def gradient(model: Any, optimizer: torch.optim.SGD, unrolled: bool = True, method: str = DIFFERENCE) -> list[Tensor]:
    """That of our architect's step, at a rate that leaves the architecture as it is."""
    dtype = next(model.parameters()).dtype
    architect = sgl_fast.Architect.like(model, lr=0.0, momentum=MOMENTUM, weights_decay=DECAY)
    architect.step(*batches(7, dtype), ETA, optimizer, unrolled, method)
    return [p.grad for p in model.arch_parameters()]


@pytest.mark.parametrize("unrolled", [False, True])
@pytest.mark.parametrize("k", [1, 4])
def test_fused_cells(k: int, unrolled: bool, extension: None) -> None:
    """In float32, beside the naive one in float64."""
    model, optimizer = trained(k, torch.float32)
    want = naive(*double(model, optimizer), batches(7), unrolled)
    assert far(gradient(accelerated(model, "cpu"), optimizer, unrolled), want) < 1e-4
    assert not any(cell.originals for cell in sgl_fast.report(model))


def by_autograd(model: Any, optimizer: torch.optim.SGD) -> tuple[Tensor, ...]:
    """The derivative of the validation loss at w', by the graph of w'."""
    x, y, x_val, y_val = batches(7)
    weights = model.weights()
    grads = torch.autograd.grad(model._loss(x, y), weights.values(), create_graph=True)
    buffers = (optimizer.state[w]["momentum_buffer"] for w in weights.values())
    each = zip(weights.items(), grads, buffers, strict=True)
    ahead = {name: w - ETA * (MOMENTUM * m + g + DECAY * w.detach()) for (name, w), g, m in each}
    logits = functional_call(model, ahead, x_val)
    return torch.autograd.grad(F.cross_entropy(logits, y_val), model.arch_parameters())


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


def optimizer_of(model: Any, like: torch.optim.SGD) -> torch.optim.SGD:
    other = sgd(model)
    other.load_state_dict(like.state_dict())
    return other


def everything(model: Any) -> list[Tensor | None]:
    """Copies of parameters, gradients and buffers."""
    found = [*model.parameters(), *(p.grad for p in model.parameters()), *model.buffers()]
    return [None if t is None else t.detach().clone() for t in found]


def same(a: list[Tensor | None], b: list[Tensor | None]) -> bool:
    both = zip(a, b, strict=True)
    return all(s is t if s is None or t is None else torch.equal(s, t) for s, t in both)


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
