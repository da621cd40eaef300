"""One cell of each kind, and the errors of what it computes."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from sgl_fast.reference.cell import Cell
from sgl_fast.spaces import PRIMITIVES, num_edges
from sgl_fast.testing import Setting


def errors(got: list[Tensor], want: list[Tensor]) -> list[float]:
    return [
        ((g.double() - w).abs().max() / w.abs().max().clamp(min=1e-30)).item() for g, w in zip(got, want, strict=True)
    ]


def tiny(setting: Setting, backend: str) -> Setting:
    """For Triton's interpreter: few pixels, two of the operations an edge, drawn anew."""
    if backend != "triton":
        return setting
    cell = setting.cell
    kinds = sorted({op for ops in cell.ops for op in ops})
    ops = [[kinds[i] for i in sorted(torch.randperm(len(kinds))[:2].tolist())] for _ in cell.ops]
    cell = dataclasses.replace(cell, ops=tuple(map(tuple, ops)))
    return dataclasses.replace(setting, cell=cell, V=min(setting.V, 2), N=2, H=4, W=6)


def cell_of(kind: str = "normal", channels: int = 8, nodes: int = 2, ops: Any = None, **fields: Any) -> Cell:
    ops = ops or (PRIMITIVES,) * num_edges(nodes)
    values = {"shrink0": False, "partial": 1, "aux_skip": False, "inputs": (12, 8)} | fields
    shrink0, share, aux = values["shrink0"], values["partial"], values["aux_skip"]
    flags = values.get("preprocess", True), values.get("pool_norm", True)
    return Cell(0, kind, shrink0, *values["inputs"], channels, nodes, ops, share, aux, *flags)


FEW = ("max_pool_3x3", "skip_connect", "sep_conv_3x3")
POOLS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "dil_conv_3x3")
SETTINGS = {
    "normal": Setting(cell_of(), 2, 3, 8, 8),
    "reduction": Setting(cell_of("reduce"), 2, 3, 8, 8),
    "after a reduction": Setting(cell_of(shrink0=True), 2, 3, 8, 8),
    "partial channels": Setting(cell_of(channels=16, partial=4), 2, 3, 8, 8),
    "partial channels, reduction": Setting(cell_of("reduce", 16, partial=4), 2, 3, 8, 8, replay=True),
    "many channels": Setting(cell_of(channels=16, preprocess=False), 2, 3, 6, 9),
    "many channels, reduction": Setting(cell_of("reduce", channels=32, nodes=1, preprocess=False), 1, 3, 8, 8),
    "many channels, in bands": Setting(cell_of(channels=16, nodes=1, preprocess=False), 1, 2, 13, 40),
    "many channels, reduction in bands": Setting(cell_of("reduce", 32, nodes=1, preprocess=False), 1, 2, 16, 40),
    "many channels, preprocessed": Setting(cell_of(channels=64, nodes=1, shrink0=True, inputs=(32, 48)), 2, 1, 4, 8),
    "many channels, part of them mixed": Setting(
        cell_of("reduce", 96, nodes=1, partial=2, inputs=(16, 64)), 2, 1, 8, 8
    ),
    "large planes, many inputs": Setting(cell_of(channels=12, nodes=1, ops=(FEW,) * 2, inputs=(40, 33)), 1, 2, 17, 70),
    "large planes, reduction": Setting(
        cell_of("reduce", 12, nodes=1, ops=(FEW,) * 2, shrink0=True, inputs=(40, 33)), 1, 2, 18, 68
    ),
    "auxiliary skips": Setting(cell_of(aux_skip=True), 2, 3, 8, 8, edge_weights=False),
    "auxiliary skips, reduction": Setting(cell_of("reduce", aux_skip=True), 2, 3, 8, 8, edge_weights=False),
    "skip dropout": Setting(cell_of(), 2, 3, 8, 8, dropout=0.4),
    "replayed": Setting(cell_of(), 2, 3, 8, 8, replay=True),
    "evaluation": Setting(cell_of("reduce", shrink0=True), 2, 3, 8, 8, training=False),
    "states given": Setting(cell_of(preprocess=False), 2, 3, 8, 8),
    "bare pools": Setting(cell_of(ops=(POOLS,) * 5, pool_norm=False), 2, 3, 8, 8, dropout=0.4),
    "bare pools, reduction, replayed": Setting(
        cell_of("reduce", 8, 1, (POOLS,) * 2, partial=4, shrink0=True, pool_norm=False), 2, 3, 8, 8, replay=True
    ),
    "bare pools, evaluation": Setting(cell_of(nodes=1, ops=(POOLS,) * 2, pool_norm=False), 2, 3, 8, 8, training=False),
    "nothing but none": Setting(cell_of(ops=(("none",),) * 5), 2, 3, 8, 8),
}
