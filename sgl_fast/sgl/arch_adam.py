"""The architectures of K learners and their Adam, whose count of steps is on the device as well."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..ops.flat_update import adam
from ..reference.flat import clipped
from ..spaces.arch import FIELDS, Arch
from .config import Config
from .state_check import own


class ArchAdam:
    """arch, Adam's moments (first, second) of its flat form (K, A), and steps, float64 of no dimension."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.moments = torch.zeros_like(arch.flat()), torch.zeros_like(arch.flat())
        self.steps = torch.zeros((), dtype=torch.float64, device=arch.alphas_normal.device)

    def moved(self, gradient: Arch, config: Config) -> ArchAdam:
        """After one step of Adam; this one stays as it is."""
        new = ArchAdam(self.arch)
        new.steps = self.steps + 1
        betas = config.arch_beta1, config.arch_beta2
        grad = clipped(gradient.flat(), config.arch_clip)
        flat, new.moments = adam(
            self.arch.flat(), grad, self.moments, new.steps, config.arch_lr, betas, config.arch_weight_decay
        )
        new.arch = self.arch.from_flat(flat)
        return new

    def tensors(self) -> list[Tensor]:
        return [*self.arch.tensors(), *self.moments, self.steps]

    def replaced(self, tensors: list[Tensor]) -> ArchAdam:
        """One with these tensors, in the order of `tensors`."""
        *arch, first, second, steps = tensors
        new = ArchAdam(self.arch.unflatten(arch))
        new.moments, new.steps = (first, second), steps
        return new

    def state_dict(self) -> dict[str, Any]:
        arch = {name: t for name in FIELDS if (t := getattr(self.arch, name)) is not None}
        return {"arch": arch, "moments": list(self.moments), "steps": int(self.steps)}

    @classmethod
    def restored(cls, state: dict[str, Any], device: torch.device) -> ArchAdam:
        architect = cls(Arch(**{name: own(t, device) for name, t in state["arch"].items()}))
        first, second = (own(t, device) for t in state["moments"])
        architect.moments = first, second
        architect.steps.fill_(state["steps"])
        return architect
