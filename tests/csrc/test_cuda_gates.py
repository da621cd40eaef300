"""Faults planted in the CUDA kernels: the simulator and its sanitizers see each (pytest --simulated)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from simulated import ROOT, alone

CUDA = ROOT / "csrc" / "cuda"
BARRIER = "    __syncthreads();\n"
WARP_BARRIER = "        __syncwarp();\n"
# What a program says that saw a fault: a check of its own under some order of threads, the simulator, a sanitizer. One
# that could not be run says something else.
SEEN = re.compile(r"\(order \d\)|\(block .*, thread .*\)|(ERROR|WARNING): (Address|Thread)Sanitizer: ")
# which test program, under which sanitizer; file; what is replaced by what
MUTANTS = {
    "dropped barrier": ("flat_update", "thread", "device.cuh", f"{BARRIER}    T total", "    T total"),
    "dropped barrier of a warp": (
        "mixed_cell",
        "thread",
        "wgrad_tile.cuh",
        f"factor * mine[i]);\n{WARP_BARRIER}",
        "factor * mine[i]);\n",
    ),
    "wrong lane": ("pseudo_label", "address", "device.cuh", "v += __shfl_xor_sync(WHOLE_WARP, v, step)", "v += v"),
    "a part too long": ("flat_update", "address", "flat_update.cu", "end = (k + 1) * P;", "end = (k + 1) * P + 1;"),
    "off by one tile": ("mixed_cell", "address", "convolve.cu", "&& q < block.rows", "&& q + 1 < block.rows"),
    "missing initialisation": (
        "mixed_cell",
        "address",
        "dgrad.cu",
        "clear(shared, part.at",
        "clear(shared, 0 * part.at",
    ),
    "the last job not brought": (
        "mixed_cell",
        "address",
        "dgrad.cu",
        "bool next = number + 1 <",
        "bool next = number + 2 <",
    ),
    "the first outputs again": (
        "mixed_cell",
        "address",
        "dgrad_input.cu",
        "grad_z.read(o0 + tile.steps() + group,",
        "grad_z.read(o0 + group,",
    ),
    "a thread's sum left out": (
        "mixed_cell",
        "address",
        "wgrad.cu",
        "for (int t = 0; t < share.threads",
        "for (int t = 1; t < share.threads",
    ),
    "plain add across blocks": (
        "mixed_cell",
        "thread",
        "cell.cuh",
        "last[0] = atomicAdd(arrival, 1u) == count - 1;",
        "last[0] = (*arrival)++ == count - 1;",
    ),
    "no fence": (
        "mixed_cell",
        "thread",
        "cell.cuh",
        f"    __threadfence();\n{BARRIER}    if (threadIdx",
        f"{BARRIER}    if (threadIdx",
    ),
}


@pytest.mark.parametrize("header", sorted(path.name for path in CUDA.glob("*.*h")))
def test_every_header_parses_alone(header: str, simulated: object) -> None:
    command = ["g++", "-std=c++17", "-fsyntax-only", "-w", "-x", "c++", "-"]
    source = f'#include "{CUDA / header}"\n'
    if header.endswith(".cuh"):
        source = f'#define CUDASIM\n#include "{ROOT}/csrc/tests/sim/cudasim.h"\n{source}'
    done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_index_has_every_file() -> None:
    index = (CUDA / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in CUDA.iterdir()} - {"README.md"} == set(re.findall(r"`(\w+\.\w+)`", index))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the simulated kernels are made of; the programs that launch them hold none."""
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


def make(target: Path, where: Path, *settings: str) -> None:
    done = subprocess.run(["make", str(target), *settings], cwd=where, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", MUTANTS)
def test_planted_faults_are_seen(name: str, tree: Path, simulated: object) -> None:
    program, sanitizer, file, right, wrong = MUTANTS[name]
    source = tree / "csrc" / "cuda" / file
    text = source.read_text(encoding="utf-8")
    assert text.count(right) >= 1
    source.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    folder = Path("build", "simulate", sanitizer)
    with alone():  # `make gates` has made it
        make(folder / program, ROOT, f"RUN={sys.executable}")
    # They are seen without the sanitizer of undefined behaviour, too, which takes half of the compile.
    make(folder / "libcuda.so", tree, "CXX=g++ -w", "ADDRESS=-fsanitize=address")
    shutil.copy(ROOT / folder / program, tree / folder)
    stop = os.environ | {"TSAN_OPTIONS": "halt_on_error=1", "SGL_FAST_LIBCUDA": str(folder / "libcuda.so")}
    done = subprocess.run([tree / folder / program], cwd=tree, env=stop, capture_output=True, text=True, timeout=600)
    assert done.returncode != 0 and SEEN.search(done.stdout + done.stderr), f"{name}: {done.stdout}{done.stderr}"
