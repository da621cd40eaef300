"""What torch's FlopCounterMode counts of the fused operators: the number that it counts of the reference.

It counts products and convolutions alone, 2 for a multiplication and its addition. Its formula for the gradient of a
grouped kernel counts as if there were no groups; these are equal to it there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from torch.utils.flop_counter import conv_flop_count, register_flop_formula

from .plan import program_of
from .rows import OUT

Shape = Sequence[int]


def counted(formula: Callable[..., int], *operators: Any) -> None:
    """formula: of the operators' arguments, shapes in place of tensors"""
    register_flop_formula([operator.overloadpacket for operator in operators])(formula)


class Layer(NamedTuple):
    """One convolution of a cell.

    macs      multiply-adds of one image
    channels  of a depthwise one; 0: a 1x1 convolution
    reads     the state that it depends on; -2, -1: the cell's inputs
    direct    without another convolution between
    """

    macs: int
    channels: int
    reads: int
    direct: bool


def cell_layers(cell: list[int], s1: Shape) -> Iterator[Layer]:
    program = program_of(tuple(cell), int(s1[3]), int(s1[4]))
    for conv in (program.convs[row] for row in program.inputs):
        yield Layer(conv.ins * conv.outs * program.H * program.W, 0, conv.reads - 2, True)
    for j in range(program.nodes + 1):
        convs = program.state_convs(j)
        for i, conv in enumerate((*convs, *program.state_halves(j))):
            depthwise = conv.depthwise != OUT
            if depthwise:
                yield Layer(conv.ins * conv.kernel**2 * program.out_pixels, conv.ins, j, i < len(convs))
            yield Layer(conv.ins * conv.outs * program.out_pixels, 0, j, not depthwise)


def cell_forward(cell: list[int], s0: Shape, s1: Shape, *_: Any, out_shape: Any) -> int:
    return 2 * s1[0] * s1[1] * sum(layer.macs for layer in cell_layers(cell, s1))


def cell_backward(cell: list[int], s0: Shape, s1: Shape, *rest: Any, out_shape: Any) -> int:
    """Every node wants a gradient: the weights of the operations before it do."""
    (V, N), (want_s0, want_s1, weights) = s1[:2], rest[-4:-1]
    preprocessed = weights and bool(cell[8])
    wants = {-2: want_s0, -1: want_s1, 0: want_s0 or preprocessed, 1: want_s1 or preprocessed}
    total = 0
    for layer in cell_layers(cell, s1):
        of_input = wants.get(layer.reads, True) or (weights and not layer.direct)
        of_weights = weights * max(1, V * layer.channels)
        total += 2 * V * N * layer.macs * (of_input + of_weights)
    return total


def convolution(x: Shape, weight: Shape, *_: Any, out_shape: Shape) -> int:
    return conv_flop_count(list(x), list(weight), list(out_shape))


def convolution_input(grad: Shape, weight: Shape, *_: Any, out_shape: Shape) -> int:
    return conv_flop_count(list(grad), list(weight), list(out_shape), transposed=True)


def convolution_weight(grad: Shape, x: Shape, stride: int, groups: int, weight: Shape, out_shape: Shape) -> int:
    """A 1x1 kernel's is that of a batched product, as which the reference computes a classifier."""
    (N, outs), (ins, side) = grad[:2], (x[1], weight[-1])
    return 2 * N * outs * ins * side**2 * grad[2] * grad[3] // (groups if side == 1 else 1)
