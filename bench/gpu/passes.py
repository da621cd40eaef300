"""Passes of the supernets on a GPU: ours by every backend, eager modules, launched and in graphs, and compiled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from sgl_fast import Supernet, space

from ..contenders import eager_pass, fused_pass
from .floor import Ceilings, ceilings, counted, least_ms
from .timing import DEVICE, KINDS, Call, Found, Row, compared, milliseconds, need_gpu, tried, watched

FEW = 32  # images of 224 pixels
NODES = (1, 2, 4)  # of the cells that are compiled; published: 4


@dataclass(frozen=True)
class Size:
    """Of a pass: virtual learners, images, pixels a side, and what of the space is not as published."""

    V: int = 2
    N: int = 50
    side: int = 32
    changes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str) -> Size:
        return cls(N=FEW, side=224) if name == "pc_darts_imagenet" else cls()


def pass_of(name: str, contender: str, size: Size, device: str = DEVICE) -> Call:
    """Forward and backward with all gradients; contender: a backend, or what `eager_pass` knows."""
    net, draw = Supernet(space(name, **size.changes)), torch.Generator().manual_seed(0)
    weights = net.init_weights(size.V, draw).to(device)
    images = torch.randn(size.N, 3, size.side, size.side, generator=draw).to(device)
    labels = torch.randint(net.space.num_classes, (size.N,), generator=draw).to(device)
    if contender in ("eager", "torch.compile"):
        return eager_pass(net, weights, images, labels, contender)
    return fused_pass(net, weights, images, labels, contender)


def passes(contenders: Sequence[str], name: str) -> Found:
    """Of a space at its published size."""
    need_gpu()
    yield from timed_passes(contenders, name, Size.of(name))


def compiled(contenders: Sequence[str]) -> Found:
    """torch.compile of the eager modules: one learner, three cells of one node, then of as many as time allows.

    One node took four minutes to compile on one core of a CPU.
    """
    need_gpu()
    yield "size", "pc_darts, one learner, 50 images, 3 of its 8 cells, nodes as said"
    for nodes in NODES:
        size = Size(V=1, changes={"layers": 3, "nodes": nodes})
        for label, row in timed_passes([*contenders, "torch.compile"], "pc_darts", size):
            yield f"nodes {nodes}, {label}", row


def timed_passes(contenders: Sequence[str], name: str, size: Size, device: str = DEVICE) -> Found:
    """A row a contender and kind; those that are launched first, since a capture that fails may leave harm."""
    best = tried("ceilings", ceilings) if device == DEVICE else "of a GPU only"
    calls: dict[str, Call] = {}
    rows: dict[str, Row] = {}
    for kind, dress in KINDS.items():
        for contender in contenders:
            label = f"{contender}{kind}"
            if kind and contender not in calls:
                continue  # what cannot be launched was said
            make = partial(dressed, dress, calls.get(contender), name, contender, size, device)
            made = tried(contender, partial(watched, make, device))
            if isinstance(made, str):
                yield label, made
            else:
                calls[label], rows[label] = made
                yield label, first_row(contender, *made)
    floors = [] if isinstance(best, str) else list(floors_of(name, size, best))
    for label, row in compared(calls, rows):
        if not isinstance(row, str):
            row |= {title: ms / row["ms"] for title, contender, ms in floors if contender in ("", label.split()[0])}
        yield label, row


def first_row(contender: str, call: Call, row: Row) -> Row | str:
    """What is known of a call before it is compared."""
    ms = tried(contender, partial(milliseconds, call))
    return ms if isinstance(ms, str) else {"ms": ms, **row}


def dressed(dress: Any, call: Call | None, name: str, contender: str, size: Size, device: str) -> Call:
    out: Call = dress(call or pass_of(name, contender, size, device))
    return out


def floors_of(name: str, size: Size, best: Ceilings) -> Iterator[tuple[str, str, float]]:
    """Title, the contender that it is for or nothing, milliseconds."""
    net = Supernet(space(name, **size.changes))
    yield "of the floor", "", least_ms(net, size.V * size.N, best)
    if not size.changes:
        found = tried("cuda", partial(counted, name, size.V, size.N, best))
        if not isinstance(found, str):
            yield "of its count", "cuda", sum(one.ms for one in found.values())
