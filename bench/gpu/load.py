"""What the tools of a GPU watch: python -m bench.gpu.load small|pass BACKEND [--device DEVICE]."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch

from sgl_fast.ops.augment import augment
from sgl_fast.ops.skip_dropout import dropout_masks

from .passes import Size, pass_of
from .steps import step_of

DONE = "load: done"
TINY: dict[str, int] = {"layers": 3, "nodes": 2}  # 16 channels, so that the wide kernels run, too
FEW_CELLS = Size(changes={"layers": 3})  # a normal cell and both reductions, as large as published


def small(backend: str, device: str) -> None:
    """A second-order search step, a pass of DARTS, masks and augmentation: every kernel, on a few small images."""
    step_of("best", backend, False, device, N=2, side=8, **TINY)()
    pass_of("darts", backend, Size(N=2, side=8, changes=TINY), device)()
    seeds, images = torch.arange(2, device=device), torch.zeros(4, 3, 8, 8, dtype=torch.uint8, device=device)
    dropout_masks(seeds, 3, 1, (2, 4, 5, 5), 0.3, backend)
    augment(
        images, torch.ones(2, 6, dtype=torch.int64, device=device), torch.ones(3, 256, device=device), 4, 2, backend
    )


def whole(backend: str, device: str, size: Size = FEW_CELLS) -> None:
    """A pass of PC-DARTS; only its second run is to be profiled."""
    call = pass_of("pc_darts", backend, size, device)
    call()
    profiled(call, device)


def profiled(call: Any, device: str) -> None:
    if device == "cpu":
        call()
        return
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    call()
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()


LOADS = {"small": small, "pass": whole}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.load", description=__doc__)
    parser.add_argument("load", choices=LOADS)
    parser.add_argument("backend")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args(argv)
    LOADS[args.load](args.backend, args.device)
    print(DONE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
