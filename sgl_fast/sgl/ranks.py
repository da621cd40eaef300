"""Learners shared among the processes of torch.distributed: process r of R has learners r, r + R, and so on.

Every process holds the state of all learners and steps it alike. A pass runs where its learner is, and what it found is
summed with zeros of the others, so that the numbers are those of one process, to the bit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

PATIENCE = timedelta(seconds=50)  # with processes that do not answer


@contextmanager
def joined(device: str) -> Iterator[str]:
    """The group that torchrun started, if it did, until the end; yields this process's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def is_silence(error: RuntimeError) -> bool:
    """Whether it says that another process is gone or does not answer; gloo's errors have no type of their own."""
    said = ("gloo", "Connection", "imed out", "Timeout")
    return isinstance(error, dist.DistError) or any(words in str(error) for words in said)


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return count() == 1 or dist.get_rank() == 0


def all_reduce_max(number: int, device: str) -> int:
    """The largest number of all processes."""
    if count() == 1:
        return number
    whole = torch.tensor([number], device=device)
    dist.all_reduce(whole, dist.ReduceOp.MAX)
    return int(whole.item())


def count() -> int:
    """Processes; 1 where torch.distributed is not initialised."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def local_rows(learners: Sequence[int]) -> list[int]:
    """Positions of the virtual learners that run in this process."""
    R = count()
    return [i for i, learner in enumerate(learners) if learner % R == (dist.get_rank() if R > 1 else 0)]


def all_gather_rows(positions: Sequence[int], V: int, parts: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of this process's rows at their positions -> tensors of V rows, of all processes, on each."""
    whole = []
    for part in parts:
        rows = part.new_zeros(V, *part.shape[1:])
        if len(positions):
            rows[list(positions)] = part
        whole.append(rows)
    flat = torch.cat([rows.reshape(-1) for rows in whole])
    dist.all_reduce(flat)
    sizes = [rows.numel() for rows in whole]
    return [some.view(rows.shape) for some, rows in zip(flat.split(sizes), whole, strict=True)]


def check_equal(name: str, tensor: Tensor) -> None:
    """RuntimeError on every process unless each has the same tensor, to the bit."""
    if count() == 1:
        return
    first = tensor.detach().clone()
    dist.broadcast(first, 0)
    differs = torch.tensor([float(not torch.equal(first, tensor))], device=tensor.device)
    dist.all_reduce(differs)
    if differs.item():
        raise RuntimeError(f"need the same {name} in every process; {int(differs.item())} of {count()} differ")
