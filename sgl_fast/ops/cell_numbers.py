"""A cell as the list of numbers that the kernels read, and the checks of what is computed with it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..reference.cell import Cell, Section, section_of
from ..spaces import CODES, OPERATIONS, edges_of, is_pool, num_edges
from .registry import said

MOST = 2**20  # of a size
SIZES = ("c_prev_prev", "c_prev", "channels", "nodes", "partial")
FLAGS = ("reduction", "shrink0", "aux_skip", "preprocess", "pool_norm")
HEAD = len(SIZES) + len(FLAGS) + 1


def numbers(cell: Cell) -> list[int]:
    """Sizes, flags, O, and O operations an edge, the missing ones `none`."""
    O = max(len(ops) for ops in cell.ops)
    flags: tuple[bool, ...] = cell.kind == "reduce", cell.shrink0, cell.aux_skip, cell.preprocess, cell.pool_norm
    sizes = [cell.c_prev_prev, cell.c_prev, cell.channels, cell.nodes, cell.partial]
    ops = [CODES.index(op) for edge in cell.ops for op in (*edge, *["none"] * (O - len(edge)))]
    return [*sizes, *(int(flag) for flag in flags), O, *ops]


class Described(NamedTuple):
    """A cell, its section alone, its weights P and the channels S of its norms."""

    cell: Cell
    section: Section
    P: int
    S: int


def described(cell: Sequence[int]) -> Described:
    """The inverse of `numbers`. ValueError where there is no such cell."""
    return _described(tuple(int(number) for number in cell))


@lru_cache(maxsize=1024)
def _described(cell: tuple[int, ...]) -> Described:
    _check_numbers(cell)
    c_prev_prev, c_prev, channels, nodes, partial, reduction, shrink0, *rest = cell
    aux_skip, preprocess, pool_norm, O, *codes = rest
    ops = tuple(tuple(CODES[code] for code in codes[i : i + O]) for i in range(0, len(codes), O))
    kind, flags = "reduce" if reduction else "normal", (bool(aux_skip), bool(preprocess), bool(pool_norm))
    made = Cell(0, kind, bool(shrink0), c_prev_prev, c_prev, channels, nodes, ops, partial, *flags)
    section = section_of(made)
    return Described(made, section, section.num_weights, section.num_statistics)


def _check_numbers(cell: tuple[int, ...]) -> None:
    """What keeps a plan's offsets inside the tensors that are made for it."""
    _need(len(cell) >= HEAD, f"at least {HEAD} numbers", len(cell))
    for name, number in zip(SIZES, cell, strict=False):
        _need(1 <= number <= MOST, f"{name} from 1 to {MOST}", number)
    for name, flag in zip(FLAGS, cell[len(SIZES) :], strict=False):
        _need(flag in (0, 1), f"{name} 0 or 1", flag)
    _, _, channels, nodes, partial, reduction, shrink0, aux_skip, preprocess, _, O = cell[:HEAD]
    codes = cell[HEAD:]
    _need(1 <= O <= len(CODES), f"1 to {len(CODES)} operations an edge", O)
    _need(len(codes) == O * num_edges(nodes), f"{O} operations for each of {num_edges(nodes)} edges", len(codes))
    unknown = [code for code in codes if not 0 <= code < len(CODES)]
    _need(not unknown, f"operations from 0 to {len(CODES) - 1}", unknown[:1])
    noises = [CODES[code] for code in codes if OPERATIONS[CODES[code]].noise]
    _need(not noises, "operations that are fused", noises[:1])
    edges = [[code for code in codes[i : i + O] if code] for i in range(0, len(codes), O)]
    _need(all(len(set(edge)) == len(edge) for edge in edges), "an operation once an edge", edges)
    _need(channels % partial == 0, f"channels that {partial} divides", channels)
    _need(not (aux_skip and partial > 1), "no aux_skip where channels are partial", partial)
    halved = (shrink0 and preprocess) or (reduction and aux_skip)
    _need(not (halved and channels % 2), "an even number of channels", channels)
    skips = any(OPERATIONS[CODES[code]].skip for edge in edges for code in edge)
    _need(not (reduction and skips and channels // partial % 2), "an even number of mixed channels", channels)


def _need(holds: bool, what: str, got: object) -> None:
    if not holds:
        raise ValueError(f"need a cell of {what}; got {got}")


def check_inputs(
    cell: Described,
    s0: Tensor,
    s1: Tensor,
    weights: Tensor,
    op_weights: Tensor,
    edge_weights: Tensor | None,
    training: bool,
) -> None:
    """ValueError unless the tensors are of the cell's sizes, of one floating-point dtype and on one device."""
    (shape, _, P, S), raw, C = cell, cell.cell.preprocess, cell.cell.channels
    c0, c1 = (shape.c_prev_prev, shape.c_prev) if raw else (C, C)
    if s1.dim() != 5 or 0 in s1.shape or not s1.is_floating_point():
        raise ValueError(f"need s1 (V, N, {c1}, H, W), not empty, floating point; got {said(s1)}")
    V, N, _, H, W = s1.shape
    half = 2 if shape.kind == "reduce" else 1
    if H % half or W % half:
        raise ValueError(f"need even H and W in a reduction cell; got s1 {tuple(s1.shape)}")
    scale, E, O = 2 if raw and shape.shrink0 else 1, len(shape.ops), max(len(ops) for ops in shape.ops)
    need(s1, "s1", (V, N, c1, H, W), s1)
    need(s0, "s0", (V, N, c0, scale * H, scale * W), s1)
    need(weights, "weights", (V, P), s1)
    need(op_weights, "op_weights", (V, E, O), s1)
    if edge_weights is not None:
        need(edge_weights, "edge_weights", (V, E), s1)
    least = N * H * W if 2 * C * raw == S else N * (H // half) * (W // half)
    if training and S and least == 1:
        raise ValueError("need more than one value a channel where batch statistics are taken; got one pixel")


def bare_channels(cell: Cell) -> int:
    """Channels of pools without a batch norm: of norms that change nothing, which kernels have after the S others."""
    pools = sum(is_pool(op) for ops in cell.ops for op in ops)
    return 0 if cell.pool_norm else pools * (cell.channels // cell.partial)


def masks_of(cell: Cell) -> int:
    """Dropout masks of a cell: its stride-1 skips."""
    edges = [pair for node in range(cell.nodes) for pair in enumerate(edges_of(node))]
    skips = {edge for edge, ops in enumerate(cell.ops) if any(OPERATIONS[op].skip for op in ops)}
    return sum(cell.stride(source) == 1 and edge in skips for source, edge in edges)


def mask_size(cell: Cell, s1: Tensor) -> tuple[int, int, int, int]:
    """(N, C, H', W') of a learner's mask."""
    N, _, H, W = s1.shape[1:]
    half = 2 if cell.kind == "reduce" else 1
    return N, cell.channels // cell.partial, H // half, W // half


def need(tensor: Tensor, name: str, shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> None:
    """ValueError unless the tensor is of that shape and dtype, by default that of `like`, and on its device."""
    dtype = dtype or like.dtype
    if tensor.shape != torch.Size(shape) or tensor.dtype != dtype or tensor.device != like.device:
        got = f"{said(tensor)} on {tensor.device}"
        raise ValueError(f"need {name} {tuple(shape)} {dtype} on {like.device}; got {got}")
