"""What stands between cells, and around them: everything that autograd records has its effect, by every way to run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from foreign_check import distance, images, one_pass, twins
from foreign_darts import Network
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import sgl_fast


class Reversed(torch.autograd.Function):
    """The identity, with a backward of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -0.5 * grad


class Seen(nn.Module):
    """An identity whose full backward hook scales gradients."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view_as(x)


def scaling(model: nn.Module) -> None:
    seen = Seen()
    seen.register_full_backward_hook(lambda _, grads, __: (3 * grads[0],))
    after_first(model, seen)


def after_first(model: nn.Module, change: Callable[[Tensor], Any]) -> None:
    model.cells[0].register_forward_hook(lambda _, __, out: change(out))


def tensor_hook(out: Tensor) -> None:
    if out.requires_grad:  # not in the first run of a reentrant checkpoint
        out.register_hook(lambda grad: 2 * grad)


def hook_of_node(out: Tensor) -> None:
    if out.grad_fn is not None:
        out.grad_fn.register_prehook(lambda grads: tuple(2 * g for g in grads))


def in_place(out: Tensor) -> Tensor:
    return F.relu(out, inplace=True)


def in_place_on_a_view(out: Tensor) -> None:
    out[:, :2].mul_(3)


def states_in_place(model: nn.Module) -> None:
    """A state is changed after its cell has read it."""

    def double(_: Any, states: tuple[Tensor, ...], __: Tensor) -> None:
        states[1].mul_(2)

    model.cells[1].register_forward_hook(double)


def no_grad_in_place(out: Tensor) -> None:
    with torch.no_grad():
        out.add_(0.1)


def behind(out: Tensor) -> None:
    out.data.mul_(2)


def by_numpy(out: Tensor) -> None:
    np.multiply(out.detach().numpy(), 2, out=out.detach().numpy())


BETWEEN: dict[str, Callable[[nn.Module], Any]] = {
    "nothing": lambda m: None,
    "an own Function": lambda m: after_first(m, Reversed.apply),
    "a module's backward hook": scaling,
    "a cell's backward hook": lambda m: m.cells[1].register_full_backward_hook(
        lambda _, grads, __: (grads[0], 3 * grads[1], *grads[2:])
    ),
    "a cell's backward pre-hook": lambda m: m.cells[1].register_full_backward_pre_hook(
        lambda _, grads: (3 * grads[0],)
    ),
    "a tensor's hook": lambda m: after_first(m, tensor_hook),
    "a node's hook": lambda m: after_first(m, hook_of_node),
    "an activation in place": lambda m: after_first(m, in_place),
    "a part in place": lambda m: after_first(m, in_place_on_a_view),
    "in place under no_grad": lambda m: after_first(m, no_grad_in_place),
    "behind autograd's back": lambda m: after_first(m, behind),
    "by numpy": lambda m: after_first(m, by_numpy),
    "inputs in place": states_in_place,
    "a view": lambda m: after_first(m, lambda out: out[:, :]),
    "a detached state": lambda m: after_first(m, lambda out: out.detach()),
    "half detached": lambda m: after_first(m, lambda out: 0.5 * out + 0.5 * out.detach()),
    "dropout of zero": lambda m: after_first(m, lambda out: F.dropout(out, 0.0)),
    "channels last": lambda m: after_first(m, lambda out: out.contiguous(memory_format=torch.channels_last)),
    "expanded": lambda m: after_first(m, lambda out: out[:1].expand_as(out)),
}


def alone(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    return one_pass(model, x)


def checkpointed(reentrant: bool) -> Callable[[nn.Module, Tensor], dict[str, Tensor]]:
    def run(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        class Around(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, x: Tensor) -> Tensor:
                return checkpoint(self.model, x, use_reentrant=reentrant)

        return one_pass(Around(), x)

    return run


def saved_elsewhere(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    with torch.autograd.graph.save_on_cpu():
        return one_pass(model, x)


def created(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Gradients with a graph of their own."""
    x = x.clone().requires_grad_()
    logits = model(x)
    parameters = [x, *(p for p in model.parameters())]
    grads = torch.autograd.grad(logits.square().sum(), parameters, create_graph=True, allow_unused=True)
    kept = {f"grad {i}": g.detach() for i, g in enumerate(grads) if g is not None}
    return {"logits": logits.detach(), **kept}


WAYS = {
    "alone": alone,
    "checkpoint": checkpointed(False),
    "reentrant checkpoint": checkpointed(True),
    "saved elsewhere": saved_elsewhere,
    "create_graph": created,
}


@pytest.mark.filterwarnings("ignore:second derivatives", "ignore:.*create_graph=True")
@pytest.mark.parametrize("way", WAYS)
def test_what_stands_between_cells(way: str) -> None:
    torch.manual_seed(1)
    plain, fast = twins(Network(layers=2, steps=1, multiplier=1))
    sgl_fast.accelerate(fast)
    for name, put in BETWEEN.items():
        original, model = copy.deepcopy(plain), copy.deepcopy(fast)
        put(original), put(model)
        got = distance(WAYS[way](original, images(2)), WAYS[way](model, images(2)))
        assert got < (2e-5, ""), f"{name}: {got}"
        entries = sgl_fast.report(model)
        assert not sum(cell.originals for cell in entries), f"{name}: {entries}"


def test_what_stands_between_cells_in_a_stack() -> None:
    torch.manual_seed(2)
    first, second = (Network(layers=2, steps=1, multiplier=1) for _ in range(2))
    for name, put in BETWEEN.items():
        models = [copy.deepcopy(m) for m in (first, second)]
        originals = copy.deepcopy(models)
        for one in (*models, *originals):
            put(one)
        x = images(3).requires_grad_()
        want = torch.stack([m(x) for m in originals])
        want.square().sum().backward()
        want_x, x.grad = x.grad, None
        got = sgl_fast.stack(models)(x)
        got.square().sum().backward()
        assert torch.allclose(got, want, rtol=1e-4, atol=1e-5), name
        pairs = [(x.grad, want_x)]
        for a, b in zip(models, originals, strict=True):
            pairs += [(p.grad, q.grad) for p, q in zip(a.parameters(), b.parameters(), strict=True)]
        for p, q in pairs:
            assert (p is None) == (q is None), name
            assert p is None or float((p - q).abs().max()) < 1e-4 * max(1.0, float(q.abs().max())), name


@pytest.mark.parametrize("way", ["retained", "caught", "caught in a stack"])
def test_gradients_of_states(way: str) -> None:
    """retain_grad on a state that is sliced afterwards; an activation that was caught and is asked for later."""
    torch.manual_seed(3)
    found = []
    for fast in (False, True):
        torch.manual_seed(3)
        model, other = (Network(layers=2, steps=1, multiplier=1) for _ in range(2))
        kept: list[Tensor] = []

        def catch(_: Any, __: Any, out: Tensor, kept: list[Tensor] = kept) -> Tensor | None:
            kept.append(out)
            if way != "retained":
                return None
            out.retain_grad()
            return out[:, :]

        if fast:
            sgl_fast.accelerate(model)
        model.cells[0].register_forward_hook(catch)
        runs = sgl_fast.stack([model, other]) if fast and way.endswith("stack") else model
        out = runs(images(4))
        loss = (out[0] if out.dim() == 3 else out).square().sum()
        if way == "retained":
            loss.backward()
            found.append(kept[0].grad)
        else:
            found.append(torch.autograd.grad(loss, kept[0])[0])
    assert torch.allclose(*found, rtol=1e-3, atol=1e-6)
