"""The candidate operations of a cell, one row each. Whoever tells them apart reads these rows, not names."""

from __future__ import annotations

from dataclasses import dataclass

HALVES = ("first", "second")  # of a separable convolution


@dataclass(frozen=True)
class Operation:
    """What an edge applies to its source.

    kernel    side of its depthwise convolutions or of its window; 0: it has neither
    dilation  of its depthwise convolutions
    halves    how often [ReLU, depthwise convolution, 1x1 convolution, batch norm] follow each other; the first has the
              stride of the edge, the others 1
    pool      "max" or "avg": a window with the stride of the edge, then a batch norm if the cell's pools have one
    skip      the source itself at stride 1, a factorised reduction at stride 2
    noise     standard normal numbers of the output's size, whatever the source is
    """

    kernel: int = 0
    dilation: int = 1
    halves: int = 0
    pool: str = ""
    skip: bool = False
    noise: bool = False

    @property
    def padding(self) -> int:
        """Of its depthwise convolutions or of its window: the output has the size of the input over the stride."""
        return self.dilation * (self.kernel // 2)


# A program names an operation by its place here, so that new rows go to the end.
OPERATIONS = {
    "none": Operation(),
    "max_pool_3x3": Operation(3, pool="max"),
    "avg_pool_3x3": Operation(3, pool="avg"),
    "skip_connect": Operation(skip=True),
    "sep_conv_3x3": Operation(3, halves=2),
    "sep_conv_5x5": Operation(5, halves=2),
    "dil_conv_3x3": Operation(3, dilation=2, halves=1),
    "dil_conv_5x5": Operation(5, dilation=2, halves=1),
    "sep_conv_7x7": Operation(7, halves=2),
    "dil_conv_7x7": Operation(7, dilation=2, halves=1),
    "noise": Operation(noise=True),
}
CODES = tuple(OPERATIONS)
PRIMITIVES = CODES[:8]  # of DARTS, in canonical order


def is_pool(op: str) -> bool:
    return op in OPERATIONS and bool(OPERATIONS[op].pool)
