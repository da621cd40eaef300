"""Launches of Triton's kernels, caught before they run, and what the compiler makes of them, without a GPU."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sgl_fast.kernels.ahead import Launch, compile_launch, handled, launch_of
from sgl_fast.nets.supernet import Supernet
from sgl_fast.spaces import space as space_of

V, N = 2, 4


class Limits(NamedTuple):
    """Of a multiprocessor: warps and blocks at once, KB of shared memory, of which a block takes some for itself."""

    warps: int
    blocks: int
    shared: int
    own: int


LIMITS = {
    70: Limits(64, 32, 96, 0),
    75: Limits(32, 16, 64, 0),
    80: Limits(64, 32, 164, 1),
    86: Limits(48, 16, 100, 1),
    90: Limits(64, 32, 228, 1),
}
REGISTERS, REGISTER_UNIT = 65536, 256  # of a multiprocessor; a warp's come in such units


class Resources(NamedTuple):
    registers: int
    shared: int
    stack: int
    warps: int


def occupancy(arch: int, found: Resources) -> float:
    """Share of a multiprocessor's warps that can be there at once."""
    limits = LIMITS[arch]
    a_warp = -(-found.registers * 32 // REGISTER_UNIT) * REGISTER_UNIT
    by_registers = REGISTERS // a_warp // found.warps
    by_shared = limits.shared * 1024 // max(found.shared + limits.own * 1024, 1)
    return min(limits.blocks, by_registers, by_shared, limits.warps // found.warps) * found.warps / limits.warps


@contextmanager
def catching() -> Iterator[dict[Launch, None]]:
    """Every launch ends here, each kind once."""
    found: dict[Launch, None] = {}

    def catch(kernel: Any, run: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        found[launch_of(kernel, args, options)] = None

    with handled(catch):
        yield found


def cell_pass(
    space: str, place: int, precision: str = "float32", learners: int = V, images: int = N, device: str = "cpu"
) -> Callable[[], None]:
    """A forward and a backward of one of the space's cells."""
    from sgl_fast.kernels import mixed_cell
    from sgl_fast.ops.mixed_cell import numbers, sizes

    def empty(*size: int) -> torch.Tensor:
        return torch.empty(learners, *size, device=device)

    whole = space_of(space)
    cells = [cell for cell, _ in Supernet(whole).sections.cells]
    cell, side = cells[place], (28 if whole.imagenet else 32) >> sum(c.kind == "reduce" for c in cells[:place])
    scale = 2 if cell.shrink0 else 1
    s0 = empty(images, cell.c_prev_prev, scale * side, scale * side)
    s1 = empty(images, cell.c_prev, side, side)
    what = numbers(cell)
    weights = empty(sizes(what, side, side)[0])
    edges = empty(len(cell.ops)) if whole.edge_norm else None
    inputs = s0, s1, weights, empty(len(cell.ops), len(cell.ops[0])), edges
    beta = torch.empty((), device=device) if cell.aux_skip else None

    def run() -> None:
        saved = mixed_cell.mixed_cell(what, *inputs, None, None, None, beta, None, precision)
        how: tuple[Any, ...] = beta, None, True, False, *[True] * 3, precision
        mixed_cell.mixed_cell_backward(what, *inputs, None, *saved, torch.empty_like(saved[0]), *how)

    return run


def launches_of_space(name: str, precision: str = "float32") -> Iterable[Launch]:
    """Of every cell, at the published size."""
    with catching() as found:
        for place in range(len(Supernet(space_of(name)).sections.cells)):
            cell_pass(name, place, precision)()
    return found


def launches_of_the_rest() -> Iterable[Launch]:
    """Of what is not a cell."""
    from sgl_fast.kernels import augment, flat_update, pseudo_label, skip_dropout

    rows, logits = torch.empty(2, 300_000), torch.empty(2, 50, 10)
    with catching() as found:
        flat_update.sgd(rows, rows, rows, torch.empty(()), 0.9, 3e-4, 5.0)
        flat_update.perturb(rows, rows, 0.01)
        flat_update.central_difference(rows, torch.empty(1))
        flat_update.row_norms(rows)
        pseudo_label.pseudo_labels(logits)
        pseudo_label.cross_entropy(logits, logits, 1.0)
        pseudo_label.pseudo_label_vjp(logits, logits)
        pixels = torch.empty(1000, 3, 32, 32, dtype=torch.uint8)
        augment.augment(pixels, torch.arange(50 * 6).view(50, 6), torch.empty(3, 256), 4, 16)
        skip_dropout.dropout_masks(torch.arange(2), 14, 0, (50, 16, 32, 32), torch.empty((), dtype=torch.int32))
    return found


def compiled(launch: Launch, arch: int) -> Resources:
    import triton.backends.nvidia as nvidia

    kernel = compile_launch(launch, arch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(kernel.asm["cubin"])
        tool = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
        said = subprocess.run([tool, "--dump-resource-usage", path], capture_output=True, text=True, check=True).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", said).groups()  # type: ignore[union-attr]
    return Resources(int(registers), kernel.metadata.shared, int(stack), kernel.metadata.num_warps)


def attempt(job: tuple[Launch, int]) -> Resources | str:
    """Of a process of a pool: resources, or what the compiler says."""
    try:
        return compiled(*job)
    except Exception as error:
        return f"{job[0].kernel} on sm_{job[1]}: {type(error).__name__}: {str(error)[:2000]}"
