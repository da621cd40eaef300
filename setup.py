"""Builds the compiled extension sgl_fast._C: for the CPU, and for CUDA where there is an nvcc of torch's CUDA version.

SGL_FAST_NO_EXT=1 leaves it out. SGL_FAST_CUDA=1 fails the build where CUDA cannot be had, 0 leaves CUDA out.
TORCH_CUDA_ARCH_LIST overrides the GPUs. Metadata lives in pyproject.toml.
"""

from __future__ import annotations

import os
import sys
from glob import glob
from pathlib import Path
from typing import Any

from setuptools import setup

sys.path.insert(0, str(Path(__file__).parent))
from sgl_fast.backends import toolkit  # noqa: E402  (a build has no path to the sources)

# Instruction sets are chosen at run time: no -march here, and no -ffast-math, which would undo NaN checks.
# -g0 undoes the -g of Python's own flags, whose debug information is 46 of 48 MB.
FLAGS = ["-O3", "-g0", "-fvisibility=hidden", "-ffp-contract=fast", "-Wno-psabi"]
# torch's headers run parallel_for through OpenMP. It is compiled in but not linked, so that the calls bind to the
# runtime that torch brings, and there is one thread pool.
OPENMP = ["-fopenmp"] if sys.platform == "linux" else []
NVCC_FLAGS = ["-O3", "-std=c++17", "--threads", "2", "-Xcompiler", "-fvisibility=hidden"]


def cuda_compiler() -> str | None:
    """The nvcc to build with, or None, which is said; an error where SGL_FAST_CUDA asks for CUDA."""
    import torch

    asked = os.environ.get("SGL_FAST_CUDA", "")
    if asked not in ("", "0", "1"):
        sys.exit(f"need SGL_FAST_CUDA to be 0, 1 or unset; got {asked}")
    reason = "SGL_FAST_CUDA is 0" if asked == "0" else toolkit.why_not_build(torch.version.cuda)
    if reason is None:
        return toolkit.nvcc()
    if asked == "1":
        sys.exit(f"SGL_FAST_CUDA is 1, and the CUDA backend cannot be built: {reason}")
    print(f"sgl_fast: without the CUDA backend: {reason}", file=sys.stderr)
    return None


def compiled() -> dict[str, Any]:
    """The arguments of `setup` that build the extension."""
    if os.environ.get("SGL_FAST_NO_EXT") == "1":
        return {}
    try:
        compiler = cuda_compiler()
    except ImportError:
        sys.exit(
            "need torch to build the extension: install it and pass --no-build-isolation to pip, "
            "or set SGL_FAST_NO_EXT=1 for pure Python"
        )
    sources = ["csrc/bindings.cpp", "csrc/program.cpp", *sorted(glob("csrc/cpu/*.cpp"))]
    flags = {"cxx": FLAGS + OPENMP}
    if compiler:
        os.environ["CUDA_HOME"] = str(Path(compiler).resolve().parent.parent)  # torch looks for it at import
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", toolkit.architectures(compiler))
        sources += sorted(glob("csrc/cuda/*.cu"))
        flags = {"cxx": [*FLAGS, *OPENMP, "-DSGL_FAST_CUDA"], "nvcc": NVCC_FLAGS}
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # ninja of this environment
    from torch.utils import cpp_extension

    extension = (cpp_extension.CUDAExtension if compiler else cpp_extension.CppExtension)(
        "sgl_fast._C",
        sources=sources,
        depends=sorted(glob("csrc/**/*.h", recursive=True) + glob("csrc/**/*.cuh", recursive=True)),
        extra_compile_args=flags,
    )
    return {"ext_modules": [extension], "cmdclass": {"build_ext": cpp_extension.BuildExtension}}


setup(**compiled())
