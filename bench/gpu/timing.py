"""Time and memory of calls on a device, each piece such that one that fails leaves a line and the rest go on."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import torch

from ..interleave import timed, wait
from .table import OURS

T = TypeVar("T")
Call = Callable[[], Any]
Row = dict[str, float]
Made = tuple[Call, Row]
Found = Iterator[tuple[str, Any]]  # findings of a part: a name, what JSON can say
DEVICE = "cuda"
CONTENDERS = (*OURS, "reference", "eager")  # the most wanted first: a part may be cut off
SAMPLE = 0.03  # seconds that a sample aims at
MOST_CALLS, ROUNDS = 50, 5
MIB = 2**20


class Broken(Exception):  # noqa: N818  (it is the contender that is in error)
    """After this contender nothing runs on the device in this process any more."""

    def __init__(self, contender: str, said: str) -> None:
        super().__init__(f"{contender} broke the device: {said}")
        self.contender = contender


def need_gpu() -> None:
    if not torch.cuda.is_available():
        raise SystemExit("needs an NVIDIA GPU and its driver; torch finds none")


def tried(contender: str, make: Callable[[], T]) -> T | str:
    """What it returns, or its error in a line. Broken where the device does not answer afterwards."""
    try:
        made = make()
        wait()
        return made
    except Exception as error:
        said = line_of(error)
    try:
        wait()
    except Exception:
        raise Broken(contender, said) from None
    return said


def line_of(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def watched(make: Callable[[], Call], device: str = DEVICE, calls: int = 1) -> Made:
    """What it makes, called, and a row of it: the memory that this took at most, above what there was before."""
    gc.collect()
    if device == "cpu":
        call = make()
        for _ in range(calls):
            call()
        return call, {}
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    call = make()
    for _ in range(calls):
        call()
    wait()
    peaks = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    allocated, reserved = ((peak - old) / MIB for peak, old in zip(peaks, before, strict=True))
    return call, {"MiB at the peak": allocated, "MiB reserved": reserved}


def graphed(call: Call) -> Call:
    """The call as one CUDA graph."""
    if not torch.cuda.is_available():
        raise RuntimeError("a CUDA graph needs a GPU")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()

    def replay() -> Any:
        graph.replay()
        return kept

    return replay


def launched(call: Call) -> Call:
    return call


KINDS: dict[str, Callable[[Call], Call]] = {"": launched, " in a graph": graphed}


def milliseconds(call: Call, calls: int = 1) -> float:
    return 1e3 * timed(call, calls)


def in_turn(calls: dict[str, Call], rounds: int = ROUNDS) -> Iterator[dict[str, float | str]]:
    """After each round the median milliseconds of every call so far, or the error that ended its part in it."""
    times: dict[str, list[float]] = {}
    errors: dict[str, str] = {}
    repeats: dict[str, int] = {}
    for _ in range(rounds):
        for label, call in calls.items():
            if label in errors:
                continue
            if label not in repeats:
                first = tried(label.partition(" ")[0], partial(milliseconds, call))
                repeats[label] = 1 if isinstance(first, str) else min(MOST_CALLS, math.ceil(1e3 * SAMPLE / first))
            got = tried(label.partition(" ")[0], partial(milliseconds, call, repeats[label]))
            if isinstance(got, str):
                errors[label] = got
            else:
                times.setdefault(label, []).append(got)
        yield {**{label: statistics.median(each) for label, each in times.items()}, **errors}


def compared(calls: dict[str, Call], rows: dict[str, Row], to: str = "eager") -> Iterator[tuple[str, Row | str]]:
    """The rows again and again, with the times of the rounds so far and the ratios to one of them."""
    for times in in_turn(calls):
        base = times.get(to)
        for label, ms in times.items():
            if isinstance(ms, str):
                yield label, ms
                continue
            ratio = {f"to {to}": base / ms} if isinstance(base, float) else {}
            yield label, {"ms": ms, **ratio, **rows[label]}
