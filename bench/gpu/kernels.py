"""The kernels that calls run on a GPU: how many, how long, beside what their launchers count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from ..interleave import wait
from .floor import Counted, any_outputs, ceilings, counted
from .passes import Size, pass_of
from .timing import Call, Found, Row, need_gpu, tried

MOST = 12  # kernels of a contender that are shown


class Kernel(NamedTuple):
    name: str
    calls: int
    ms: float


def profile(contenders: Sequence[str]) -> Found:
    """Of a PC-DARTS pass: all kernels in a row, and those that take most; thousands of them take time to log."""
    need_gpu()
    size = Size()
    counts = tried("cuda", lambda: counted("pc_darts", size.V, size.N, ceilings()))
    for contender in contenders:
        found = tried(contender, partial(profiled, "pc_darts", contender, size))
        if isinstance(found, str):
            yield contender, found
            continue
        known = counts if contender == "cuda" and not isinstance(counts, str) else {}
        for name, row in rows_of(found, known):
            yield f"{contender}, {name}", row
    if isinstance(counts, str):
        yield "counts", counts


def profiled(name: str, contender: str, size: Size) -> list[Kernel]:
    call = pass_of(name, contender, size)
    call()
    return kernels_of(call)


def kernels_of(call: Call) -> list[Kernel]:
    """Of one call, those that take most time first."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    wait()
    with profiler(activities=[ProfilerActivity.CUDA]) as log:
        call()
        wait()
    return merged((k.key, k.count, k.device_time_total / 1e3) for k in log.key_averages() if on_device(k))


def on_device(event: Any) -> bool:
    """A kernel, a copy or a fill; not the shadow of what a record_function names."""
    kind = event.device_type == torch._C._autograd.DeviceType.CUDA
    return bool(kind) and not getattr(event, "is_user_annotation", False)


def merged(events: Iterable[tuple[str, int, float]]) -> list[Kernel]:
    """The instances of a template as one kernel."""
    sums: dict[str, tuple[int, float]] = {}
    for key, count, ms in events:
        old = sums.get(short(key), (0, 0.0))
        sums[short(key)] = old[0] + count, old[1] + ms
    return sorted((Kernel(name, *both) for name, both in sums.items()), key=lambda k: -k.ms)


def short(key: str) -> str:
    """The name of a kernel without its type, namespaces, template arguments and arguments, or outputs a thread."""
    bare = re.sub(r"\(anonymous namespace\)::", "", key.removeprefix("void "))
    name = any_outputs(re.split(r"[<(]", bare)[0].strip().split("::")[-1])
    return (name or key)[:60]


def rows_of(kernels: Sequence[Kernel], counts: dict[str, Counted]) -> Iterator[tuple[str, Row]]:
    """All, then the slowest; beside those that are counted the least time for what they must move and compute."""
    total = sum(k.ms for k in kernels)
    yield "all", {"launches": sum(k.calls for k in kernels), "ms": total, "share": 1.0}
    for k in kernels[:MOST]:
        row: Row = {"launches": k.calls, "ms": k.ms, "share": k.ms / total if total else 0.0}
        if k.name in counts and k.ms:
            one = counts[k.name]
            row |= {"GB counted": one.gigabytes, "floor, ms": one.ms, "of the floor": one.ms / k.ms}
        yield k.name, row
