"""Recorded activation patterns: replay, split and join, and the smooth loss that they make."""

from __future__ import annotations

import known
import pytest
import torch
import torch.nn.functional as F
from networks import F64, both, draws, small
from torch import Tensor

from sgl_fast.nets import supernet
from sgl_fast.nets.supernet import Supernet
from sgl_fast.reference import mixed_cell as reference
from sgl_fast.reference.cell import Cell
from sgl_fast.reference.layers import LayerCursor, PassContext, fold
from sgl_fast.reference.pattern import Pattern, join
from sgl_fast.spaces.arch import Arch

SPACES = ["darts", "pc_darts", "pc_darts_imagenet"]


def recorded(net: Supernet, *inputs: object) -> Pattern:
    pattern = Pattern()
    net(*inputs, pattern=pattern)
    return pattern


def gradients(
    net: Supernet, weights: Tensor, arch: Arch, images: Tensor, pattern: Pattern | None
) -> tuple[Tensor, ...]:
    """Logits, and the gradients of their squares in the weights and in every architecture tensor."""
    weights, arch = weights.detach().requires_grad_(), arch.map(lambda t: t.detach().requires_grad_())
    logits = net(weights, arch, images, pattern=pattern)
    return logits.detach(), *torch.autograd.grad(logits.square().sum(), [weights, *arch.tensors()])


@pytest.mark.parametrize("name", SPACES)
def test_record_and_replay_at_the_same_weights_change_nothing(name: str) -> None:
    net = small(name)
    inputs = draws(net, 2)
    want = gradients(net, *inputs, pattern=None)
    pattern = Pattern()
    assert not pattern.recorded
    for _ in ("record", "replay", "replay again"):
        for got, expected in zip(gradients(net, *inputs, pattern=pattern), want, strict=True):
            known.close(got, expected)
        assert pattern.recorded
    assert all(kink.shape[0] == 2 for kink in pattern.kinks)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1], [2, 0, 2, 2]], ids=str)
def test_split_and_join_in_any_order_and_with_repeats(order: list[int]) -> None:
    net = small("pc_darts")
    weights, arch, images = draws(net, 3)
    apart = recorded(net, weights, arch, images).split()
    assert len(apart) == 3
    nearby = weights + 0.05 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(2), dtype=F64)
    together = net(nearby[order], arch.rows(order), images[order], pattern=join([apart[v] for v in order]))
    for row, v in enumerate(order):
        alone = net(
            nearby[[v]], arch.rows([v]), images[[v]], pattern=recorded(net, weights[[v]], arch.rows([v]), images[[v]])
        )
        known.close(together[row], alone[0])
    assert (together - net(nearby[order], arch.rows(order), images[order])).abs().max() > 1e-6


def cursor_over(V: int, pattern: Pattern) -> LayerCursor:
    stem = small("darts").sections.stem
    return LayerCursor(stem, torch.zeros(V, stem.num_weights, dtype=F64), PassContext(pattern=pattern))


def test_replay_keeps_the_recorded_masks_and_pixels() -> None:
    """By hand: a replayed ReLU multiplies by the recorded sign, a replayed pool takes the recorded pixel."""
    generator = torch.Generator().manual_seed(4)
    before, after = torch.randn(2, 2, 3, 4, 6, 6, generator=generator, dtype=F64)
    before[0, 0, 0, 0, 0] = 0.0
    pattern = Pattern()

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        cursor = cursor_over(2, pattern)
        pattern.start()
        out = cursor.relu(fold(x)), cursor.max_pool(fold(x), 3, 2, 1)
        pattern.finish()
        return out

    opened, pooled = run(before)
    assert torch.equal(opened, fold(before).relu())
    assert torch.equal(pooled, F.max_pool2d(fold(before), 3, 2, 1))
    opened, pooled = run(after)
    assert torch.equal(opened, fold(after) * (fold(before) > 0))
    windows = [
        F.unfold(F.pad(fold(x), [1] * 4, value=-torch.inf).flatten(0, 1).unsqueeze(1), 3, stride=2)
        for x in (before, after)
    ]
    chosen = windows[0].argmax(1, keepdim=True)
    assert torch.equal(pooled.flatten(), windows[1].gather(1, chosen).flatten())
    assert not torch.equal(pooled, F.max_pool2d(fold(after), 3, 2, 1))


@pytest.mark.parametrize("name", ["darts", "pc_darts"])
def test_replayed_loss_is_smooth_along_a_line(name: str) -> None:
    """So a central difference of gradients over a long step gives the Hessian product of the double backward."""
    net = small(name)
    weights, arch, images = draws(net, 1)
    pattern = recorded(net, weights, arch, images)
    direction = torch.randn(weights.shape, generator=torch.Generator().manual_seed(3), dtype=F64)
    direction /= direction.norm()
    at = weights.clone().requires_grad_()
    (grad,) = torch.autograd.grad(net(at, arch, images).square().sum(), at, create_graph=True)
    (product,) = torch.autograd.grad((grad * direction).sum(), at)

    def error(step: float, frozen: Pattern | None) -> float:
        ends = [gradients(net, weights + h * direction, arch, images, pattern=frozen)[1] for h in (step, -step)]
        return (((ends[0] - ends[1]) / (2 * step) - product).norm() / product.norm()).item()

    coarse, fine = error(0.02, pattern), error(0.01, pattern)
    assert fine < 1e-2 and 3 < coarse / fine < 5, "a central difference is of second order"
    assert error(0.01, None) > 30 * fine, "the step crosses kinks, which the pattern holds still"


def test_pattern_of_another_network_or_batch_is_an_error() -> None:
    net = small("pc_darts")
    weights, arch, images = draws(net, 2)
    pattern = recorded(net, weights, arch, images)
    want = net(weights, arch, images, pattern=pattern)
    misfits = [
        (small("pc_darts", **size), 2, 3)
        for size in ({"nodes": 1}, {"nodes": 3}, {"layers": 2}, {"layers": 4}, {"channels": 8})
    ]
    for other, V, N in [*misfits, (small("darts"), 2, 3), (net, 1, 3), (net, 2, 2)]:
        with pytest.raises(ValueError, match="need a pattern of this network") as error:
            other(*draws(other, V, N=N), pattern=pattern)
        assert "\n" not in str(error.value)
        assert torch.equal(net(weights, arch, images, pattern=pattern), want), "the refusal left the pattern as it was"


@pytest.mark.parametrize(
    "layers, other, says", [(1, 2, "kinks where it has more"), (2, 1, r"got \d+ kinks where it has \d+")]
)
def test_pattern_of_a_net_that_only_ends_elsewhere(layers: int, other: int, says: str) -> None:
    """Both begin with the same reduction cell, so only the number of kinks tells them apart."""
    net, another = small("darts", layers=layers), small("darts", layers=other)
    pattern = recorded(net, *draws(net, 2))
    with pytest.raises(ValueError, match=says):
        another(*draws(another, 2), pattern=pattern)


def test_pattern_of_pools_is_none_of_relus() -> None:
    """Pools in place of separable convolutions: as many kinks, of the same shapes."""
    pools, convs = (small("p_darts", edge_ops=both([[op]] * 5)) for op in ("max_pool_3x3", "sep_conv_3x3"))
    pattern = recorded(pools, *draws(pools, 2))
    with pytest.raises(ValueError, match="torch.bool; got .* torch.int32"):
        convs(*draws(convs, 2), pattern=pattern)


def test_pass_that_fails_while_recording_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net = small("darts")
    inputs = draws(net, 2)
    want = len(recorded(net, *inputs).kinks)
    pattern = Pattern()

    def fail(cell: Cell, *arguments: object) -> Tensor:
        if cell.index == 1:
            raise MemoryError
        return reference.mixed_cell(cell, *arguments[:-1])

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(supernet, "mixed_cell", fail)
        net(*inputs, pattern=pattern)
    assert pattern.kinks and not pattern.recorded
    net(*inputs, pattern=pattern)
    assert len(pattern.kinks) == want
