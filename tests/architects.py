"""Models of the family, their architect done naively, and what a step changes: for the tests of `Architect`."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from foreign_check import images, twins
from foreign_darts import Network
from torch import Tensor, nn
from torch.func import functional_call

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
