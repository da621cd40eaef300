"""Steps on flat weights against multi-tensor steps on the 1399 tensors of a supernet, learner by learner."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from sgl_fast import Supernet
from sgl_fast.ops.flat_update import perturb, sgd

from .interleave import Interleave, Row
from .model import FLOAT
from .settings import Settings
from .shapes import space_of

K = 2
LIMITS = (5, 2)
LR, MOMENTUM, WEIGHT_DECAY, CLIP, R = 0.025, 0.9, 3e-4, 5.0, 1e-2
# vectors of length P read and written for each learner: the norm reads the gradient once before
SGD_VECTORS, PERTURB_VECTORS = 6, 5


@pytest.mark.parametrize("name", ["pc_darts", "darts"])
def test_sgd(name: str, device: str, settings: Settings, interleave: Interleave) -> None:
    """Clipping, momentum and weight decay."""
    net = Supernet(space_of(name, settings.short))
    weights, grad, buffer = drawn(net, device)
    made = [parameters(net, w, g) for w, g in zip(weights, grad, strict=True)]
    optimizers = [torch.optim.SGD(one, LR, MOMENTUM, weight_decay=WEIGHT_DECAY, foreach=True) for one in made]

    def baseline() -> None:
        for tensors, optimizer in zip(made, optimizers, strict=True):
            clip_grad_norm_(tensors, CLIP, foreach=True)
            optimizer.step()

    interleave(
        row_of("SGD with clipping", net, SGD_VECTORS),
        lambda: sgd(weights, grad, buffer, LR, MOMENTUM, WEIGHT_DECAY, CLIP),
        baseline,
    )


@pytest.mark.parametrize("name", ["pc_darts", "darts"])
def test_perturb(name: str, device: str, settings: Settings, interleave: Interleave) -> None:
    """W + eps g and W - eps g, eps = r / norm of g."""
    net = Supernet(space_of(name, settings.short))
    weights, grad, _ = drawn(net, device)
    pairs = [(parts(net, w), parts(net, g)) for w, g in zip(weights, grad, strict=True)]

    def baseline() -> None:
        for tensors, direction in pairs:
            eps = R / get_total_norm(direction, foreach=True).item()
            for sign in (1, -1):
                torch._foreach_add(tensors, direction, alpha=sign * eps)

    interleave(row_of("perturbed weights", net, PERTURB_VECTORS), lambda: perturb(weights, grad, R), baseline)


def drawn(net: Supernet, device: str) -> Tensor:
    """Weights, gradient and momentum buffer, (3, K, P)."""
    return torch.randn(3, K, net.num_weights, generator=torch.Generator().manual_seed(0)).to(device)


def parts(net: Supernet, flat: Tensor) -> list[Tensor]:
    """The tensors of one learner, each in its own memory."""
    sizes = [entry.size for entry in net.layout]
    return [part.view(e.shape).clone() for part, e in zip(flat.split(sizes), net.layout, strict=True)]


def parameters(net: Supernet, flat: Tensor, grad: Tensor) -> list[nn.Parameter]:
    made = [nn.Parameter(part) for part in parts(net, flat)]
    for parameter, part in zip(made, parts(net, grad), strict=True):
        parameter.grad = part
    return made


def row_of(what: str, net: Supernet, vectors: int) -> Row:
    """vectors: of length P, read and written for each learner."""
    P = net.num_weights
    shape = f"K{K} P{P} in {len(net.layout)} tensors"
    return Row(f"flat_update: {what}", shape, "foreach", *LIMITS, moved=vectors * FLOAT * K * P)
