"""What the GPU at hand reaches at best, and the least time that a pass could take there, by counts."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import torch

from sgl_fast.nets.supernet import Supernet

from .. import model
from ..report import ROOT
from .timing import DEVICE, milliseconds

COUNTS = ROOT / "bench" / "results" / "cuda_work.json"
COPIED, SIDE = 2**26, 8192  # floats; of the matrices that are multiplied
CALLS = 10


class Ceilings(NamedTuple):
    """A second: bytes, and floating-point operations of products by dtype; tf32 as float32 on tensor cores."""

    moved: float
    float32: float
    tf32: float
    float16: float


def ceilings(device: str = DEVICE, copied: int = COPIED, side: int = SIDE) -> Ceilings:
    """Copies that no cache holds and products of large matrices, the best of three samples each."""
    x = torch.ones(copied, device=device)
    y = torch.empty_like(x)
    moved = 2 * x.nbytes / seconds(lambda: y.copy_(x))
    return Ceilings(moved, *(product(device, side, *how) for how in WAYS))


WAYS = (torch.float32, False), (torch.float32, True), (torch.float16, False)


def product(device: str, side: int, dtype: torch.dtype, tf32: bool) -> float:
    kept = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        a = torch.randn(side, side, device=device, dtype=dtype)
        return 2 * side**3 / seconds(lambda: a @ a)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = kept


def seconds(call: Any) -> float:
    call()
    return min(milliseconds(call, CALLS) for _ in range(3)) / 1e3


def least_ms(net: Supernet, rows: int, best: Ceilings) -> float:
    """Of the cells in a pass of so many images times learners: what it has to keep, written and read once, and its
    products, at the rate of the better of float32 and tf32."""
    side = 28 if net.space.imagenet else 32
    macs = floats = 0
    for cell, section in net.sections.cells:
        macs += model.cell_macs(cell, section, side)
        floats += model.cell_floats(cell, side)
        side = model.out_side(cell, side)
    computing = model.training_flops(macs, rows) / max(best.float32, best.tf32)
    return 1e3 * max(computing, model.training_bytes(floats, rows) / best.moved)


class Counted(NamedTuple):
    """Of a kernel in a pass: launches, GB that it must move, least milliseconds."""

    launches: int
    gigabytes: float
    ms: float


def any_outputs(kernel: str) -> str:
    """convolve_kernel of convolve_kernel_4, whose threads have four outputs."""
    return re.sub(r"(_kernel)_\d$", r"\1", kernel)


def counted(name: str, V: int, N: int, best: Ceilings) -> dict[str, Counted]:
    """By kernel of backend `cuda`, forward and backward, as `make model` counted them."""
    rows = json.loads(COUNTS.read_text(encoding="utf-8"))[name]
    found = {}
    for kernel, row in rows.items():
        moved, computed = V * N * row["bytes"], 2 * V * N * row["multiply_adds"]
        seconds = max(moved / best.moved, computed / best.float32)
        found[kernel] = Counted(row["launches"], moved / 1e9, 1e3 * seconds)
    return found
