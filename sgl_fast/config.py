"""The settings of a search: published values per space, and the algorithm presets. No torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

ALGORITHMS: dict[str, dict[str, Any]] = {
    "best": {"order": 2, "method": "frozen", "explicit_pseudo_label_grad": True},
    "paper": {"order": 2, "method": "finite_difference", "explicit_pseudo_label_grad": False},
    "released": {"schedule": "released", "order": 1, "explicit_pseudo_label_grad": False, "arch_clip": 5.0},
}
ABLATIONS: dict[str, dict[str, Any]] = {
    "no_stage_one": {"teacher": "self"},
    "separate": {"schedule": "separate"},
    "no_human_labels": {"human_labels": False},
}
CHOICES: dict[str, tuple[Any, ...]] = {
    "method": ("finite_difference", "frozen", "exact"),
    "teacher": ("preliminary", "self", "frozen"),
    "schedule": ("joint", "released", "separate"),
    "order": (1, 2),
    "precision": ("float32", "tf32", "float16", "bfloat16"),
    "frozen_precision": ("float32", "same"),
}
RADIUS, RADIUS_ROUNDED = 0.01, 0.1  # of finite differences; where what they difference is rounded to less than float32
# What each space's own authors published; the paper of SGL keeps the rest of section 4.2.
PUBLISHED: dict[str, dict[str, Any]] = {
    "darts": {"lr_min": 0.001},
    "darts_minus": {"lr_min": 0.001},
    "p_darts": {"epochs": 25, "arch_lr": 6e-4, "arch_clip": 5.0, "arch_start": 10},
    "pc_darts": {"lr": 0.1, "arch_lr": 6e-4, "arch_start": 15},
    "pc_darts_imagenet": {"lr": 0.5, "arch_lr": 6e-3, "arch_clip": 5.0, "arch_start": 35, "warmup_epochs": 5},
}
# Epochs of the released code: pre-training of V, then the joint ones; P-DARTS's are those of each stage.
RELEASED: dict[str, dict[str, Any]] = {
    "darts": {"epochs": 50, "pretrain_epochs": 5, "arch_start": 5},
    "darts_minus": {"epochs": 50, "pretrain_epochs": 5, "arch_start": 5},
    "p_darts": {"epochs": 25, "pretrain_epochs": 5, "arch_start": 15},
    "pc_darts": {"epochs": 60, "pretrain_epochs": 15, "arch_start": 30},
    "pc_darts_imagenet": {"epochs": 55, "pretrain_epochs": 10, "arch_start": 45},
}


def check_choice(name: str, value: Any) -> None:
    """ValueError unless the setting of that name may have the value."""
    if value not in CHOICES[name]:
        raise ValueError(f"need {name} one of {', '.join(map(str, CHOICES[name]))}; got {value!r}")


@dataclass(frozen=True)
class Config:
    """Settings of `Search`; the defaults are section 4.2's.

    schedule         "joint": Algorithm 1; "released": A, V, W as in the released code; "separate": eq (13) for `epochs`
                     epochs, then eq (14) for as many
    order, method, explicit_pseudo_label_grad, lam, human_labels, teacher   as in `implicit.Options`
    pretrain_epochs  epochs, counted in `epochs`, in which only V learns
    lr, lr_min       of W and V, cosine over the epochs; linear over the first `warmup_epochs`
    arch_start       epoch at which the architecture starts to move
    clip, arch_clip  largest gradient norm of a learner's weights and architecture; 0 for none
    steps_per_epoch  turns the step counter into epochs
    chunk            at most so many virtual learners at a time; None for all
    precision        float16, bfloat16: of what passes keep for their backward, arithmetic stays float32; tf32: of the
                     operands of products; which backends: `precision.PRECISIONS`
    frozen_precision of the perturbed passes of method "frozen": float32, or "same" as the others'; plain finite
                     differences are float32
    r                None: 0.1 where perturbed passes have less than float32, else 0.01
    """

    learners: int = 2
    schedule: str = "joint"
    lam: float = 1.0
    order: int = 2
    method: str = "frozen"
    r: float | None = None
    explicit_pseudo_label_grad: bool = True
    human_labels: bool = True
    teacher: str = "preliminary"
    epochs: int = 50
    pretrain_epochs: int = 0
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
    precision: str = "float32"
    frozen_precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("learners", "epochs", "steps_per_epoch"):
            self._need(name, getattr(self, name) >= 1, "of at least 1")
        decays = ("momentum", "weight_decay", "arch_weight_decay")
        for name in ("lam", "lr_min", "clip", "arch_clip", "arch_start", *decays):
            self._need(name, 0 <= getattr(self, name) < math.inf, "of at least 0")
        for name in ("lr", "arch_lr", *["r"] * (self.r is not None)):
            self._need(name, 0 < getattr(self, name) < math.inf, "above 0")
        for name in CHOICES:
            check_choice(name, getattr(self, name))
        if self.precision != "float32" and self.method == "exact" and self.order == 2:
            raise ValueError(f"need precision float32 for method 'exact'; got {self.precision!r}")
        if self.frozen_precision == "same" and self.method != "frozen":
            raise ValueError(f"need method 'frozen' for frozen_precision 'same'; got {self.method!r}")
        if not self.human_labels and (self.learners < 2 or not self.lam):
            raise ValueError("need learners of at least 2 and lam above 0 where human labels are left out")
        self._need("pretrain_epochs", 0 <= self.pretrain_epochs < self.epochs, "from 0 to below epochs")
        self._need("skip_dropout", 0 <= self.skip_dropout < 1, "from 0 to below 1")

    @classmethod
    def preset(cls, space: str, algorithm: str = "best", **changes: Any) -> Config:
        """The published settings of a space with an algorithm, and what the caller changes."""
        if algorithm not in ALGORITHMS:
            raise ValueError(f"unknown algorithm {algorithm!r}; the algorithms are {', '.join(ALGORITHMS)}")
        if space not in PUBLISHED:
            raise ValueError(f"unknown space {space!r}; the spaces are {', '.join(PUBLISHED)}")
        settings = {**PUBLISHED[space], **ALGORITHMS[algorithm]}
        if algorithm == "released":
            settings |= RELEASED[space]
        return cls(**{**settings, **changes})

    @property
    def perturbed_precision(self) -> str:
        """Of the passes of finite differences."""
        return self.precision if self.frozen_precision == "same" else "float32"

    @property
    def radius(self) -> float:
        """r, chosen where it is not given."""
        return self.r or (RADIUS if self.perturbed_precision == "float32" else RADIUS_ROUNDED)

    @property
    def total_epochs(self) -> int:
        return 2 * self.epochs if self.schedule == "separate" else self.epochs

    def lr_at(self, epoch: int, epochs: int | None = None) -> float:
        """Learning rate of an epoch out of `epochs`, in closed form."""
        epochs = self.epochs if epochs is None else epochs
        if epoch < self.warmup_epochs:
            return self.lr * (epoch + 1) / self.warmup_epochs
        wave = (1 + math.cos(math.pi * epoch / epochs)) / 2
        return self.lr_min + (self.lr - self.lr_min) * wave

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def _need(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"need {name} a number {what}; got {getattr(self, name)!r}")
