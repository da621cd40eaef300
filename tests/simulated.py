"""The extension with the CUDA kernels, simulated on the CPU, in place of the CPU kernels: for tests alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

from torch.utils import cpp_extension

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build" / "simulated"
FLAGS = ["-DCUDASIM", "-O2", "-g0", "-Wno-psabi", "-Wno-unknown-pragmas", "-Wno-attributes"]


def build() -> ModuleType:
    """Compiles what has changed, and loads it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    sources = [ROOT / "csrc" / "bindings.cpp", ROOT / "csrc" / "program.cpp", ROOT / "csrc/tests/sim/cudasim.cpp"]
    sources += [unit_of(kernel) for kernel in sorted((ROOT / "csrc" / "cuda").glob("*.cu")) if kernel.stem != "support"]
    os.environ["PATH"] = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # ninja comes with the environment
    )
    return cpp_extension.load(
        "sgl_fast_simulated", [str(s) for s in sources], extra_cflags=FLAGS, build_directory=str(FOLDER)
    )


def unit_of(kernel: Path) -> Path:
    """A C++ source that is the launchers' and their kernels'."""
    unit = FOLDER / f"{kernel.stem}.cpp"
    text = f'#include "../../csrc/tests/sim/cudasim.h"\n#include "../../csrc/cuda/{kernel.name}"\n'
    if not unit.exists() or unit.read_text(encoding="utf-8") != text:
        unit.write_text(text, encoding="utf-8")
    return unit
