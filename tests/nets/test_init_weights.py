"""Initial weights: PyTorch's defaults layer by layer, repeatable, each learner its own."""

from __future__ import annotations

import math

import pytest
import torch
from networks import F64, small
from torch import nn

from sgl_fast.nets.supernet import Supernet
from sgl_fast.spaces import space


def test_initial_weights_are_those_of_pytorch_layer_by_layer() -> None:
    """Uniform within 1/sqrt(fan_in) of convolutions and the classifier; batch norms 1 and 0."""
    net = Supernet(space("pc_darts", channels=16, layers=3))
    weights = net.init_weights(4, torch.Generator().manual_seed(0))
    assert weights.dtype == torch.float32 and weights.shape == (4, net.num_weights)
    fan_in = 0
    for entry in net.layout:
        part = weights[:, entry.offset : entry.offset + entry.size]
        if ".norm." in entry.name:
            assert part.eq(1.0 if entry.name.endswith("weight") else 0.0).all()
            continue
        fan_in = math.prod(entry.shape[1:]) if len(entry.shape) > 1 else fan_in
        bound, draws = fan_in**-0.5, part.numel()
        assert part.abs().max() <= bound
        assert part.abs().max() > bound * (1 - 12 / draws), entry.name
        assert part.std().item() == pytest.approx(bound / math.sqrt(3), rel=4 / math.sqrt(draws)), entry.name
        assert abs(part.mean().item()) < 5 * bound / math.sqrt(3 * draws), entry.name
        assert len({tuple(row) for row in part.tolist()}) == 4


def test_initial_bounds_are_those_of_the_modules() -> None:
    net = small("darts")
    weights = net.init_weights(2000, torch.Generator().manual_seed(0), F64)
    part = {e.name: weights[:, e.offset : e.offset + e.size] for e in net.layout}
    torch.manual_seed(0)
    classifiers = [nn.Linear(net.layout[-2].shape[1], 5) for _ in range(2000)]
    convs = [nn.Conv2d(4, 4, 5, groups=4, bias=False) for _ in range(2000)]
    samples = {
        "classifier.weight": torch.stack([m.weight for m in classifiers]),
        "classifier.bias": torch.stack([m.bias for m in classifiers]),
        "cells.0.edges.0.sep_conv_5x5.first.depthwise.weight": torch.stack([m.weight for m in convs]),
    }
    for name, sample in samples.items():
        assert part[name].abs().max().item() == pytest.approx(sample.abs().max().item(), rel=1e-2), name
        assert part[name].std().item() == pytest.approx(sample.std().item(), rel=3e-2), name


def test_initial_weights_repeat_with_the_seed() -> None:
    net = small("darts")
    first, again, other = (net.init_weights(2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
