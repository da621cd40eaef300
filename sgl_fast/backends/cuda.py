"""What the CUDA backend misses on this machine, and what to do about it; its kernels, loaded for a device."""

from __future__ import annotations

from typing import Any


def why_not_cuda(extension: Any, device: Any = None) -> str | None:
    """None if the CUDA kernels can run on a GPU (None: the current one), else the reason and its remedy in a line."""
    import torch

    from . import device_code

    if torch.version.cuda is None:
        return f"backend 'cuda' needs a torch with CUDA; torch {torch.__version__} has none: pip install torch"
    if not torch.cuda.is_available():
        return "backend 'cuda' needs an NVIDIA GPU and its driver; torch finds none (does nvidia-smi?)"
    if reason := extension.cuda.why_no_driver():
        return f"backend 'cuda' needs NVIDIA's driver library: {reason}"
    capability = torch.cuda.get_device_capability(device)
    reason = device_code.why_not(10 * capability[0] + capability[1])
    if reason:
        name = f"{torch.cuda.get_device_name(device)} of compute capability {capability[0]}.{capability[1]}"
        return f"backend 'cuda' has no kernels for this {name}, and cannot compile them: {reason}"
    return None


def load(extension: Any, device: int) -> None:
    """Loads the kernels for a CUDA device, if they are not there yet. RuntimeError where they cannot be."""
    if not extension.cuda.loaded(device):
        import torch

        from . import device_code

        major, minor = torch.cuda.get_device_capability(device)
        with torch.cuda.device(device):
            extension.cuda.load(device, device_code.modules(10 * major + minor))
