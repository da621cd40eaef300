"""How a run of the benchmarks was asked for, and what it runs on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from sgl_fast.backends.choice import choose, compiled, why_not

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


def cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
