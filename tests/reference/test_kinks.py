"""Kinks where values are equal or NaN: every backend chooses what torch chooses, and keeps NaN wherever torch does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from cells import cell_of
from torch import Tensor
from trials import close, fresh

from sgl_fast.ops.mixed_cell import mixed_cell
from sgl_fast.reference.cell import section_of
from sgl_fast.reference.layers import PassContext
from sgl_fast.reference.pattern import Pattern
from sgl_fast.testing import Setting, draw_inputs

NAN, H, W = float("nan"), 6, 10
OPS = (("max_pool_3x3",), ("sep_conv_3x3",))  # of the edges from s0 and from s1


def ties(x: Tensor) -> Tensor:
    return x.round().clamp(-1, 1)


def constant(x: Tensor) -> Tensor:
    return torch.full_like(x, 0.5)


def some_nan(x: Tensor) -> Tensor:
    """About one in 30, several in a window; and a whole channel."""
    x = x.round().masked_fill(torch.rand_like(x) < 0.03, NAN)
    x[:, :, 1] = NAN
    x[0, 0, 2, :2, 4:8] = NAN
    return x


@pytest.mark.parametrize("spoil", [ties, constant, some_nan])
@pytest.mark.parametrize("kind", ["normal", "reduce"])
@pytest.mark.parametrize("training", [False, True])
def test_recorded_and_replayed_kinks_are_torchs(
    kind: str, training: bool, spoil: Callable[[Tensor], Tensor], backend: str
) -> None:
    """A pass over spoilt states records; another, over states without equals, replays, and shows what was chosen."""
    fresh()
    cell = cell_of(kind, channels=8, nodes=1, ops=OPS, partial=2, preprocess=False)
    setting = Setting(cell, *((1, 1) if backend == "triton" else (2, 2)), H, W, training)  # its interpreter is slow
    inputs, section = draw_inputs(setting), section_of(cell)
    first, second = (t.float() for t in inputs.tensors[:2])  # type: ignore[union-attr]
    few = torch.rand_like(second) < 0.01  # for the convolutions, which spread them
    spoilt = spoil(first), second.masked_fill(few, NAN) if spoil is some_nan else spoil(second)
    found = []
    for dtype, name in ((torch.float64, "reference"), (torch.float32, backend)):
        given, pattern = inputs.at(dtype), Pattern()
        rest = [None if t is None else t.detach() for t in given.tensors[2:]]
        leaves = [t.to(dtype).requires_grad_() for t in (*spoilt, *inputs.tensors[:2])]  # type: ignore[union-attr]
        outs = []
        for states in (leaves[:2], leaves[2:]):
            pattern.start()
            context = PassContext(training, given.running, pattern)
            outs.append(mixed_cell(cell, section, *states, *rest, context, 1.0, name))
            pattern.finish()
        if spoil is some_nan and training:
            outs.pop()  # the running statistics are NaN
        else:
            outs += torch.autograd.grad(outs[1], leaves[2:], given.grad)
        found.append(outs)
    for want, got in zip(*found, strict=True):
        assert torch.equal(got.isnan(), want.isnan())
        close(got.detach().nan_to_num(), want.detach().nan_to_num(), 1.0)
