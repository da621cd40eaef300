"""Compiles every Triton kernel for sm_70, 75, 80, 86 and 90 without a GPU: registers, shared memory, stack, occupancy.

python tests/triton_resources.py [--write] [--kernels NAMES]. The launches of real calls are caught before they run, so
that what is compiled is what would be launched. Fails where a kernel does not compile, uses the stack, or differs from
kernels/resources.md; --write records what is new, with --kernels only of those.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bench.triton.launches import (  # noqa: E402
    LIMITS,
    Resources,
    attempt,
    launches_of_space,
    launches_of_the_rest,
    occupancy,
)
from sgl_fast.kernels.ahead import Launch  # noqa: E402
from sgl_fast.kernels.configurations import assumed  # noqa: E402
from sgl_fast.spaces import SPACES  # noqa: E402

TABLE = ROOT / "kernels" / "resources.md"
HEAD = """\
Triton's kernels as launched for every cell of the spaces, compiled by Triton {version}, which brings its ptxas.
1x1 convolutions of 16 channels and more are three products of tf32 from sm_80 on, plain float32 before; with a
precision, launches that differ from float32's. What is launched more than once with other numbers is here once, by the
most of each figure and the least occupancy, the share of a multiprocessor's warps that can be there at once.

| space | kernel | sm | registers | shared | stack | occupancy |
|---|---|---|---|---|---|---|
"""
# Less than float32, and from which architecture on: a space.
PRECISIONS = {"float16": ("pc_darts", 70), "bfloat16": ("pc_darts", 80), "tf32": ("darts", 80)}

Job = tuple[str, Launch, int]


def jobs() -> list[Job]:
    """Every launch by a space that has it, on every architecture."""
    found: dict[Job, None] = {}
    for arch in LIMITS:
        with assumed(arch):
            for name in SPACES:
                found |= dict.fromkeys((name, launch, arch) for launch in launches_of_space(name))
            found |= dict.fromkeys(("any", launch, arch) for launch in launches_of_the_rest())
            for precision, (name, oldest) in PRECISIONS.items():
                launches = launches_of_space(name, precision) if arch >= oldest else []
                new = [launch for launch in launches if (name, launch, arch) not in found]
                found |= dict.fromkeys((f"{name}, {precision}", launch, arch) for launch in new)
    return list(found)


def lines_kept(kernels: list[str], every: list[Job]) -> list[str]:
    """Of the record, those of other kernels that are launched still."""
    left = {launch.kernel for _, launch, _ in every} - set(kernels)
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "`" in line and line.split("`")[1] in left]


def lines_of(found: list[tuple[Job, Resources]]) -> list[str]:
    """One line a space, kernel and architecture."""
    most: dict[tuple[str, str, int], list[int]] = {}
    for (space, launch, arch), resources in found:
        figures = [*resources[:3], -round(100 * occupancy(arch, resources))]
        key = space, launch.kernel, arch
        most[key] = list(map(max, figures, most.get(key, figures)))
    return [
        f"| {space} | `{kernel}` | {arch} | {registers} | {shared} | {stack} | {-share} % |"
        for (space, kernel, arch), (registers, shared, stack, share) in most.items()
    ]


def complaints(lines: list[str], recorded: str) -> list[str]:
    """Stacks; what differs from the table, if that is of this version of Triton."""
    import triton

    found = []
    for line in lines:
        kernel, arch, _, _, stack, _ = (part.strip() for part in line.strip("| ").split("|")[1:])
        if stack != "0":
            found.append(f"{kernel} on sm_{arch} needs no stack; it uses {stack} bytes")
    if f"Triton {triton.__version__}," not in recorded:
        return found
    old = [line for line in recorded.splitlines() if "`" in line]
    found += [f"not in {TABLE.name}: {line}" for line in lines if line not in old]
    return found + [f"only in {TABLE.name}: {line}" for line in old if line not in lines]


def main() -> int:
    """Exit code: 0 as recorded, 1 a kernel does not compile or is not as recorded."""
    import triton

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the table")
    parser.add_argument("--kernels", nargs="+", metavar="NAME", help="compile only these (default: all)")
    args = parser.parse_args()
    every = jobs()
    kept = lines_kept(args.kernels, every) if args.kernels else []
    every = [job for job in every if not args.kernels or job[1].kernel in args.kernels]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(attempt, [job[1:] for job in every]))
    if broken := [said for said in results if isinstance(said, str)]:
        print("\n".join(broken))
        return 1
    lines = kept + lines_of(
        [(job, said) for job, said in zip(every, results, strict=True) if isinstance(said, Resources)]
    )
    if args.write:
        TABLE.write_text(HEAD.format(version=triton.__version__) + "\n".join(lines) + "\n", encoding="utf-8")
    wrong = complaints(lines, TABLE.read_text(encoding="utf-8"))
    print("\n".join(wrong) if wrong else f"{len(results)} instances of Triton kernels compiled")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
