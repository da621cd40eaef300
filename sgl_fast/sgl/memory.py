"""How much memory a pass keeps for its backward, measured, and how many virtual learners fit a budget."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from ..backends.choice import choose
from ..nets.supernet import Supernet
from ..ops.cell_numbers import numbers
from ..ops.plan import program_of

FLOAT = 4  # bytes


def saved_bytes(net: Supernet, N: int, height: int, width: int, device: torch.device | str = "cpu") -> int:
    """Bytes that autograd keeps between forward and backward for one virtual learner and N images, weights left out."""
    weights = net.init_weights(1).to(device).requires_grad_()
    arch = net.init_arch(1).map(lambda t: t.to(device))
    images = torch.zeros(N, 3, height, width, dtype=weights.dtype, device=device)
    seen: dict[int, tuple[int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        # the tensor stays referenced, so that no later one reuses its address
        seen[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net(weights, arch, images)
    seen.pop(weights.untyped_storage().data_ptr(), None)
    return sum(size for size, _ in seen.values())


def scratch_bytes(net: Supernet, N: int, height: int, width: int, device: torch.device | str = "cpu") -> int:
    """Bytes that a cell's backward takes beside what is kept, of the cell that takes most: Triton's kernels alone."""
    if choose(None, device) != "triton":
        return 0
    most, down = 0, 8 if net.space.imagenet else 1  # what the stem leaves
    for cell, _ in net.sections.cells:
        most = max(most, program_of(tuple(numbers(cell)), height // down, width // down).scratch)
        down *= 2 if cell.kind == "reduce" else 1
    return FLOAT * N * most


def chunk_for(budget: float, net: Supernet, N: int, height: int, width: int, device: torch.device | str = "cpu") -> int:
    """Virtual learners at a time that keep within `budget` bytes; a budget too small for one is a ValueError."""
    each = saved_bytes(net, N, height, width, device) + scratch_bytes(net, N, height, width, device)
    if each > budget:
        need = f"{each / 1e9:.3g} GB for one virtual learner and {N} images"
        raise ValueError(
            f"--memory: need at least {need}; got {budget / 1e9:.3g} GB (a smaller --batch-size needs less)"
        )
    return int(budget // each)


def free_budget(device: torch.device | str, share: float = 0.8) -> float | None:
    """Bytes for activations where nobody named a budget: most of what a GPU has free; None on a CPU."""
    device = torch.device(device)
    if device.type != "cuda":
        return None
    torch.cuda.empty_cache()  # what a search that is gone left behind; idle blocks of a graph stay that graph's
    free, _ = torch.cuda.mem_get_info(device)
    return share * free


def check_room(weights: int, device: torch.device | str) -> None:
    """ValueError where a search of so many weights, of all learners, cannot fit: its state, gradients and new state."""
    need = 4 * 10 * weights
    if torch.device(device).type == "cuda":
        room = torch.cuda.get_device_properties(device).total_memory
    else:
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if need > room:
        raise ValueError(
            f"{weights:,} weights of all learners need {need / 1e9:.0f} GB; {device} has {room / 1e9:.0f} GB "
            "(fewer --channels, --layers, --nodes or --learners need less)"
        )
