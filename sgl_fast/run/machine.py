"""The machine as a bug report needs it: a line each of versions, processor, memory, disk, GPUs, data sets, caches."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .. import __version__
from ..backends import device_code
from ..backends.choice import compiled, why_not
from ..data.cifar_forms import FORMS
from ..data.locate import cifar_path, data_root, fashion_mnist_folder, imagenet_folder
from ..files import user_path

PACKAGES = ("torchvision", "triton", "numpy", "matplotlib")
VARIABLES = ("SGL_FAST_", "OMP_", "GOMP_", "MKL_", "CUDA_", "TRITON_", "PYTORCH_", "TORCH_")
GIB = 2**30


def facts() -> Iterator[tuple[str, str]]:
    """Name and line, the most asked for first."""
    yield "sgl_fast", f"{__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield "torch", _torch()
    yield "CPU", _processor()
    yield "memory", _memory()
    yield "disk", _disk()
    yield "GPU", gpus()
    yield "CUDA code", device_code.summary()
    yield "caches", _caches()
    yield "data", _data()
    yield "variables", _variables()


def gpus() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none that torch can use"
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return "; ".join(f"{p.name}, sm_{p.major}{p.minor}, {p.total_memory / GIB:.0f} GiB" for p in found)


def cpu_model() -> str:
    return _entry("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def _torch() -> str:
    import torch

    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    return ", ".join([f"{torch.__version__} {cuda}", *map(_package, PACKAGES)])


def _package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


def _processor() -> str:
    import torch

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    instructions = f"{compiled().isa()} instructions, " if why_not("cpu") is None else ""
    return f"{cpu_model()}, {allowed} of {os.cpu_count()} cores, {instructions}{torch.get_num_threads()} threads"


def _memory() -> str:
    free, total = (_entry("/proc/meminfo", name).partition(" ")[0] for name in ("MemAvailable", "MemTotal"))
    if not (free and total):
        return "unknown"
    return f"{int(free) / 2**20:.1f} of {int(total) / 2**20:.1f} GiB free"


def _entry(file: str, name: str) -> str:
    """The value of the first line of that name; nothing where there is none."""
    try:
        lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")


def _disk() -> str:
    return f"{shutil.disk_usage(Path.cwd()).free / GIB:.1f} GiB free in {Path.cwd()}"


def _caches() -> str:
    """Folders of compiled kernels."""
    triton = user_path(os.environ.get("TRITON_CACHE_DIR") or "~/.triton/cache")
    folders = device_code.cache_folder(), triton
    return "; ".join(f"{folder}{'' if folder.is_dir() else ' (not there yet)'}" for folder in folders)


def _data() -> str:
    """Where each data set that is there was found, and where the others were looked for."""
    root = data_root()
    places: dict[str, Path | None] = {}
    for name in FORMS:
        cifar = cifar_path(name, root)
        places[name] = cifar and cifar[1]
    places |= {"fashion_mnist": fashion_mnist_folder(root), "imagenet": imagenet_folder(root)}
    found = [f"{name} in {path}" for name, path in places.items() if path]
    missing = [name for name, path in places.items() if not path]
    return "; ".join(
        [*found, *([f"no {', '.join(missing)} in {root.absolute()}"] if missing else []), "embedded, always"]
    )


def _variables() -> str:
    """What is set of those that matter here."""
    return ", ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(VARIABLES)) or "none"
