"""The raw operators of the fused cell: schemas, checks, shapes for tracing."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..backends.choice import compiled
from ..backends.precision import check_precision
from ..kernels.launch import storage_dtype
from ..reference.cell import Cell
from . import flops
from .cell_numbers import bare_channels, check_inputs, described, mask_size, masks_of, need
from .plan import program_of
from .registry import register

STEM = "mixed_cell"
TABLES = "convs", "pools", "uses", "edges", "out_edges", "terms", "states"  # of a program, for C++
INPUTS = "Tensor s0, Tensor s1, Tensor weights, Tensor op_weights, Tensor? edge_weights"
FIVE = "(Tensor, Tensor, Tensor, Tensor, Tensor)"


def sizes(cell: list[int], H: int, W: int) -> tuple[int, int, int, int]:
    """Weights and norm channels of a learner (bare pools' too), numbers and pattern bytes that an image leaves."""
    return program_of(tuple(cell), int(H), int(W)).sizes


@lru_cache(maxsize=1024)
def _compiled_program(make: Callable[..., int], cell: tuple[int, ...], H: int, W: int) -> int:
    """The number of the program for the compiled kernels, which check its rows once."""
    program = program_of(cell, H, W)
    return make(program.head, *(getattr(program, table) for table in TABLES))


def _for_kernels(cell: list[int], *rest: Any) -> tuple[Any, ...]:
    return _compiled_program(compiled().program, tuple(cell), *rest[1].shape[3:]), *rest


def _check(
    cell: list[int],
    s0: Tensor,
    s1: Tensor,
    weights: Tensor,
    op_weights: Tensor,
    edge_weights: Tensor | None,
    running: Tensor | None,
    pattern: Tensor | None,
    dropout: Tensor | None,
    skip_beta: Tensor | None,
    dropout_scale: Tensor | None,
    *_: Any,
) -> None:
    shape = described(cell)
    check_inputs(shape, s0, s1, weights, op_weights, edge_weights, running is None)
    if running is not None:
        need(running, "running", (s1.shape[0], 3, shape.S), s1)
    _check_scalars(shape.cell, dropout, skip_beta, dropout_scale, s1)


def _check_scalars(
    cell: Cell, dropout: Tensor | None, skip_beta: Tensor | None, dropout_scale: Tensor | None, s1: Tensor
) -> None:
    if skip_beta is not None:
        need(skip_beta, "skip_beta", (), s1)
    if dropout_scale is not None:
        need(dropout_scale, "dropout_scale", (), s1)
    if dropout is not None:
        if dropout_scale is None:
            raise ValueError("need dropout_scale where there is dropout; got None")
        need(dropout, "dropout", (masks_of(cell), s1.shape[0], *mask_size(cell, s1)), s1, torch.bool)


def _check_triton(cell: list[int], s0: Tensor, s1: Tensor, *rest: Any) -> None:
    """What the compiled kernels check themselves: the pattern to replay, the precision."""
    check_precision(rest[-1], "triton", s1.device)
    if (pattern := rest[4]) is not None:
        V, N, _, H, W = s1.shape
        need(pattern, "pattern", (V, N, sizes(cell, H, W)[3]), s1, torch.uint8)


def _fake(cell: list[int], s0: Tensor, s1: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    V, N, H, W = s1.shape[0], s1.shape[1], s1.shape[3], s1.shape[4]
    C, nodes, reduction, preprocess = cell[2], cell[3], cell[5], cell[8]
    norms, saved, bytes_ = sizes(cell, H, W)[1:]
    out = s1.new_empty(V, N, nodes * C, H // 2 if reduction else H, W // 2 if reduction else W)
    states = s1.new_empty(V, N, 2 * preprocess, C, H, W)
    pattern = s1.new_empty(V, N, bytes_, dtype=torch.uint8)
    activations = s1.new_empty(V, N, saved, dtype=storage_dtype(rest[-1]))
    return out, states, activations, s1.new_empty(V, 3, norms), pattern


def _half(precision: str, device: torch.device) -> bool:
    """Whether a compiled kernel keeps float16."""
    check_precision(precision, "cuda" if device.type == "cuda" else "cpu", device)
    return precision == "float16"


FORWARD = register(
    f"mixed_cell(int[] cell, {INPUTS}, Tensor? running, Tensor? pattern, Tensor? dropout,"
    f" Tensor? skip_beta, Tensor? dropout_scale, str precision) -> {FIVE}",
    _check,
    _fake,
    STEM,
    check_triton=_check_triton,
    arguments=lambda *args: (*_for_kernels(*args[:-1]), _half(args[-1], args[2].device)),
)


def _check_backward(
    cell: list[int],
    s0: Tensor,
    s1: Tensor,
    weights: Tensor,
    op_weights: Tensor,
    edge_weights: Tensor | None,
    dropout: Tensor | None,
    out: Tensor,
    states: Tensor,
    saved: Tensor,
    stats: Tensor,
    pattern: Tensor,
    grad: Tensor,
    skip_beta: Tensor | None,
    dropout_scale: Tensor | None,
    training: bool,
    *_: Any,
) -> None:
    shape = described(cell)
    check_inputs(shape, s0, s1, weights, op_weights, edge_weights, training)
    _check_scalars(shape.cell, dropout, skip_beta, dropout_scale, s1)
    (V, N), (H, W) = s1.shape[:2], s1.shape[3:]
    half = 2 if shape.cell.kind == "reduce" else 1
    size = V, N, shape.cell.nodes * shape.cell.channels, H // half, W // half
    need(out, "out", size, s1)
    need(grad, "grad", size, s1)
    need(states, "states", (V, N, 2 * shape.cell.preprocess, shape.cell.channels, H, W), s1)
    need(stats, "stats", (V, 3, shape.S + bare_channels(shape.cell)), s1)


def _check_triton_backward(cell: list[int], s0: Tensor, s1: Tensor, *rest: Any) -> None:
    V, N, _, H, W = s1.shape
    saved, pattern = sizes(cell, H, W)[2:]
    check_precision(rest[-1], "triton", s1.device)
    need(rest[6], "saved", (V, N, saved), s1, storage_dtype(rest[-1]))
    need(rest[8], "pattern", (V, N, pattern), s1, torch.uint8)


def _as_the_state(s: Tensor) -> Tensor:
    """Empty; with the state's strides where its planes are dense and no two images are one memory, else contiguous."""
    H, W = s.shape[3:]
    dense, count = bool(s.stride()[2:] == (H * W, W, 1)), 1
    for stride, size in sorted(zip(s.stride(), s.shape, strict=True)):
        dense, count = dense and (size == 1 or stride == count), count * size
    return torch.empty_like(s) if dense else _contiguous(s)


def _contiguous(t: Tensor) -> Tensor:
    return t.new_empty(t.shape)


def _fake_backward(of_state: Callable[[Tensor], Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    def fake(
        cell: list[int],
        s0: Tensor,
        s1: Tensor,
        weights: Tensor,
        op_weights: Tensor,
        edge_weights: Tensor | None,
        *rest: Any,
    ) -> tuple[Tensor, ...]:
        grads = of_state(s0), of_state(s1), _contiguous(weights)
        wanted = zip(rest[-4:-1], grads, strict=True)
        edges = s1.new_empty(0) if edge_weights is None else _contiguous(edge_weights)
        return (*(g if want else g.new_empty(0) for want, g in wanted), _contiguous(op_weights), edges)

    return fake


BACKWARD = register(
    f"mixed_cell_backward(int[] cell, {INPUTS}, Tensor? dropout, Tensor out, Tensor states, Tensor saved,"
    " Tensor stats, Tensor pattern, Tensor grad, Tensor? skip_beta, Tensor? dropout_scale, bool training,"
    f" bool replayed, bool want_s0, bool want_s1, bool want_weights, str precision) -> {FIVE}",
    _check_backward,
    _fake_backward(_as_the_state),
    STEM,
    fake_triton=_fake_backward(_contiguous),
    check_triton=_check_triton_backward,
    arguments=lambda *args: _for_kernels(*args[:16], *args[17:-1]),
    stored=(9,),
)
flops.counted(flops.cell_forward, FORWARD.compiled, FORWARD.triton)
flops.counted(flops.cell_backward, BACKWARD.compiled, BACKWARD.triton)
