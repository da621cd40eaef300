"""A search has the same numbers on any number of threads, to the bit: what --resume promises on any machine."""

from __future__ import annotations

import pytest
import torch
from networks import small
from torch import Tensor
from trials import threads

from sgl_fast.backends.choice import use_backend
from sgl_fast.data.batch import Batch
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.search import Search
from sgl_fast.spaces import SPACES

STEPS, N, CLASSES = 2, 18, 100  # images enough for several shares of a weight gradient


def state_after(name: str, algorithm: str) -> list[Tensor]:
    net = small(name, num_classes=CLASSES)
    side, draw = 64 if net.space.imagenet else 8, torch.Generator().manual_seed(3)
    dropout = {"skip_dropout": 0.3} if name == "p_darts" else {}
    search = Search(net, Config.preset(name, algorithm, learners=2, arch_start=0, pretrain_epochs=0, **dropout))
    for _ in range(STEPS):
        x = [torch.randn(N, 3, side, side, generator=draw) for _ in range(3)]
        y = [torch.randint(CLASSES, (N,), generator=draw) for _ in range(2)]
        search.step(Batch(x[0], y[0], x[1], x[2], y[1]))
    return search.tensors()


@pytest.mark.parametrize(("name", "algorithm"), [*((name, "best") for name in SPACES), ("p_darts", "released")])
def test_a_search_does_not_depend_on_threads(name: str, algorithm: str, extension: None) -> None:
    """First order, and frozen second order with the explicit term."""
    found = []
    for count in (1, 2, 3):
        with threads(count), use_backend("cpu"):
            found.append(state_after(name, algorithm))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_pass_and_its_gradients_do_not_depend_on_threads(layout: torch.memory_format, extension: None) -> None:
    """One learner, so that its images are dealt to all threads; gradients in the images, too."""
    net = small("pc_darts", num_classes=CLASSES)
    draw = torch.Generator().manual_seed(4)
    arch, images = net.init_arch(1, draw), torch.randn(N, 3, 16, 16, generator=draw).to(memory_format=layout)
    found = []
    for count in (1, 2, 3, 8):
        leaves = [net.init_weights(1, draw.manual_seed(5)).requires_grad_(), images.detach().requires_grad_()]
        with threads(count):
            out = net(leaves[0], arch, leaves[1], backend="cpu")
            found.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
