"""What a search says of its cells: decided, or no better than chance."""

from __future__ import annotations

import pytest
import torch
from networks import small

from sgl_fast.run.decided import Decided, decided
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.search import Search
from sgl_fast.spaces.arch import Arch


def moved(drift: float, steps: int = 60, learners: int = 2) -> Decided:
    """By gradients of normal numbers, with a drift of every edge's second operation; the same for all learners."""
    search = Search(small("pc_darts", nodes=4), Config.preset("pc_darts", learners=learners, arch_start=0))
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):

        def gradient(t: torch.Tensor) -> torch.Tensor:
            noise = torch.randn(t.shape, generator=draw)
            if t.dim() == 3:
                noise[:, :, 1] -= drift
            return noise

        search.architect = search.architect.moved(search.arch.map(gradient), search.config)
    return decided(search)


def test_a_walk_without_a_signal_is_undecided() -> None:
    found = moved(0.0)
    assert found.edges == 56 and found.edges_each == 28 and not found.is_found
    assert found.decided < 9 and found.agreed < 12 and found.agreed_by_chance == pytest.approx(4)
    first, second = found.lines()
    assert first.startswith(f"decided: the operation of {found.decided} of 56 edges, by chance 2.8; learners agree on ")
    assert second.startswith("UNDECIDED: ")


def test_a_signal_decides() -> None:
    found = moved(1.0)
    assert found.is_found and found.decided > 40 and found.agreed == 28
    (line,) = found.lines()
    assert line.endswith("learners agree on 28 of 28, by chance 4.0")
    assert "learners" not in moved(1.0, learners=1).lines()[0]


def test_an_operation_that_no_cell_keeps_decides_nothing() -> None:
    search = Search(small("darts"), Config.preset("darts", learners=1, arch_start=0))
    search.architect.steps += 9
    none = search.space.ops("normal")[0].index("none")

    def only_none(t: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(t).index_fill_(-1, torch.tensor([none]), 9.0)

    search.architect.arch = Arch(*(only_none(t) for t in search.arch.tensors()))
    assert decided(search).decided == 0
