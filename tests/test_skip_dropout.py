"""P-DARTS's dropout on the stride-1 skips: masks that a seed determines, at the rate, off in evaluation."""

from __future__ import annotations

from typing import Any

import known
import pytest
import torch
from nets import F64, draws, small
from torch import Tensor

from sgl_fast.reference import apply_op
from sgl_fast.walk import Mode, Walk


class Dropout:
    """A small net with dropout on its skips, at fixed weights."""

    def __init__(self, V: int = 3) -> None:
        self.net = small("p_darts")
        self.weights, self.arch, self.images = draws(self.net, V)

    def __call__(self, rows: list[int] | None = None, rate: float = 0.4, **options: Any) -> Tensor:
        rows = list(range(len(self.arch))) if rows is None else rows
        return self.net(self.weights[rows], self.arch.rows(rows), self.images[rows], skip_dropout=rate, **options)


def test_dropout_repeats_with_its_seeds_however_learners_are_chunked() -> None:
    net = Dropout()
    whole = net(dropout_seeds=[11, 12, 13])
    assert torch.equal(whole, net(dropout_seeds=[11, 12, 13]))
    chunks = [net([0], dropout_seeds=[11]), net([1, 2], dropout_seeds=[12, 13])]
    known.close(torch.cat(chunks), whole)
    known.close(net([2, 0], dropout_seeds=[13, 11]), whole[[2, 0]])
    other = net(dropout_seeds=[11, 12, 14])
    known.close(other[:2], whole[:2])
    assert (other[2] - whole[2]).abs().max() > 1e-3


def test_dropout_draws_from_the_generator() -> None:
    net = Dropout()
    generator = torch.Generator().manual_seed(3)
    first, second = (net(generator=generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, net(generator=torch.Generator().manual_seed(3)))


def test_dropout_is_off_at_rate_zero_and_in_evaluation() -> None:
    net = Dropout()
    assert torch.equal(net(rate=0.0, dropout_seeds=[1, 2, 3]), net.net(net.weights, net.arch, net.images))
    evaluation = {"training": False, "running": net.net.init_running(3, F64)}
    assert torch.equal(net(rate=0.9, **evaluation), net(rate=0.0, **evaluation))


def test_dropout_zeroes_skips_at_the_rate_and_keeps_their_mean() -> None:
    net = small("p_darts")
    walk = Walk(net.sections.stem, net.init_weights(2, dtype=F64)[:, : net.sections.stem.num_weights], Mode())
    walk.mode = Mode(dropout=0.3, dropout_seeds=(5, 6))
    x = torch.ones(64, 2 * 4, 16, 16, dtype=F64)
    out = apply_op(walk, "skip_connect", x, x, 1)
    assert sorted(out.unique().tolist()) == [0.0, pytest.approx(1 / 0.7)]
    for half in out.split(4, dim=1):
        assert half.mean().item() == pytest.approx(1, abs=0.02)  # 65,536 draws: standard deviation 0.0026
    assert not torch.equal(*out.split(4, dim=1))
