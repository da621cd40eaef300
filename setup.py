"""Builds the compiled extension sgl_fast._C. SGL_FAST_NO_EXT=1 leaves it out. Metadata lives in pyproject.toml."""

from __future__ import annotations

import os
import sys
from glob import glob
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
    try:
        from torch.utils.cpp_extension import BuildExtension, CppExtension
    except ImportError:
        sys.exit(
            "need torch to build the extension: install it and pass --no-build-isolation to pip, "
            "or set SGL_FAST_NO_EXT=1 for pure Python"
        )
    extension = CppExtension(
        "sgl_fast._C",
        sources=["csrc/bindings.cpp", *sorted(glob("csrc/cpu/*.cpp"))],
        depends=sorted(glob("csrc/cpu/*.h")),
        extra_compile_args=FLAGS + OPENMP,
    )
    return {"ext_modules": [extension], "cmdclass": {"build_ext": BuildExtension}}


setup(**compiled())
