"""How a run of the benchmarks was asked for, and what it runs on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from sgl_fast.backends.choice import choose, compiled, why_not
from sgl_fast.run.machine import cpu_model

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """short: tiny shapes, two pairs, no ratio fails. compiled: torch.compile as one more baseline."""

    short: bool = False
    compiled: bool = False

    def pick(self, full: T, short: T) -> T:
        return short if self.short else full

    @property
    def baselines(self) -> list[str]:
        return ["eager", "eager channels_last", *["torch.compile"] * self.compiled]


def short_asked() -> bool:
    """Whether the environment asks for the short mode. ValueError where it asks for something else."""
    value = os.environ.get("SGL_FAST_BENCH", "")
    if value not in ("", "short", "full"):
        raise ValueError(f"need SGL_FAST_BENCH short or full; got {value!r}")
    return value == "short"


def machine() -> dict[str, Any]:
    """CPU, cores, threads and versions that the timings depend on."""
    return {
        "cpu_model": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "backend": choose(),
        "isa": compiled().isa() if why_not("cpu") is None else "no",
    }
