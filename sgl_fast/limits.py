"""How large the sizes of a run may be, and what kinds its settings have. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}


def flag(name: str) -> str:
    """The option that sets it."""
    return f"--{name.replace('_', '-')}"


def check_limits(sizes: Mapping[str, Any]) -> None:
    """ValueError where one is larger than any run has it."""
    for name, most in LIMITS.items():
        if (size := sizes.get(name)) is not None and size > most:
            raise ValueError(f"{flag(name)}: need at most {most}; got {size}")


def check_kind(where: str, name: str, value: Any, kind: str) -> None:
    """ValueError unless the value is of that kind: str, int, float or bool, with "| None" or not."""
    plain, _, optional = kind.partition(" | ")
    if optional and value is None:
        return
    if not isinstance(value, TYPES[plain]) or (isinstance(value, bool) and plain != "bool"):
        raise ValueError(f"{where}: {name} needs a value of type {plain}; got {str(value)[:60]!r}")
