"""Which tiles each of Triton's cell kernels has on each architecture, by what the compiler says: no GPU is needed.

python -m bench.triton.tiles compiles a small grid of candidates for every architecture, and writes the table
kernels/tiles.json and what it was chosen by, bench/results/triton_tiles.md: of all kernels, or of some; of the tiles
that the table has, if --present. Nothing is timed; `bench.triton.tune` does that where there is a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import torch

from sgl_fast.kernels.ahead import Launch
from sgl_fast.kernels.arguments import Tile
from sgl_fast.kernels.configurations import DOTS, KERNELS, TABLE, Tiles, assumed, read_tables, tiles_of
from sgl_fast.spaces import SPACES

from ..report import ROOT
from ..tables import table
from .launches import LIMITS, Resources, attempt, launches_of_space, occupancy

OUT = ROOT / "bench" / "results" / "triton_tiles.md"
ENOUGH = 0.5  # occupancy, beyond which a larger tile is worth more
PLAIN = [(64, 16, 4), (64, 16, 2), (64, 16, 8), (32, 16, 4), (32, 16, 2), (128, 16, 4), (64, 8, 4), (128, 8, 4)]
PRODUCT = [(64, 16, 8), (64, 16, 4), (64, 16, 2), (32, 16, 8), (32, 16, 4), (32, 16, 2), (64, 8, 8), (64, 8, 4)]
WEIGHTS = [(16, 16, 2), (16, 16, 1), (16, 16, 4), (32, 16, 2), (32, 16, 4), (16, 8, 2), (16, 8, 1), (8, 16, 1)]
OF_DOTS = {"pointwise_wgrad_dot": [row for row in WEIGHTS if min(row[:2]) >= 16]}
CANDIDATES = {
    **dict.fromkeys(KERNELS, PLAIN),
    **dict.fromkeys(("convolve", "pointwise_dgrad"), PRODUCT),
    **dict.fromkeys(("convolve_dot", "pointwise_dgrad_dot"), [row for row in PRODUCT if min(row[:2]) >= 16]),
    "pointwise_wgrad": WEIGHTS,
    **OF_DOTS,
}
HEAD = f"""\
Candidates for the tiles of Triton's cell kernels: pixels and channels of a tile at most, elements of it a thread.
Compiled for every cell of {", ".join(SPACES)} at its published size,
those of darts with products of tf32, too; the most registers, shared memory and stack of all launches, the least
occupancy. Chosen (*): no stack, or the least; then occupancy, {ENOUGH:.0%} being enough; then the largest tile; then
occupancy again. Where a kernel has one candidate, that is what it had before. **Nothing here was timed.**

"""


class Measured(NamedTuple):
    """A candidate by all its launches."""

    tiles: Tiles
    registers: int
    shared: int
    stack: int
    occupancy: float


def rank(one: Measured) -> tuple[float, ...]:
    """The best is the greatest."""
    return -one.stack, min(one.occupancy, ENOUGH), one.tiles.pixels * one.tiles.channels, one.occupancy, -one.tiles.each


TILED = {  # by whose tiles a kernel goes that has another name
    "stage_kernel": "convolve",
    "node_sums_kernel": "state_grad",
    "hidden_grad_kernel": "pointwise_dgrad",
    "input_grad_kernel": "pointwise_dgrad",
}


def kernel_of(launch: Launch) -> str | None:
    """Its name in the table."""
    name = TILED.get(launch.kernel, launch.kernel.removesuffix("_kernel"))
    dotted = f"{name}_dot"
    name = dotted if dotted in DOTS and tile_of(launch).dot else name
    return name if name in KERNELS else None


def tile_of(launch: Launch) -> Tile:
    """The tile that a kernel of 1x1 convolutions has."""
    return next(value for _, value in launch.constants if isinstance(value, Tile))


def rounds(stages: tuple[int, ...] = (3,)) -> Iterator[dict[str, Tiles]]:
    """One candidate of each kernel at a time, until each had all of its own; stages: of those with tl.dot."""
    rows = {name: [(*row, 3) for row in CANDIDATES[name]] for name in KERNELS}
    for name in DOTS:
        rows[name] = [(*row, n) for n in stages for row in CANDIDATES[name]]
    for i in range(max(map(len, rows.values()))):
        yield {name: Tiles(*some[i]) for name, some in rows.items() if i < len(some)}


Wanted = dict[tuple[str, int, Tiles], set[Launch]]


def wanted(kernels: Sequence[str], present: bool) -> Wanted:
    """Launches of these kernels by architecture and candidate; present: only the table's."""
    found: Wanted = defaultdict(set)
    for tiles in () if present else rounds():
        for some in ([arch for arch in LIMITS if arch < 80], [arch for arch in LIMITS if arch >= 80]):
            with assumed(some[0], tiles):  # only tl.dot's operands differ between architectures
                _add(found, kernels, some, tiles)
    for arch in LIMITS if present else ():
        with assumed(arch):
            _add(found, kernels, [arch], {name: tiles_of(name, torch.device("cpu")) for name in KERNELS})
    return found


def _add(found: Wanted, kernels: Sequence[str], archs: list[int], tiles: dict[str, Tiles]) -> None:
    """Launches as they now are, with these tiles."""
    launches = {launch for name in SPACES for launch in launches_of_space(name)} | set(
        launches_of_space("darts", "tf32")
    )
    for launch in launches:
        kernel = str(kernel_of(launch))
        for arch in archs if kernel in tiles and kernel in kernels else []:
            found[kernel, arch, tiles[kernel]].add(launch)


def measured(wanted: Wanted) -> dict[tuple[str, int], list[Measured]]:
    jobs = sorted({(launch, arch) for (_, arch, _), launches in wanted.items() for launch in launches}, key=str)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        done = dict(zip(jobs, pool.map(attempt, jobs, chunksize=8), strict=True))
    if broken := [said for said in done.values() if isinstance(said, str)]:
        raise SystemExit("\n".join(broken))
    found: dict[tuple[str, int], list[Measured]] = defaultdict(list)
    for (kernel, arch, tiles), launches in wanted.items():
        every = [said for launch in launches if isinstance(said := done[launch, arch], Resources)]
        registers, shared, stack, _ = map(max, zip(*every, strict=True))
        least = min(occupancy(arch, one) for one in every)
        found[kernel, arch].append(Measured(tiles, registers, shared, stack, least))
    return found


def rows_of(found: dict[tuple[str, int], list[Measured]]) -> list[list[str]]:
    rows = []
    for (kernel, arch), candidates in sorted(found.items(), key=lambda item: (KERNELS.index(item[0][0]), item[0][1])):
        best = max(candidates, key=rank)
        for one in candidates:
            pixels, channels, each, _ = one.tiles
            figures = [str(n) for n in (pixels, channels, each, one.registers, one.shared, one.stack)]
            rows.append([kernel, str(arch), *figures, f"{one.occupancy:.0%}", "*" * (one is best)])
    return rows


def written(tables: dict[str, dict[str, Tiles]]) -> str:
    """As tiles.json has it: a line a kernel."""
    parts = []
    for arch, kernels in tables.items():
        lines = ",\n".join(f'  "{name}": {json.dumps(list(row))}' for name, row in kernels.items())
        parts.append(f' "{arch}": {{\n{lines}\n }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def rows_kept(kernels: Sequence[str]) -> list[list[str]]:
    """Of the report, those of other kernels."""
    lines = OUT.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in rows if row[0] in KERNELS and row[0] not in kernels]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.triton.tiles", description=__doc__)
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, default=KERNELS, metavar="NAME", help="default: all")
    parser.add_argument("--present", action="store_true", help="compile what the table has, compare nothing")
    args = parser.parse_args(arguments)
    found = measured(wanted(args.kernels, args.present))
    tables = read_tables(None)
    for name, arch in found:
        tables[str(arch)][name] = max(found[name, arch], key=rank).tiles
    TABLE.write_text(written(tables), encoding="utf-8")
    names = ["kernel", "sm", "pixels", "channels", "each", "registers", "shared", "stack", "occupancy", "chosen"]
    rows = sorted(rows_kept(args.kernels) + rows_of(found), key=lambda row: (KERNELS.index(row[0]), int(row[1])))
    OUT.write_text(HEAD + table(names, rows) + "\n", encoding="utf-8")
    for (kernel, arch), candidates in found.items():
        if stack := max(candidates, key=rank).stack:
            print(f"{kernel} on sm_{arch}: no candidate without a stack; {stack} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
