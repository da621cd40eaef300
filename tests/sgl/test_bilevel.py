"""Three search steps of DARTS, first and second order, against the published code's numbers: our net, SGD and Adam."""

from __future__ import annotations

from typing import Any

import known
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import sgl_fast
from sgl_fast.nets.supernet import Supernet
from sgl_fast.ops.flat_update import adam, sgd
from sgl_fast.spaces.arch import Arch


def gradients(net: Supernet, w: Tensor, arch: Arch, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, its gradient in the weights and in the architecture (1, A)."""
    w, arch = w.detach().requires_grad_(), arch.map(lambda t: t.detach().requires_grad_())
    loss = F.cross_entropy(net(w, arch, x)[0], y)
    grads = torch.autograd.grad(loss, [w, *arch.tensors()])
    return loss.detach(), grads[0], torch.cat([g.flatten() for g in grads[1:]])[None]


@pytest.mark.parametrize("answer", known.load("bilevel_darts"), ids=lambda a: f"unrolled-{a['unrolled']}")
def test_trajectory(answer: dict[str, Any]) -> None:
    net = Supernet(sgl_fast.space(answer["space"], channels=answer["C"], layers=answer["layers"], num_classes=10))
    w, arch = known.weights(net.layout)[None], known.arch(net.space)
    lr, momentum, decay, clip = (answer[k] for k in ("lr_eta", "momentum", "weight_decay", "grad_clip"))
    buffer, flat = torch.zeros_like(w), arch.flat()
    moments = torch.zeros_like(flat), torch.zeros_like(flat)
    for k, step in enumerate(answer["steps"]):
        x, x_val = (known.u((4, 3, 16, 16), t + k) for t in (920000, 930000))
        y, y_val = (torch.tensor([(a * n + b + k) % 10 for n in range(4)]) for a, b in ((3, 1), (7, 2)))
        train_loss, grad_w, _ = gradients(net, w, arch, x, y)
        if answer["unrolled"]:
            ahead = w - lr * (momentum * buffer + grad_w + decay * w)
            val_loss, v, arch_grad = gradients(net, ahead, arch, x_val, y_val)
            eps = 0.01 / v.norm()
            plus, minus = (gradients(net, w + s * eps * v, arch, x, y) for s in (1, -1))
            arch_grad = arch_grad - lr * (plus[2] - minus[2]) / (2 * eps)
            losses = [train_loss, val_loss, plus[0], minus[0]]
        else:
            val_loss, _, arch_grad = gradients(net, w, arch, x_val, y_val)
            losses = [val_loss]
        known.close(torch.stack(losses), step["losses_in_arch_step"], 1e-7)
        known.close(arch_grad[0], [a for table in step["arch_grad"] for row in table for a in row], 1e-6)
        flat, moments = adam(
            flat, arch_grad, moments, k + 1, answer["arch_lr"], answer["arch_betas"], answer["arch_weight_decay"]
        )
        arch = arch.from_flat(flat)
        known.close(flat[0], [a for table in step["arch_after"] for row in table for a in row], 1e-7)
        train_loss, grad_w, _ = gradients(net, w, arch, x, y)
        known.close(train_loss, step["train_loss"], 1e-7)
        known.close(grad_w.norm(), step["grad_norm_before_clip"], 1e-7)
        w, buffer, _ = sgd(w, grad_w, buffer, lr, momentum, decay, clip)
        known.close(w.square().sum(), step["weights_sumsq"], 1e-7)
        known.close(w[0, -10:], step["classifier_bias_after"], 1e-7)
