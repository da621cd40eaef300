"""How large the sizes of a run may be. No torch."""

from __future__ import annotations

# Beyond any run, and small enough that what is too much for a machine is counted before it is allocated.
LIMITS = {
    "learners": 256,
    "channels": 4096,
    "layers": 200,
    "nodes": 16,
    "batch_size": 65536,
    "image_size": 4096,
    "epochs": 100_000,
    "pretrain_epochs": 100_000,
    "arch_start": 100_000,
    "warmup_epochs": 100_000,
    "seed": 2**63 - 1,
}


def flag(name: str) -> str:
    """The option that sets it."""
    return f"--{name.replace('_', '-')}"
