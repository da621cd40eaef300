"""Compiles every CUDA kernel for sm_70, sm_80 and sm_90 without a GPU: registers, shared memory, stack and occupancy.

python csrc/tests/resources.py CUDA12 [--write], CUDA12 a folder with the nvidia packages of CUDA 12.9 (nvcc for ptxas,
nvrtc, runtime, cccl). Fails where a kernel does not compile, uses the stack, takes over 4 KB of parameters, or differs from csrc/cuda/resources.md;
--write records what is new.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

CUDA = Path(__file__).parent.parent / "cuda"
TABLE = CUDA / "resources.md"
ARCHS = (70, 80, 90)
REGISTERS, THREADS = 65536, 2048  # of a multiprocessor, of each of these
PARAMETERS = 4096  # bytes of a kernel, which every driver takes; more needs CUDA 12.1 and driver R530
KERNELS = {
    "flat_update.cuh": ["squares_kernel", "norms_kernel", "sgd_kernel", "perturb_kernel", "central_difference_kernel"],
    "pseudo_label.cuh": ["pseudo_labels_kernel", "cross_entropy_kernel", "pseudo_label_vjp_kernel"],
    "skip_dropout.cuh": ["dropout_masks_kernel"],
    "augment.cuh": ["augment_kernel"],
    "convolve.cuh": [f"convolve_kernel<{R}>" for R in (1, 2, 4, 8)],
    "wide.cuh": ["wide_kernel"],
    "combine.cuh": ["combine_kernel", "evaluation_kernel"],
    "slopes.cuh": ["node_slopes_kernel", "mixture_kernel"],
    "gradient.cuh": [f"gradient_kernel<{R}>" for R in (1, 2, 4)],
    "wide_gradient.cuh": ["wide_gradient_kernel"],
    "weight_gradient.cuh": ["weight_gradient_kernel", "add_shares_kernel"],
}
HEAD = """\
Every CUDA kernel as ptxas of CUDA 12.9 compiles it; shared: static bytes; blocks: of a multiprocessor, by registers;
parameters: bytes.

| kernel | sm | registers | shared | stack | blocks | parameters |
|---|---|---|---|---|---|---|
"""


class Row(NamedTuple):
    kernel: str
    sm: int
    registers: int
    shared: int
    stack: int
    blocks: int
    parameters: int

    def line(self) -> str:
        return f"| `{self.kernel}` | " + " | ".join(map(str, self[1:])) + " |"


class Nvrtc:
    """The run-time compiler: device source in, PTX out."""

    def __init__(self, root: Path) -> None:
        nvidia = root / "nvidia"
        self.library = ctypes.CDLL(str(nvidia / "cuda_nvrtc" / "lib" / "libnvrtc.so.12"))
        self.includes = [f"-I{nvidia / part / 'include'}" for part in ("cuda_runtime", "cuda_nvcc", "cuda_cccl")]

    def ptx(self, header: str, kernels: list[str], arch: int) -> tuple[str, dict[str, str]]:
        """PTX, and the mangled name of each kernel. RuntimeError with the compiler's words."""
        program = ctypes.c_void_p()
        self._do("CreateProgram", ctypes.byref(program), f'#include "{header}"\n'.encode(), b"unit.cu", 0, None, None)
        for name in kernels:
            self._do("AddNameExpression", program, f"sgl_fast::{name}".encode())
        options = [f"--gpu-architecture=compute_{arch}", "-std=c++17", f"-I{CUDA}", *self.includes]
        array = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
        if self.library.nvrtcCompileProgram(program, len(options), array):
            raise RuntimeError(self._text("ProgramLog", program))
        mangled = {}
        for name in kernels:
            found = ctypes.c_char_p()
            self._do("GetLoweredName", program, f"sgl_fast::{name}".encode(), ctypes.byref(found))
            mangled[name] = (found.value or b"").decode()
        text = self._text("PTX", program)
        self._do("DestroyProgram", ctypes.byref(program))
        return text, mangled

    def _do(self, name: str, *args: object) -> None:
        code = getattr(self.library, f"nvrtc{name}")(*args)
        if code:
            raise RuntimeError(f"nvrtc{name}: error {code}")

    def _text(self, what: str, program: ctypes.c_void_p) -> str:
        size = ctypes.c_size_t()
        self._do(f"Get{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._do(f"Get{what}", program, buffer)
        return buffer.value.decode()


def rows_of(root: Path, header: str, arch: int) -> list[Row]:
    """What ptxas says of the kernels in a header."""
    ptx, mangled = Nvrtc(root).ptx(header, KERNELS[header], arch)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "unit.ptx"
        source.write_text(ptx)
        ptxas = root / "nvidia" / "cuda_nvcc" / "bin" / "ptxas"
        command = [str(ptxas), "-v", f"--gpu-name=sm_{arch}", str(source), "-o", str(Path(folder) / "unit.cubin")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [row_of(name, arch, mangled[name], ptx, done.stderr) for name in KERNELS[header]]


def row_of(kernel: str, arch: int, mangled: str, ptx: str, said: str) -> Row:
    part = said.partition(f"Compiling entry function '{mangled}'")[2].partition("Compiling entry function")[0]
    registers = int(re.search(r"Used (\d+) registers", part)[1])  # type: ignore[index]
    stack = int(re.search(r"(\d+) bytes stack frame", part)[1])  # type: ignore[index]
    shared = re.search(r"(\d+) bytes smem", part)
    threads = int(re.search(re.escape(mangled) + r"\(.*?\.maxntid (\d+)", ptx, re.S)[1])  # type: ignore[index]
    granted = -(-registers // 8) * 8 * threads
    blocks = min(REGISTERS // granted, THREADS // threads)
    return Row(kernel, arch, registers, int(shared[1]) if shared else 0, stack, blocks, parameter_bytes(ptx, mangled))


def parameter_bytes(ptx: str, mangled: str) -> int:
    """Of an entry `.param .u64 a, .param .align 8 .b8 b[360], ...`: padding between parameters aside."""
    inside = re.search(r"\.entry " + re.escape(mangled) + r"\((.*?)\)", ptx, re.S)[1]  # type: ignore[index]
    kinds = re.findall(r"\.param (?:\.align \d+ )?\.[a-z]+(\d+) \w+(?:\[(\d+)\])?", inside)
    return sum(int(bits) // 8 * int(count or 1) for bits, count in kinds)


def complaints(rows: list[Row], recorded: list[str]) -> list[str]:
    found = [f"{r.kernel} on sm_{r.sm} needs no stack; it uses {r.stack} bytes" for r in rows if r.stack]
    found += [
        f"{r.kernel} on sm_{r.sm} needs at most {PARAMETERS} bytes of parameters; it takes {r.parameters}"
        for r in rows
        if r.parameters > PARAMETERS
    ]
    lines = [row.line() for row in rows]
    found += [f"not in {TABLE.name}: {line}" for line in lines if line not in recorded]
    return found + [f"only in {TABLE.name}: {line}" for line in recorded if line not in lines]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cuda12", type=Path)
    parser.add_argument("--write", action="store_true", help="record the table")
    args = parser.parse_args()
    with ThreadPoolExecutor() as pool:  # the compilers run outside of Python
        units = [pool.submit(rows_of, args.cuda12, header, arch) for header in KERNELS for arch in ARCHS]
    rows = [row for unit in units for row in unit.result()]
    if args.write:
        TABLE.write_text(HEAD + "\n".join(row.line() for row in rows) + "\n", encoding="utf-8")
    recorded = (
        [x for x in TABLE.read_text(encoding="utf-8").splitlines() if x.startswith("| `")] if TABLE.exists() else []
    )
    found = complaints(rows, recorded)
    print("\n".join(found) if found else f"{len(rows)} kernels as recorded, none with a stack")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
