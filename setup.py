"""Builds the compiled extension sgl_fast._C, for the CPU and for CUDA: it opens the CUDA driver at run time, if there is one.

SGL_FAST_NO_EXT=1 leaves it out. Metadata lives in pyproject.toml.
"""

from __future__ import annotations

import os
import sys
from glob import glob
from pathlib import Path
from typing import Any

from setuptools import setup

# Instruction sets are chosen at run time: no -march here, and no -ffast-math, which would undo NaN checks.
# -g0 undoes the -g of Python's own flags, whose debug information is 46 of 48 MB.
FLAGS = ["-O3", "-g0", "-fvisibility=hidden", "-ffp-contract=fast", "-Wno-psabi"]
# torch's headers run parallel_for through OpenMP. It is compiled in but not linked, so that the calls bind to the
# runtime that torch brings, and there is one thread pool.
OPENMP = ["-fopenmp"] if sys.platform == "linux" else []


def compiled() -> dict[str, Any]:
    """The arguments of `setup` that build the extension."""
    if os.environ.get("SGL_FAST_NO_EXT") == "1":
        return {}
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # ninja of this environment
    try:
        from torch.utils import cpp_extension
    except ImportError:
        sys.exit(
            "need torch to build the extension: install it and pass --no-build-isolation to pip, "
            "or set SGL_FAST_NO_EXT=1 for pure Python"
        )
    extension = cpp_extension.CppExtension(
        "sgl_fast._C",
        sources=["csrc/bindings.cpp", "csrc/program.cpp", *sorted(glob("csrc/cpu/*.cpp")), *sorted(glob("csrc/cuda/*.cpp"))],
        depends=sorted(glob("csrc/**/*.h", recursive=True)),
        extra_compile_args={"cxx": FLAGS + OPENMP},
        libraries=["dl"] if sys.platform == "linux" else [],
    )
    return {"ext_modules": [extension], "cmdclass": {"build_ext": cpp_extension.BuildExtension}}


setup(**compiled())
