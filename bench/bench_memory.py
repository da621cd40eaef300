"""What a pass keeps for its backward, and its peak, over the activations that it has to keep by `model`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sgl_fast import Supernet
from sgl_fast.sgl.memory import saved_bytes

from .model import FLOAT, pass_floats
from .peak import STATUS, Request, peak_of_a_pass
from .settings import Settings
from .shapes import sizes_of, space_of

MOST = 1.3
CAP = 2  # times the count at which a pass is broken off
SPACES = ["pc_darts", "darts"]


@pytest.mark.parametrize("name", SPACES)
def test_saved_activations(name: str, benchmark: Any, settings: Settings) -> None:
    """What autograd holds between forward and backward."""
    net, N, side = sized(name, settings)
    check("saved activations", net, N, 1, side, lambda: saved_bytes(net, N, side, side), benchmark, settings)


@pytest.mark.parametrize("name", SPACES)
def test_peak(name: str, benchmark: Any, settings: Settings) -> None:
    """How far a forward and backward of two virtual learners raise the memory of a process."""
    if not STATUS.exists():
        pytest.skip(f"no {STATUS} here")
    net, N, side = sized(name, settings)
    most = settings.pick(CAP * 2 * N * FLOAT * pass_floats(net, side), 2**30)
    request = Request(name, sizes_of(settings.short), N, 2, side, most)
    check("peak", net, N, 2, side, lambda: peak_of_a_pass(request), benchmark, settings)


def sized(name: str, settings: Settings) -> tuple[Supernet, int, int]:
    """The supernet, images and pixels a side."""
    return Supernet(space_of(name, settings.short)), *settings.pick((50, 32), (2, 8))


def check(
    what: str, net: Supernet, N: int, V: int, side: int, measure: Callable[[], int], benchmark: Any, settings: Settings
) -> None:
    """Records bytes over those of the model; AssertionError where they are more than MOST times as many."""
    measured = benchmark.pedantic(measure, rounds=1)
    counted = V * N * FLOAT * pass_floats(net, side)
    shape = f"V{V} N{N} C{net.space.channels} L{net.space.layers}"
    row = {"kind": "memory", "device": "cpu", "name": f"{net.space.name} {what}", "shape": shape, "fail_above": MOST}
    benchmark.extra_info.update(row, bytes=measured, counted=counted, ratio=measured / counted)
    if not settings.short:
        said = f"{row['name']}: need at most {MOST} times the {counted / 1e6:.0f} MB counted; got {measured / 1e6:.0f}"
        assert measured <= MOST * counted, said
