"""Architecture parameters: the draw, and the moves between rows, flat vectors and fields."""

from __future__ import annotations

import pytest
import torch

from sgl_fast.spaces import SPACES, Space, space
from sgl_fast.spaces.arch import FIELDS, Arch, init_arch

EDGES = 5


def drawn(name: str = "pc_darts", learners: int = 3) -> tuple[Space, Arch]:
    made = space(name, nodes=2)
    return made, init_arch(made, learners, torch.Generator().manual_seed(7), torch.float64)


@pytest.mark.parametrize("name", SPACES)
def test_shapes_of_every_space(name: str) -> None:
    made, arch = drawn(name)
    assert arch.alphas_normal.shape == arch.alphas_reduce.shape == (3, EDGES, 8)
    if made.edge_norm:
        assert arch.betas_normal.shape == arch.betas_reduce.shape == (3, EDGES)
    else:
        assert arch.betas_normal is None and arch.betas_reduce is None
    assert len(arch) == 3
    assert len(arch.tensors()) == (4 if made.edge_norm else 2)


def test_fewer_ops_an_edge() -> None:
    ops = [[0, 3, 4]] * EDGES
    made = space("p_darts", nodes=2, edge_ops={"normal": ops, "reduce": ops})
    assert init_arch(made, 2).alphas_reduce.shape == (2, EDGES, 3)


def test_draw_is_a_thousandth_of_a_normal_one_and_each_learner_has_its_own() -> None:
    _, arch = drawn(learners=400)
    for tensor in arch.tensors():
        assert tensor.dtype == torch.float64
        assert abs(tensor.std().item() - 1e-3) < 1e-4 and abs(tensor.mean().item()) < 1e-4
    assert len({tuple(row) for row in arch.flat().tolist()}) == 400
    assert not torch.equal(arch.alphas_normal, arch.alphas_reduce)


def test_draw_repeats_with_the_seed() -> None:
    assert torch.equal(drawn()[1].flat(), drawn()[1].flat())


def test_tensors_come_in_the_order_of_the_fields() -> None:
    _, arch = drawn()
    for name, tensor in zip(FIELDS, arch.tensors(), strict=True):
        assert tensor is getattr(arch, name)


def test_flat_is_one_row_a_learner_in_the_order_of_the_fields() -> None:
    _, arch = drawn()
    flat = arch.flat()
    assert flat.shape == (3, 2 * EDGES * 8 + 2 * EDGES)
    for k in range(3):
        assert flat[k].tolist() == [x for t in arch.tensors() for x in t[k].flatten().tolist()]


@pytest.mark.parametrize("name", ["darts", "pc_darts"])
def test_from_flat_inverts_flat_for_any_number_of_learners(name: str) -> None:
    _, arch = drawn(name)
    for rows in ([0, 1, 2], [2], [1, 1, 0, 2]):
        back = arch.from_flat(arch.flat()[rows])
        want = arch.rows(rows)
        assert len(back) == len(want) == len(rows)
        for got, expected in zip(back.tensors(), want.tensors(), strict=True):
            assert torch.equal(got, expected)


def test_rows_take_learners_in_any_order_and_with_repeats() -> None:
    _, arch = drawn()
    taken = arch.rows([2, 0, 2])
    for got, whole in zip(taken.tensors(), arch.tensors(), strict=True):
        assert torch.equal(got, torch.stack([whole[2], whole[0], whole[2]]))


def test_rows_and_flat_carry_gradients() -> None:
    _, arch = drawn()
    arch = arch.map(lambda t: t.requires_grad_())
    arch.rows([1, 1]).flat().sum().backward()
    for tensor in arch.tensors():
        assert tensor.grad is not None
        assert tensor.grad.flatten(1).unique(dim=1).flatten().tolist() == [0, 2, 0]


def test_map_keeps_missing_betas_missing() -> None:
    _, arch = drawn("darts")
    doubled = arch.map(lambda t: 2 * t)
    assert doubled.betas_normal is None
    assert torch.equal(doubled.alphas_reduce, 2 * arch.alphas_reduce)
