"""Forward and backward of one edge and of one cell, all gradients, against eager modules looped over the learners."""

from __future__ import annotations

import pytest

from sgl_fast.nets.layout import build
from sgl_fast.reference.cell import Cell, section_of
from sgl_fast.spaces import Space

from . import model
from .contenders import eager_cell, fused_cell
from .interleave import NONE, Interleave, Limits, Row
from .settings import Settings
from .shapes import draw_cell, edge, space_of

V = 2
# channels: pixels a side of the edge's input
SIDES = {16: 32, 32: 16, 64: 8}
IMAGES = {"pc_darts": 50, "darts": 20}
# (target, fail below), by channels, against eager and eager channels_last
EDGE: dict[str, dict[int, Limits]] = {
    "pc_darts": {16: (8, 4), 32: (8, 4), 64: (5, 2.5)},
    "darts": {16: (5, 2.5), 32: (5, 2.5), 64: (3, 1.5)},
}
EDGE_CHANNELS_LAST: dict[str, dict[int, Limits]] = {
    "pc_darts": {16: (6, 1.5), 32: (4, 1.5), 64: (3.5, 1.5)},
    "darts": {16: (2.4, 1.5), 32: (2.4, 1.5), 64: (2.2, 1.5)},
}
REDUCTION = (5, 2)
CELL = {"pc_darts": (6, 3), "darts": (3.5, 1.8)}
CELLS = {"normal": 1, "reduce": 2}  # the first of each kind that has two different cells before it


@pytest.mark.parametrize("channels", SIDES)
@pytest.mark.parametrize("name", IMAGES)
def test_edge(name: str, channels: int, baseline: str, device: str, settings: Settings, interleave: Interleave) -> None:
    space, side = space_of(name), SIDES[channels]
    tables = {"eager": EDGE, "eager channels_last": EDGE_CHANNELS_LAST}
    limits = tables[baseline][name][channels] if baseline in tables else NONE
    N = settings.pick(IMAGES[name], 2)
    compare("edge", edge(space, channels), space, N, settings.pick(side, 8), baseline, limits, device, interleave)


@pytest.mark.parametrize("channels", [32, 64])
@pytest.mark.parametrize("name", IMAGES)
def test_reduction_edge(
    name: str, channels: int, baseline: str, device: str, settings: Settings, interleave: Interleave
) -> None:
    """Stride 2: from the size of the cells before."""
    space, side, N = space_of(name), 2 * SIDES[channels], settings.pick(IMAGES[name], 2)
    limits = REDUCTION if baseline == "eager" else NONE
    cell = edge(space, channels, "reduce")
    compare("reduction edge", cell, space, N, settings.pick(side, 8), baseline, limits, device, interleave)


@pytest.mark.parametrize("kind", ["normal", "reduce"])
@pytest.mark.parametrize("name", CELL)
def test_cell(name: str, kind: str, baseline: str, device: str, settings: Settings, interleave: Interleave) -> None:
    space = space_of(name, settings.short)
    limits = CELL[name] if baseline == "eager" and kind == "normal" else NONE
    index = CELLS[kind] - settings.short
    cell, N, side = build(space).cells[index][0], settings.pick(16, 2), settings.pick(32, 8)
    compare(f"{kind} cell", cell, space, N, side, baseline, limits, device, interleave)


def compare(
    what: str,
    cell: Cell,
    space: Space,
    N: int,
    side: int,
    baseline: str,
    limits: Limits,
    device: str,
    interleave: Interleave,
) -> None:
    inputs = draw_cell(cell, space.edge_norm, V, N, side).to(device)
    shape = f"V{V} N{N} C{cell.channels} {side}x{side}"
    flops = model.training_flops(model.cell_macs(cell, section_of(cell), side), V * N)
    moved = model.training_bytes(model.cell_floats(cell, side), V * N)
    row = Row(f"{space.name} {what}", shape, baseline, *limits, flops, moved)
    interleave(row, fused_cell(cell, inputs), eager_cell(cell, inputs, baseline))
