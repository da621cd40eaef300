"""The order of a cell's program: its stages; and the states while it is written, with all that leaves each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .rows import OUT, Conv, NormGrad, Use

MOST_PLACES = 16  # of a window whose argmax has four bits


class Stage(NamedTuple):
    """What runs once some states exist, before the next node: ranges of rows.

    convs   that read the states; halves: second halves of separable ones, which read `saved`
    pools   of the states
    hidden  norm gradients, and targets, of what the halves read
    masks   patterns that the convs' ReLUs leave, one a state; half_masks: the halves', one each
    """

    states: range
    convs: range
    halves: range
    pools: range
    hidden: range
    masks: range
    half_masks: range


@dataclass(eq=False)
class Source:
    """What convolutions read: a state while the program is written, with all that leaves it."""

    reads: int
    offset: int
    norm_in: int
    height: int
    width: int
    stride: int
    edges: list[int] = field(default_factory=list)
    convs: list[Conv] = field(default_factory=list)
    halves: list[tuple[Conv, NormGrad]] = field(default_factory=list)
    pools: dict[int, list[Use]] = field(default_factory=dict)  # by operation
    mask: int = OUT
    pool_rows: range = range(0)
