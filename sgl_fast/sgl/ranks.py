"""A search on the processes of torch.distributed, which share its learners and the images of its batches.

L x D processes: rank l * D + d has learners l, l + L, ... and part d of every batch. Each holds the state of all
learners and steps it alike. A pass runs where its learner is; what it found is averaged over the parts of the batch,
and summed with zeros of the others' learners. With D = 1 the numbers are those of one process, to the bit. With D > 1
batch statistics are those of a part, as under DataParallel; running statistics are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh


@dataclass(frozen=True)
class Grid:
    """This process's place: `learner` of `learners`, `part` of `parts` of a batch.

    gathers   the group of the processes that have the same part; None: all processes
    """

    learners: int = 1
    parts: int = 1
    learner: int = 0
    part: int = 0
    gathers: dist.ProcessGroup | None = None


_grid: Grid | None = None  # None: nobody chose, all processes share learners alone


def count() -> int:
    """Processes; 1 where torch.distributed is not initialised."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number."""
    return dist.get_rank() if count() > 1 else 0


def is_main() -> bool:
    """Whether this process is the one that reads and writes the run folder."""
    return rank() == 0


def grid() -> Grid:
    if _grid is not None:
        return _grid
    return Grid(count(), 1, dist.get_rank(), 0) if count() > 1 else Grid()


def parts_of(processes: int, learners: int, batch_size: int, asked: int | None) -> int:
    """Processes that share a batch: as many as asked for; None: the fewest that leave no process idle.

    ValueError where they divide neither the processes nor the batch.
    """
    parts = asked or next(d for d in range(1, processes + 1) if processes % d == 0 and processes // d <= learners)
    if processes % parts:
        raise ValueError(f"--data-parallel: need a divisor of the {processes} processes; got {parts}")
    if batch_size % parts:
        need = f"need a batch that {parts} processes share evenly (--data-parallel)"
        raise ValueError(f"--batch-size: {need}; got {batch_size}")
    return parts


def share(learners: int, batch_size: int, asked: int | None, device: str) -> str | None:
    """Gives every process its place, until the next call. Returns what to tell of processes that have no work."""
    global _grid
    R, parts = count(), parts_of(count(), learners, batch_size, asked)
    _grid = None
    if R > 1 and parts > 1:
        mesh = init_device_mesh(torch.device(device).type, (R // parts, parts), mesh_dim_names=("learners", "parts"))
        learner, part = divmod(dist.get_rank(), parts)
        _grid = Grid(R // parts, parts, learner, part, mesh.get_group("learners"))
    if (busy := learners * parts) >= R:
        return None
    has = f"{learners} learners x {parts} parts of a batch"
    return f"processes {busy} to {R - 1} of {R} have nothing to do: {has} (see --data-parallel)"


def local_rows(learners: Sequence[int]) -> list[int]:
    """Positions of the virtual learners that run in this process."""
    place = grid()
    return [i for i, learner in enumerate(learners) if learner % place.learners == place.learner]


def all_reduce_rows(
    positions: Sequence[int], V: int, means: Sequence[Tensor], local: Sequence[Tensor] = ()
) -> list[Tensor]:
    """This process's rows, at their positions -> tensors of V rows, of all learners.

    means   averaged over the parts of the batch; local: of this part's images alone, come from processes that have it
    """
    place = grid()
    if place.parts == 1:
        return _summed(positions, V, [*means, *local], place.gathers)
    averaged = _summed(positions, V, [t / place.parts for t in means], None) if means else []
    return [*averaged, *(_summed(positions, V, local, place.gathers) if local else [])]


def _summed(positions: Sequence[int], V: int, parts: Sequence[Tensor], group: dist.ProcessGroup | None) -> list[Tensor]:
    at = {position: i for i, position in enumerate(positions)}
    rows = [part[at[v]] if v in at else part.new_zeros(part.shape[1:]) for part in parts for v in range(V)]
    flat = torch.cat([row.reshape(-1) for row in rows])
    dist.all_reduce(flat, group=group)
    sizes = [V * part.shape[1:].numel() for part in parts]
    return [some.view(V, *part.shape[1:]) for some, part in zip(flat.split(sizes), parts, strict=True)]


def mean_over_parts(values: Tensor) -> Tensor:
    """Of numbers that every process has of its part of the batch; the same on each."""
    if grid().parts == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / count()


def norms_over_parts(norms: Tensor) -> Tensor:
    """Of what the images of all parts have, from the norms of this part's."""
    parts = grid().parts
    return norms if parts == 1 else (parts * mean_over_parts(norms.square())).sqrt()


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
