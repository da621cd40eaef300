"""Compiles every CUDA kernel for every architecture without a GPU: registers, shared memory, stack and occupancy.

python csrc/tests/resources.py [--write] [--archive PATH]. Fails where a kernel does not compile, uses the stack, or
differs from csrc/cuda/resources.md; --write records what is new; --archive keeps the code, as the package carries it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
    constants: dict[str, int] = {}
    for name, value in re.findall(r"constexpr int (\w+) = ([\w */]+);", "\n".join(texts)):
        constants[name] = eval(value, {}, constants)
    bounds = re.findall(r"KERNEL __launch_bounds__\(([^,)]+)[^)]*\)\s*(\w+)\(", "\n".join(texts))
    return {kernel: eval(bound, {}, constants) for bound, kernel in bounds}


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


def complaints(rows: list[Row], recorded: list[str]) -> list[str]:
    found = [f"{r.kernel} on sm_{r.sm} uses {r.stack} bytes of stack" for r in rows if r.stack]
    lines = [row.line() for row in rows]
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
    if args.write:
        TABLE.write_text(HEAD + "\n".join(row.line() for row in rows) + "\n", encoding="utf-8")
    recorded = [x for x in TABLE.read_text(encoding="utf-8").splitlines() if x.startswith("| `")]
    found = complaints(rows, recorded)
    print("\n".join(found) if found else f"{len(rows)} kernels as recorded, none with a stack")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
