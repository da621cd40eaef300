"""Compiles every CUDA kernel for every architecture without a GPU: registers, memory, stack, occupancy, machine code.

python csrc/tests/resources.py [--write] [--archive PATH]. Fails where a kernel does not compile, uses the stack, or
differs from csrc/cuda/resources.md; --write records what is new; --archive keeps the code, as the package carries it.
"""

from __future__ import annotations

import argparse
import re
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import sass

from sgl_fast.backends import device_code

CUDA = Path(__file__).parent.parent / "cuda"
TABLE = CUDA / "resources.md"
REGISTERS = 65536  # of a multiprocessor
THREADS = {75: 1024, 86: 1536, 89: 1536, 120: 1536}  # of a multiprocessor that has fewer than 2048
HEAD = """\
Every CUDA kernel as NVRTC 12.9 compiles it; shared: static bytes; blocks: of a multiprocessor, by registers.

| kernel | sm | registers | shared | stack | blocks |
|---|---|---|---|---|---|
"""
READ = (75, 80, 90)  # nvdisasm 13 does not know sm_70, whose machine code is that of sm_75 but for tensor cores
CODE_HEAD = """
Their machine code, as csrc/tests/sass.py counts it. Loads are of global memory; in flight: issued before the first use
of one of them, on average and at most.

| kernel | sm | instructions | shuffles | barriers | generic | loads | in flight | most |
|---|---|---|---|---|---|---|---|---|
"""


class Row(NamedTuple):
    kernel: str
    sm: int
    registers: int
    shared: int
    stack: int
    blocks: int

    def line(self) -> str:
        return f"| `{self.kernel}` | " + " | ".join(map(str, self[1:])) + " |"


def threads_of() -> dict[str, int]:
    """Of a block of each kernel, as its launch bounds say."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(CUDA.iterdir()) if path.suffix in (".cu", ".h")]
    constants = dict(re.findall(r"constexpr int (\w+) = ([\w */]+);", "\n".join(texts)))

    def value(text: str) -> int:
        return int(eval(text, {}, {name: value(constants[name]) for name in re.findall(r"[A-Z]\w*", text)}))

    bounds = re.findall(r"KERNEL __launch_bounds__\(([^,)]+)[^)]*\)\s*(\w+)\(", "\n".join(texts))
    return {kernel: value(bound) for bound, kernel in bounds}


def rows_of(sm: int, said: str, threads: dict[str, int]) -> Iterator[Row]:
    """What the assembler says of the kernels of a unit."""
    for part in said.split("Compiling entry function '")[1:]:
        kernel = part.partition("'")[0]
        registers, stack = (int(number_in(part, after)) for after in (r"Used (\d+) reg", r"(\d+) bytes stack"))
        granted = -(-registers // 8) * 8 * threads[kernel]
        blocks = min(REGISTERS // granted, THREADS.get(sm, 2048) // threads[kernel])
        yield Row(kernel, sm, registers, int(number_in(part, r"(\d+) bytes smem")), stack, blocks)


def number_in(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else "0"


def code_lines(archive: Path) -> list[str]:
    """Of the second table, from compiled code."""

    def counted(place: tuple[int, str]) -> list[tuple[str, int, sass.Counts]]:
        with zipfile.ZipFile(archive) as code:
            return [(kernel, place[0], c) for kernel, c in sass.counts_of(code.read("sm_{}/{}".format(*place))).items()]

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(counted, [(sm, unit) for sm in READ for unit in device_code.units()]))
    rows = sorted(row for part in found for row in part)
    return [f"| `{kernel}` | {sm} | " + " | ".join(map(str, c)) + " |" for kernel, sm, c in rows]


def complaints(rows: list[Row], lines: list[str], recorded: list[str]) -> list[str]:
    found = [f"{r.kernel} on sm_{r.sm} uses {r.stack} bytes of stack" for r in rows if r.stack]
    found += [f"not in {TABLE.name}: {line}" for line in lines if line not in recorded]
    return found + [f"only in {TABLE.name}: {line}" for line in recorded if line not in lines]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the table")
    parser.add_argument("--archive", type=Path, default=Path("build/cubins.zip"), help="where the code goes")
    args = parser.parse_args()
    threads, rows = threads_of(), []
    args.archive.parent.mkdir(parents=True, exist_ok=True)
    for _, target, said in device_code.write_archive(args.archive):
        if target.startswith("sm_"):
            rows += list(rows_of(int(target.removeprefix("sm_")), said, threads))
    rows.sort(key=lambda row: (row.kernel, row.sm))
    lines, code = [row.line() for row in rows], code_lines(args.archive)
    if args.write:
        TABLE.write_text("\n".join([HEAD + "\n".join(lines), CODE_HEAD + "\n".join(code), ""]), encoding="utf-8")
    recorded = [x for x in TABLE.read_text(encoding="utf-8").splitlines() if x.startswith("| `")]
    found = complaints(rows, lines + code, recorded)
    print("\n".join(found) if found else f"{len(rows)} kernels as recorded, none with a stack")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
