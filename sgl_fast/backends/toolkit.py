"""The CUDA toolkit of this machine: what setup.py builds with, and what the doctor names. Knows no torch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

# Of each generation of GPUs, those that its code may be made for: the first that an nvcc knows runs on the later ones.
GENERATIONS = ("7.0", "7.5"), ("8.0",), ("9.0",)


def nvcc() -> str | None:
    """The compiler of CUDA_HOME, of the usual place, or of PATH."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    found = [shutil.which("nvcc", path=os.path.join(home, "bin")) for home in homes if home]
    return next(filter(None, [*found, shutil.which("nvcc")]), None)


def why_not_build(cuda: str | None) -> str | None:
    """None if there is an nvcc for a torch of that CUDA version (None: a torch without CUDA), else what is missing."""
    if cuda is None:
        return "this torch is built without CUDA"
    compiler = nvcc()
    if compiler is None:
        return f"there is no nvcc in CUDA_HOME, /usr/local/cuda or PATH; torch's CUDA is {cuda}"
    version = version_of(compiler)
    if version.partition(".")[0] != cuda.partition(".")[0]:
        return f"{compiler} is of CUDA {version}, and torch's CUDA is {cuda}"
    return None


def version_of(compiler: str) -> str:
    found = re.search(r"release (\d+\.\d+)", _said(compiler, "--version"))
    return found[1] if found else "unknown"


def architectures(compiler: str) -> str:
    """The GPUs to build for, as TORCH_CUDA_ARCH_LIST; the last with PTX, which GPUs to come compile themselves."""
    known = _said(compiler, "--list-gpu-arch").split()
    firsts = [[a for a in some if f"compute_{a.replace('.', '')}" in known][:1] for some in GENERATIONS]
    return ";".join(sum(firsts, [])) + "+PTX"


def _said(compiler: str, option: str) -> str:
    """What the compiler answers; nothing if it does not run."""
    try:
        return subprocess.run([compiler, option], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
