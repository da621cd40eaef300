"""A whole pass of the supernet, forward and backward with all gradients, and how its time grows with V."""

from __future__ import annotations

import pytest
import torch

from sgl_fast import Supernet

from . import model
from .contenders import eager_pass, fused_pass
from .interleave import NONE, Interleave, Limits, Row
from .settings import Settings
from .shapes import space_of

PASS = {"pc_darts": (12, 6), "darts": (6, 3)}
# time / V over the time of V = 1: 1.05 aimed at, 1.25 the most
SCALING = (1 / 1.05, 1 / 1.25)


@pytest.mark.parametrize("name", PASS)
def test_pass(name: str, baseline: str, device: str, settings: Settings, interleave: Interleave) -> None:
    net, images, labels = drawn(name, settings, device)
    weights = net.init_weights(2, torch.Generator().manual_seed(0)).to(device)
    limits: Limits = PASS[name] if baseline == "eager" else NONE
    row = Row(f"{name} pass", shape_of(net, 2, images), baseline, *limits, *counted(net, 2, images))
    interleave(row, fused_pass(net, weights, images, labels), eager_pass(net, weights, images, labels, baseline))


@pytest.mark.parametrize("V", [2, 3, 4])
@pytest.mark.parametrize("name", PASS)
def test_scaling(name: str, V: int, device: str, settings: Settings, interleave: Interleave) -> None:
    """A pass of V virtual learners against V times a pass of one."""
    net, images, labels = drawn(name, settings, device)
    weights = net.init_weights(V, torch.Generator().manual_seed(0)).to(device)
    baseline = f"{V} times a pass of V1"
    row = Row(f"{name} scaling", shape_of(net, V, images), baseline, *SCALING, *counted(net, V, images))
    many, one = (fused_pass(net, w, images, labels) for w in (weights, weights[:1]))
    interleave(row, many, one, parts=V)


def drawn(name: str, settings: Settings, device: str) -> tuple[Supernet, torch.Tensor, torch.Tensor]:
    """The supernet, images (N, 3, H, W) and labels (N)."""
    net, draw = Supernet(space_of(name, settings.short)), torch.Generator().manual_seed(0)
    N, side = settings.pick((8, 32), (2, 8))
    images = torch.randn(N, 3, side, side, generator=draw)
    return net, images.to(device), torch.randint(10, (N,), generator=draw).to(device)


def shape_of(net: Supernet, V: int, images: torch.Tensor) -> str:
    return f"V{V} N{len(images)} C{net.space.channels} L{net.space.layers}"


def counted(net: Supernet, V: int, images: torch.Tensor) -> tuple[float, float]:
    """Floating-point operations and bytes of one pass."""
    rows, side = V * len(images), images.shape[-1]
    flops = model.training_flops(model.pass_macs(net, side), rows)
    return flops, model.training_bytes(model.pass_floats(net, side), rows)
