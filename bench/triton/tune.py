"""Tiles of Triton's cell kernels by their time on the GPU present: python -m bench.triton.tune [--out FILE].

Every candidate of `bench.triton.tiles`, and what the kernels have now, is timed in passes of cells of every space: each
launch alone, by events, L2 flushed before it, the median over passes. What is faster by more than a fiftieth goes into
FILE, which SGL_FAST_TILES may name from then on.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sgl_fast.kernels.ahead import handled, launch_of
from sgl_fast.kernels.configurations import KERNELS, VARIABLE, Tiles, architecture, assumed, tiles_of
from sgl_fast.nets.supernet import Supernet
from sgl_fast.spaces import SPACES, space

from ..gpu.passes import Size
from ..gpu.timing import DEVICE, need_gpu
from .launches import cell_pass
from .tiles import kernel_of, rounds, written

PASSES = 5
STAGES = (3, 2, 1)
GAIN = 0.98  # of the time that the present tiles take

Clock = Callable[[Callable[[], Any]], Callable[[], float]]
Times = dict[str, dict[Tiles, float]]  # by kernel


def device_clock() -> Clock:
    """Milliseconds of a launch, to be asked for once the device is done; infinite where it cannot be launched."""
    flush = torch.empty(256 * 2**20, dtype=torch.uint8, device=DEVICE)

    def clock(launch: Callable[[], Any]) -> Callable[[], float]:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")
        flush.zero_()
        start.record()
        try:
            launch()
        except Exception:  # more shared memory or registers than there are
            return lambda: math.inf
        end.record()
        return lambda: start.elapsed_time(end)

    return clock


def pass_times(run: Callable[[], None], clock: Clock, done: Callable[[], None]) -> dict[str, float]:
    """Of each kernel in one pass."""
    readings: dict[str, list[Callable[[], float]]] = defaultdict(list)

    def time(kernel: Any, launch: Callable[[], Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
        name = kernel_of(launch_of(kernel, args, options))
        readings[name or ""].append(clock(launch))

    with handled(time):
        run()
    done()
    return {name: sum(reading() for reading in some) for name, some in readings.items() if name}


def tune(passes: list[Callable[[], None]], device: torch.device, clock: Clock, done: Callable[[], None]) -> Times:
    """Times of all passes together, by kernel and candidate; the first candidate is the present one."""
    arch, times = architecture(device), Times()
    present = {name: tiles_of(name, device) for name in KERNELS}
    for tiles in (present, *rounds(STAGES)):
        new = {name: one for name, one in tiles.items() if one not in times.get(name, {})}
        with assumed(arch, present | new):
            for run in passes:
                pass_times(run, clock, done)  # compiles
                found = [pass_times(run, clock, done) for _ in range(PASSES)]
                for name in [name for name in found[0] if name in new]:
                    so_far = times.setdefault(name, {})
                    so_far[new[name]] = so_far.get(new[name], 0) + statistics.median(one[name] for one in found)
    return times


def places(name: str) -> list[int]:
    """The first cell of a space, the first reduction, the last one."""
    kinds = [cell.kind for cell, _ in Supernet(space(name)).sections.cells]
    return [0, kinds.index("reduce"), len(kinds) - 1]


def better(times: Times) -> dict[str, Tiles]:
    """Of each kernel the fastest tiles, where they are not the present ones."""
    found = {}
    for name, candidates in times.items():
        present, *_ = candidates
        best = min(candidates, key=lambda tiles: candidates[tiles])
        if candidates[best] < GAIN * candidates[present]:
            found[name] = best
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.triton.tune", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("tiles.json"), help="file to write (%(default)s)")
    args = parser.parse_args(argv)
    need_gpu()
    passes = [cell_pass(name, place, "float32", Size.V, Size.N, DEVICE) for name in SPACES for place in places(name)]
    device = torch.device(DEVICE, torch.cuda.current_device())
    times = tune(passes, device, device_clock(), torch.cuda.synchronize)
    found = better(times)
    for name, candidates in times.items():
        present, *_ = candidates
        tiles = found.get(name, present)
        print(f"{name}: {candidates[present]:.3f} ms {[*present]}, {candidates[tiles]:.3f} ms {[*tiles]}")
    args.out.write_text(written({str(architecture(device)): found}), encoding="utf-8")
    print(f"{len(found)} kernels are faster by {args.out}: export {VARIABLE}={args.out.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
