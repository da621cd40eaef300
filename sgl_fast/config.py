"""The settings of a search: published values per space, and the algorithm presets. No torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

ALGORITHMS: dict[str, dict[str, Any]] = {
    "best": {"order": 2, "method": "frozen", "explicit_pseudo_label_grad": True},
    "paper": {"order": 2, "method": "finite_difference", "explicit_pseudo_label_grad": False},
}
# What each space's own authors published; the paper of SGL keeps the rest of section 4.2.
PUBLISHED: dict[str, dict[str, Any]] = {
    "darts": {"lr_min": 0.001},
    "darts_minus": {"lr_min": 0.001},
    "p_darts": {"epochs": 25, "arch_lr": 6e-4, "arch_clip": 5.0, "arch_start": 10},
    "pc_darts": {"lr": 0.1, "arch_lr": 6e-4, "arch_start": 15},
    "pc_darts_imagenet": {"lr": 0.5, "arch_lr": 6e-3, "arch_clip": 5.0, "arch_start": 35, "warmup_epochs": 5},
}


@dataclass(frozen=True)
class Config:
    """Settings of `Search`; the defaults are section 4.2's.

    order, method, r, explicit_pseudo_label_grad, lam, human_labels, teacher   as in `implicit.Options`
    lr, lr_min       of W and V, cosine over the epochs; linear over the first `warmup_epochs`
    arch_start       epoch at which the architecture starts to move
    clip, arch_clip  largest gradient norm of a learner's weights and architecture; 0 for none
    steps_per_epoch  turns the step counter into epochs
    chunk            at most so many virtual learners at a time; None for all
    """

    learners: int = 2
    lam: float = 1.0
    order: int = 2
    method: str = "frozen"
    r: float = 1e-2
    explicit_pseudo_label_grad: bool = True
    human_labels: bool = True
    teacher: str = "preliminary"
    epochs: int = 50
    steps_per_epoch: int = 500
    lr: float = 0.025
    lr_min: float = 0.0
    warmup_epochs: int = 0
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float = 5.0
    arch_lr: float = 3e-4
    arch_weight_decay: float = 1e-3
    arch_beta1: float = 0.5
    arch_beta2: float = 0.999
    arch_clip: float = 0.0
    arch_start: int = 0
    skip_dropout: float = 0.0
    seed: int = 0
    chunk: int | None = None

    def __post_init__(self) -> None:
        for name in ("learners", "epochs", "steps_per_epoch"):
            self._need(name, getattr(self, name) >= 1, "of at least 1")
        for name in (
            "lam",
            "lr_min",
            "momentum",
            "weight_decay",
            "clip",
            "arch_weight_decay",
            "arch_clip",
            "arch_start",
        ):
            self._need(name, 0 <= getattr(self, name) < math.inf, "of at least 0")
        for name in ("lr", "arch_lr", "r"):
            self._need(name, 0 < getattr(self, name) < math.inf, "above 0")
        self._need("skip_dropout", 0 <= self.skip_dropout < 1, "from 0 to below 1")

    @classmethod
    def preset(cls, space: str, algorithm: str = "best", **changes: Any) -> Config:
        """The published settings of a space with an algorithm, and what the caller changes."""
        if algorithm not in ALGORITHMS:
            raise ValueError(f"unknown algorithm {algorithm!r}; the algorithms are {', '.join(ALGORITHMS)}")
        if space not in PUBLISHED:
            raise ValueError(f"unknown space {space!r}; the spaces are {', '.join(PUBLISHED)}")
        return replace(cls(**PUBLISHED[space], **ALGORITHMS[algorithm]), **changes)

    def lr_at(self, epoch: int) -> float:
        """Learning rate of an epoch, in closed form."""
        if epoch < self.warmup_epochs:
            return self.lr * (epoch + 1) / self.warmup_epochs
        wave = (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        return self.lr_min + (self.lr - self.lr_min) * wave

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def _need(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"need {name} a number {what}; got {getattr(self, name)!r}")
