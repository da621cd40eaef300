"""Compiles every Triton kernel for sm_70, 75, 80 and 90 without a GPU: registers, shared memory, stack.

python tests/triton_resources.py [--write]. The launches of real calls are caught before they run, so that what is
compiled is what would be launched. Fails where a kernel does not compile, uses the stack on sm_80 or newer, or differs
from kernels/resources.md; --write records what is new.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
TABLE = ROOT / "kernels" / "resources.md"
ARCHS = (70, 75, 80, 90)
HEAD = """\
Triton's kernels as launched for the cells named, compiled by Triton {version}, which brings its ptxas. 1x1 convolutions
of 16 channels and more are three products of tf32 from sm_80 on, plain float32 before. What is launched more than once
with other numbers is here once, by the most of each.

| cell | kernel | sm | registers | shared | stack |
|---|---|---|---|---|---|
"""


class Launch(NamedTuple):
    """A kernel with what it is specialised for."""

    cell: str
    module: str
    kernel: str
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    aligned: tuple[str, ...]
    options: tuple[tuple[str, int], ...]


def caught(name: str, space: str, place: int) -> list[Launch]:
    """The launches of a forward and a backward of one of the space's cells at its published size, each kind once."""
    import torch
    from sgl_fast.kernels import augment, flat_update, mixed_cell, pseudo_label, skip_dropout
    from triton.runtime.jit import JITFunction

    from sgl_fast.ops.mixed_cell import numbers, sizes
    from sgl_fast.spaces import space as space_of
    from sgl_fast.supernet import Supernet

    cell = Supernet(space_of(space)).sections.cells[place][0]
    side = 32 >> sum(c.kind == "reduce" for c, _ in Supernet(space_of(space)).sections.cells[:place])
    found: dict[Launch, None] = {}

    def catch(self: Any, *args: Any, grid: Any, warmup: bool = False, **options: Any) -> None:
        found[launch_of(name, self, args, options)] = None

    before, JITFunction.run = JITFunction.run, catch
    try:
        V, N = 2, 4
        draw = lambda *size: torch.empty(*size)  # noqa: E731
        scale = 2 if cell.shrink0 else 1
        s0 = draw(V, N, cell.c_prev_prev, scale * side, scale * side)
        s1 = draw(V, N, cell.c_prev, side, side)
        weights = draw(V, sizes(numbers(cell), side, side, "triton")[0])
        mixture = draw(V, len(cell.ops), numbers(cell)[9]), draw(V, len(cell.ops)) if cell.partial > 1 else None
        inputs = s0, s1, weights, *mixture
        saved = mixed_cell.mixed_cell(numbers(cell), *inputs, None, None, None, 1.0, 1.0, "float32")
        how = 1.0, 1.0, *[True] * 4, "float32"
        mixed_cell.mixed_cell_backward(numbers(cell), *inputs, None, *saved, torch.empty_like(saved[0]), *how)
        rows, logits = draw(2, 300_000), draw(2, 50, 10)
        flat_update.sgd(rows, rows, rows, draw(()), 0.9, 3e-4, 5.0)
        flat_update.perturb(rows, rows, 0.01)
        flat_update.quotient(rows, draw(1))
        flat_update.row_norms(rows)
        pseudo_label.pseudo_labels(logits)
        pseudo_label.cross_entropy(logits, logits, 1.0)
        pseudo_label.teacher_cotangent(logits, logits)
        pixels = torch.empty(1000, 3, 32, 32, dtype=torch.uint8)
        augment.augment(pixels, torch.arange(50 * 6).view(50, 6), draw(3, 256), 4, 16)
        skip_dropout.dropout_masks(torch.arange(2), 14, 0, (50, 16, 32, 32), 5_000_000)
    finally:
        JITFunction.run = before
    return list(found)


def launch_of(cell: str, function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Launch:
    signature, constants, aligned = [], [], []
    for param, value in zip(function.params, args, strict=True):
        if param.is_constexpr or value is None or (type(value) is int and value == 1):
            signature.append((param.name, "constexpr"))
            constants.append((param.name, value))
            continue
        kind, divisible = kind_of(value)
        signature.append((param.name, kind))
        if divisible:
            aligned.append(param.name)
    module = function.fn.__module__
    return Launch(
        cell, module, function.fn.__name__, tuple(signature), tuple(constants), tuple(aligned), tuple(options.items())
    )


def kind_of(value: Any) -> tuple[str, bool]:
    """Triton's name of an argument's type, and whether it is a multiple of 16."""
    import torch

    names = {torch.float32: "fp32", torch.float64: "fp64", torch.float16: "fp16", torch.uint8: "u8"}
    names |= {torch.int32: "i32", torch.int64: "i64"}
    if isinstance(value, torch.Tensor):
        return f"*{names[value.dtype]}", value.data_ptr() % 16 == 0
    if isinstance(value, bool):
        return "u1", False
    if isinstance(value, int):
        return "i32" if -(2**31) <= value < 2**31 else "i64", value % 16 == 0
    return "fp32", False


def compiled(launch: Launch, arch: int) -> str:
    """The table's line."""
    import importlib

    import triton
    import triton.backends.nvidia as nvidia
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = getattr(importlib.import_module(launch.module), launch.kernel)
    names = [p.name for p in function.params]
    constants = {(names.index(n),): v for n, v in launch.constants}
    if arch < 80:
        constants = {k: "ieee" if v == "tf32x3" else v for k, v in constants.items()}
    attrs = {(names.index(n),): [["tt.divisibility", 16]] for n in launch.aligned}
    source = ASTSource(fn=function, signature=dict(launch.signature), constexprs=constants, attrs=attrs)
    kernel = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=dict(launch.options))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(kernel.asm["cubin"])
        tool = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
        said = subprocess.run([tool, "--dump-resource-usage", path], capture_output=True, text=True, check=True).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", said).groups()  # type: ignore[union-attr]
    return f"| {launch.cell} | `{launch.kernel}` | {arch} | {registers} | {kernel.metadata.shared} | {stack} |"


def attempt(job: tuple[Launch, int]) -> str:
    try:
        return compiled(*job)
    except Exception as error:
        return f"{job[0].kernel} on sm_{job[1]}: {type(error).__name__}: {str(error)[:2000]}"


CELLS = {"pc_darts, first": ("pc_darts", 0), "pc_darts, reduction": ("pc_darts", 5), "darts, last": ("darts", 7)}


def merged(lines: list[str]) -> list[str]:
    """One line a cell, kernel and architecture: the most of each figure."""
    most: dict[tuple[str, ...], list[int]] = {}
    for line in lines:
        *key, registers, shared, stack = (part.strip() for part in line.strip("| ").split("|"))
        figures = [int(x) for x in (registers, shared, stack)]
        most[tuple(key)] = list(map(max, figures, most.get(tuple(key), figures)))
    return [f"| {' | '.join(map(str, [*key, *figures]))} |" for key, figures in most.items()]


def complaints(lines: list[str], recorded: str) -> list[str]:
    """Stacks on sm_80 and newer; what differs from the table, if that is of this version of Triton."""
    import triton

    found = []
    for line in lines:
        kernel, arch, _, _, stack = (part.strip() for part in line.strip("| ").split("|")[1:])
        if int(arch) >= 80 and stack != "0":
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
    args = parser.parse_args()
    launches = [launch for name, place in CELLS.items() for launch in caught(name, *place)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(attempt, [(launch, arch) for launch in launches for arch in ARCHS]))
    if broken := [line for line in found if not line.startswith("|")]:
        print("\n".join(broken))
        return 1
    lines = merged(found)
    if args.write:
        TABLE.write_text(HEAD.format(version=triton.__version__) + "\n".join(lines) + "\n", encoding="utf-8")
    wrong = complaints(lines, TABLE.read_text(encoding="utf-8"))
    print("\n".join(wrong) if wrong else f"{len(found)} instances of Triton kernels compiled")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
