"""The processes that torchrun started: their group, how long they wait for each other, what the first one tells."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist

from . import ranks

START = timedelta(minutes=30)  # to meet, to read the data, and for the first step of a kind, which compiles kernels
STEP = timedelta(minutes=2)  # for any other step
_limit: timedelta | None = None  # in force; None: the group is not ours, and waits as its owner said
_kind: Any = None  # of the step before


@contextmanager
def joined(device: str) -> Iterator[str]:
    """The group that torchrun started, if it did, until the end; yields this process's device."""
    global _limit, _kind
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    if device.startswith("cuda"):  # gloo for what hosts agree on, without a wait for their devices
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=START, device_id=torch.device(device))
    else:
        dist.init_process_group("gloo", timeout=START)
    _limit = START
    try:
        yield device
    finally:
        _limit = _kind = ranks._grid = None
        dist.destroy_process_group()


def expect_step(kind: Any) -> None:
    """Before every step, on every process: how long the others may take for it."""
    global _limit, _kind
    if _limit is None:
        return
    limit, _kind = STEP if kind == _kind else START, kind
    if limit == _limit:
        return
    if limit == STEP:
        all_reduce_max(0)  # nobody may be in a slow step still, whose end others would not wait for
    place = ranks.grid()
    for group in (None, place.gathers) if place.gathers is not None else (None,):
        _set_timeout(limit, group)
    _limit = limit


def _set_timeout(limit: timedelta, group: dist.ProcessGroup | None) -> None:
    old = dist.distributed_c10d._set_pg_timeout  # what torch had before it had set_timeout
    getattr(dist.distributed_c10d, "set_timeout", old)(limit, group)


def is_silence(error: RuntimeError) -> bool:
    """Whether it says that another process is gone or does not answer; gloo's errors have no type of their own."""
    said = ("gloo", "Connection", "imed out", "Timeout")
    return isinstance(error, dist.DistError) or any(words in str(error) for words in said)


def all_reduce_max(number: int) -> int:
    """The largest number of all processes; on their hosts, which wait for no device."""
    if ranks.count() == 1:
        return number
    whole = torch.tensor([number])
    dist.all_reduce(whole, dist.ReduceOp.MAX)
    return int(whole.item())


def from_main(value: Any) -> Any:
    """What the first process has: tensors, on the host, lists, dictionaries, numbers and text."""
    if ranks.count() == 1:
        return value
    file = io.BytesIO()
    if ranks.is_main():
        torch.save(value, file)
    size = all_reduce_max(file.tell())
    data = torch.frombuffer(bytearray(file.getvalue()) or bytearray(size), dtype=torch.uint8)
    dist.broadcast(data, 0)
    return torch.load(io.BytesIO(data.numpy().tobytes()), map_location="cpu", weights_only=True)
