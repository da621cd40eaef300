"""What the CUDA backend misses on this machine, and what to do about it."""

from __future__ import annotations

from types import ModuleType

from .toolkit import why_not_build

BUILD = "pip install --no-build-isolation . in the sources,"
VOLTA = "torch 2.10 with CUDA 12.8 (pip install torch==2.10.0) and the nvcc of CUDA 12.8"


def why_not_cuda(extension: ModuleType) -> str | None:
    """None if the CUDA kernels can run on torch's current device, else the reason in one line, with the remedy."""
    import torch

    version, cuda = torch.__version__, torch.version.cuda
    if cuda is None:
        return f"backend 'cuda' needs a torch with CUDA; torch {version} has none: {_remedy('pip install torch')}"
    if not hasattr(extension, "cuda"):
        toolkit = f"install the CUDA {cuda} toolkit" if why_not_build(cuda) else "there is an nvcc for it now"
        return f"backend 'cuda' is not in this build: {why_not_build(cuda) or 'it was left out'}: {_remedy(toolkit)}"
    if not torch.cuda.is_available():
        return "backend 'cuda' needs an NVIDIA GPU and its driver; torch finds none (does nvidia-smi?)"
    torch.cuda.init()
    reason = extension.cuda.why_not()
    return _unfit(reason, torch.cuda.get_device_name(), torch.cuda.get_device_capability()) if reason else None


def _unfit(reason: str, name: str, capability: tuple[int, int]) -> str:
    """reason: the driver's; of a build that does not fit the GPU of this name."""
    sm = f"{capability[0]}.{capability[1]}"
    remedy = f"{BUILD} with TORCH_CUDA_ARCH_LIST={sm} and SGL_FAST_CUDA=1"
    if capability == (7, 0):
        remedy = f"{VOLTA}, then {remedy}"
    return f"backend 'cuda' is not built for this {name} of compute capability {sm} ({reason}): {remedy}"


def _remedy(first: str) -> str:
    return f"{first} (for a V100: {VOLTA}), then {BUILD} with SGL_FAST_CUDA=1"
