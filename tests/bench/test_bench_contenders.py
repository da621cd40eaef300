"""What the benchmarks time computes the same on both sides, and what they count is what the specification counts."""

from __future__ import annotations

import pytest
import torch
from networks import draws, small

import sgl_fast
from bench import contenders, model, shapes
from sgl_fast.reference.cell import Cell
from sgl_fast.spaces import PRIMITIVES

BASELINES = ["eager", "eager channels_last"]
V, N = 2, 3


TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def same(ours: list[torch.Tensor], eager: list[torch.Tensor]) -> None:
    """ours: gradients with a leading axis; eager: learner by learner, the weights one by one. Every number once."""
    apart = torch.cat([g[v].flatten() for v in range(V) for g in ours])
    other = torch.cat([g.flatten() for g in eager])
    assert (apart - other).abs().max() <= TOLERANCE[apart.dtype] * apart.abs().max()


def check_cell(cell: Cell, edge_norm: bool, side: int, baseline: str) -> None:
    """In float64 by the reference, in float32 by the backend that is timed."""
    for dtype in TOLERANCE:
        inputs = shapes.draw_cell(cell, edge_norm, V, N, side, dtype)
        same(contenders.fused_cell(cell, inputs)(), contenders.eager_cell(cell, inputs, baseline)())


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("kind", ["normal", "reduce"])
@pytest.mark.parametrize("name", ["darts", "pc_darts"])
def test_an_edge_is_the_same_on_both_sides(name: str, kind: str, baseline: str) -> None:
    space = shapes.space_of(name)
    check_cell(shapes.edge(space, 8, kind), space.edge_norm, 8, baseline)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("name", ["darts", "pc_darts"])
def test_a_cell_is_the_same_on_both_sides(name: str, index: int, baseline: str) -> None:
    net = small(name)
    check_cell(net.sections.cells[index][0], net.space.edge_norm, 4, baseline)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("name", ["darts", "pc_darts"])
def test_a_pass_is_the_same_on_both_sides(name: str, baseline: str) -> None:
    net = small(name)
    weights, _, images = draws(net, V)
    labels = torch.tensor([2, 0, 1])
    ours = contenders.fused_pass(net, weights, images[0], labels)()
    same(ours, contenders.eager_pass(net, weights, images[0], labels, baseline)())


@pytest.mark.parametrize("name", ["darts", "darts_minus", "pc_darts"])
def test_multiply_adds_are_the_published_ones(name: str) -> None:
    net = sgl_fast.Supernet(sgl_fast.space(name))
    millions = {"darts": 300.3, "darts_minus": 304.5, "pc_darts": 56.6}[name]
    assert round(model.pass_macs(net) / 1e6, 1) == millions


@pytest.mark.parametrize("name", ["darts", "pc_darts"])
def test_saved_activations_are_those_of_the_specification(name: str) -> None:
    net = sgl_fast.Supernet(sgl_fast.space(name))
    megabytes = {"darts": 1440, "pc_darts": 440}[name]
    assert round(50 * model.FLOAT * model.pass_floats(net) / 1e7) == megabytes / 10


def test_an_edge_has_one_mixed_op() -> None:
    space = shapes.space_of("darts")
    cell = shapes.edge(space, 8)
    kernels = 8 * (2 * 9 + 2 * 25 + 9 + 25) + 6 * 8 * 8
    assert model.cell_macs(cell, shapes.section_of(cell), 4) == kernels * 16
    assert model.cell_floats(cell, 4) == (6 + 2 + 1 + 2) * 8 * 16
    assert cell.ops[1] == PRIMITIVES and set(cell.ops[0]) == {"none"}
