"""The machine's own ceilings, to which the other figures are compared: copy bandwidth and float32 multiply-adds."""

from __future__ import annotations

from typing import Any

import torch

from .interleave import timed
from .settings import Settings


def test_copy_bandwidth(benchmark: Any, device: str, settings: Settings) -> None:
    """A copy between two arrays far larger than any cache; what is read and what is written count."""
    size = settings.pick(2**26, 2**16)
    source = torch.ones(size, device=device)
    target = torch.empty_like(source)
    seconds = best(benchmark, lambda: target.copy_(source), settings)
    record(benchmark, device, "copy bandwidth", gb_per_s=2 * 4 * size / seconds / 1e9)


def test_float32_peak(benchmark: Any, device: str, settings: Settings) -> None:
    """A square matrix product."""
    size = settings.pick(2048, 128)
    a, b = torch.ones(2, size, size, device=device)
    out = torch.empty_like(a)
    seconds = best(benchmark, lambda: torch.mm(a, b, out=out), settings)
    record(benchmark, device, "float32 matrix product", gflop_per_s=2 * size**3 / seconds / 1e9)


def best(benchmark: Any, call: Any, settings: Settings) -> float:
    """The least seconds of a call."""
    seconds: list[float] = []
    benchmark.pedantic(lambda: seconds.append(timed(call, 1)), rounds=settings.pick(20, 1), warmup_rounds=1)
    return min(seconds)


def record(benchmark: Any, device: str, name: str, **speed: float) -> None:
    benchmark.extra_info.update(speed, kind="ceiling", device=device, name=name)
