"""What the machine code of a kernel does, counted: nvdisasm, of triton's package, reads it.

Loads are of global memory; generic accesses are of pointers whose space the compiler does not know. In flight: how
many loads are issued before one of their results is used, between two branches, labels or barriers. Counted is code,
not time: a loop's body counts once, however often it runs.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

SECTION = re.compile(r"\.section\s+\.text\.(\w+)")
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*(.*?)\s*;")
ENDS = "BRA", "BRX", "BSSY", "BSYNC", "BAR", "CALL", "RET", "EXIT", "WARPSYNC"
LOADS = "LDG", "LD"
WIDTHS = {"128": 4, "64": 2}  # registers


class Counts(NamedTuple):
    instructions: int
    shuffles: int
    barriers: int
    generic: int  # loads and stores
    loads: int
    in_flight: float  # the mean
    most: int


def counts_of(code: bytes) -> dict[str, Counts]:
    """By kernel of a cubin."""
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        text = subprocess.run([nvdisasm(), "-c", file.name], check=True, capture_output=True, text=True).stdout
    return {name: count(body.splitlines()) for name, body in sections(text)}


def nvdisasm() -> str:
    spec = importlib.util.find_spec("triton")
    if spec is None or spec.origin is None:
        raise SystemExit("needs nvdisasm, which triton's package carries: pip install triton")
    return str(Path(spec.origin).parent / "backends" / "nvidia" / "bin" / "nvdisasm")


def sections(text: str) -> Iterator[tuple[str, str]]:
    _, *parts = SECTION.split(text)
    yield from zip(parts[::2], parts[1::2], strict=True)


def count(lines: list[str]) -> Counts:
    """Of a kernel's code."""
    kinds: Counter[str] = Counter()
    groups: list[list[set[int]]] = [[]]  # of loads before a use of one of them: the registers of each
    for line in lines:
        found = INSTRUCTION.search(line)
        kind = found[1].partition(".")[0] if found else ""
        if kind:
            kinds[kind] += 1
        if kind in ENDS or line.lstrip().startswith(".L"):
            groups.append([])
        elif found:
            first, _, rest = found[2].partition(",")
            used = registers(found[1], found[2]) if kind.startswith("ST") else registers("", rest)
            if any(result & used for result in groups[-1]):
                groups.append([])
            if kind in LOADS:
                groups[-1].append(registers(found[1], first))
    sizes = [len(group) for group in groups if group] or [0]
    total, generic = kinds.total() - kinds["NOP"], kinds["LD"] + kinds["ST"]
    in_flight = round(sum(sizes) / len(sizes), 1)
    return Counts(total, kinds["SHFL"], kinds["BAR"], generic, sum(sizes), in_flight, max(sizes))


def registers(name: str, operands: str) -> set[int]:
    """Those that operands name, of an instruction as wide as its name says."""
    width = next((WIDTHS[part] for part in name.split(".") if part in WIDTHS), 1)
    return {int(n) + i for n in re.findall(r"\bR(\d+)", operands) for i in range(width)}
