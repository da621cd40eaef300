"""What the tests of drop-in acceleration measure: one pass of a model, and how far two models are apart."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

import sgl_fast


def images(seed: int, K: int = 0, channels: int = 3) -> Tensor:
    """(3, channels, 16, 16), or K such batches."""
    shape = (K, 3, channels, 16, 16)[0 if K else 1 :]
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def one_pass(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Logits, gradients of all parameters and of the images, buffers afterwards, by name."""
    x = images.detach().clone().requires_grad_()
    model.zero_grad()
    logits = model(x)
    logits.square().sum().backward()
    grads = {f"grad {k}": torch.zeros_like(p) if p.grad is None else p.grad for k, p in model.named_parameters()}
    buffers = {f"buffer {k}": b.clone() for k, b in model.named_buffers()}
    assert x.grad is not None
    return {"logits": logits.detach(), "grad images": x.grad, **grads, **buffers}


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> tuple[float, str]:
    """The largest difference relative to the largest value of its kind (logits, gradients, buffers), and of what."""
    assert a.keys() == b.keys()
    kinds = {name: name.split()[0] for name in a}
    scale = {kind: max(float(a[n].abs().max()) for n in a if kinds[n] == kind) for kind in set(kinds.values())}
    return max((float((a[n].double() - b[n].double()).abs().max()) / scale[kinds[n]], n) for n in a)


def twins(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The model, its architecture parameters drawn far from uniform, and an equal one."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if any(word in name for word in ("alpha", "beta", "normal", "reduce")):
                p.copy_(torch.randn_like(p))
    return model, copy.deepcopy(model)


def equal_after(change: Callable[[nn.Module], object], model: nn.Module) -> sgl_fast.dropin.CellReport:
    """After the change the model is what it would be without acceleration, and was before."""
    original = sgl_fast.restore(copy.deepcopy(model))
    before = one_pass(original, images(1))["logits"], one_pass(model, images(1))["logits"]
    assert torch.allclose(*before, rtol=1e-4, atol=1e-6)
    for one in (model, original):
        change(one.cells[0])
    after = one_pass(original, images(1))
    assert not torch.allclose(before[0], after["logits"], rtol=1e-2), "the change changes nothing"
    assert distance(after, one_pass(model, images(1))) < (1e-5, "")
    return sgl_fast.report(model)[0]
