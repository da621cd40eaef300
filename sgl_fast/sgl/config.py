"""The settings of a search. No torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..integers import make_plain
from .methods import METHODS, radius_of
from .presets import ALGORITHMS, default_settings, numbers

CHOICES: dict[str, tuple[Any, ...]] = {
    "method": tuple(METHODS),
    "teacher": ("preliminary", "self", "frozen"),
    "schedule": ("joint", "released", "separate"),
    "order": (1, 2),
    "precision": ("float32", "tf32", "float16", "bfloat16"),
    "frozen_precision": ("float32", "same"),
}


def check_choice(name: str, value: Any) -> None:
    """ValueError unless the setting of that name may have the value."""
    if value not in CHOICES[name]:
        raise ValueError(f"need {name} one of {', '.join(map(str, CHOICES[name]))}; got {value!r}")


@dataclass(frozen=True)
class Config:
    """Settings of `Search`; the defaults are those that section 4.2 of the paper prints, else the space's authors'.

    learners         K of them search together; 1 is differentiable search without pseudo-labels
    schedule         "joint": Algorithm 1; "released": A, V, W as in the released code; "separate": eq (13) for `epochs`
                     epochs, then eq (14) for as many
    lam              weight of the pseudo-labels' loss in stage 2, eq (5)
    order            1: the architecture descends its validation loss at W' alone; 2: with the implicit terms of eqs
                     (6)-(11)
    method           of the second derivatives: "finite_difference" (eq 8), "frozen" (the same with the activation
                     pattern of the base pass replayed), "exact" (double backward, reference backend)
    r                radius of the finite difference, eps = r / ||v||; None: 0.1 where perturbed passes have less than
                     float32, else 0.01 of method "finite_difference", 0.001 of "frozen"
    explicit_pseudo_label_grad   adds what reaches A through the pseudo-labels themselves
    human_labels     False: stage 2 learns from pseudo-labels alone, eq (15)
    teacher          whose pseudo-labels: "preliminary", the V' of stage 1; "self", the W, without a stage 1, eq (12);
                     "frozen", weights that stay as they are, eq (14)
    epochs           of the search; "separate" has twice as many
    pretrain_epochs  epochs, counted in `epochs`, in which only V learns; none in "separate", where V is done before
    steps_per_epoch  turns the step counter into epochs
    lr, lr_min       of W and V, cosine over the epochs; linear over the first `warmup_epochs`
    momentum, weight_decay       of W's and V's SGD
    clip, arch_clip  largest gradient norm of a learner's weights and architecture; 0 for none
    arch_lr, arch_weight_decay, arch_beta1, arch_beta2   of the architecture's Adam
    arch_start       epoch at which the architecture starts to move
    skip_dropout     probability that a skip's value is dropped (P-DARTS)
    seed             of everything that is drawn at random
    chunk            at most so many virtual learners at a time; None for all
    precision        float16, bfloat16: of what passes keep for their backward, arithmetic stays float32; tf32: of the
                     operands of products; which backends: `precision.PRECISIONS`
    frozen_precision of the perturbed passes of method "frozen": float32, or "same" as the others'; plain finite
                     differences are float32

    ValueError that names the setting where a value is out of range or does not fit another.

    >>> Config(learners=3, lam=0.5).total_epochs
    50
    >>> Config.preset("pc_darts", "released").order
    1
    >>> Config(lam=-1)
    Traceback (most recent call last):
    ValueError: need lam a number of at least 0; got -1
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
        make_plain(self)
        for name in ("learners", "epochs", "steps_per_epoch"):
            self._need(name, getattr(self, name) >= 1, "of at least 1")
        decays = ("momentum", "weight_decay", "arch_weight_decay")
        for name in ("lam", "lr_min", "clip", "arch_clip", "arch_start", *decays):
            self._need(name, 0 <= getattr(self, name) < math.inf, "of at least 0")
        for name in ("lr", "arch_lr", *["r"] * (self.r is not None)):
            self._need(name, 0 < getattr(self, name) < math.inf, "above 0")
        for name in CHOICES:
            check_choice(name, getattr(self, name))
        if self.precision != "float32" and METHODS[self.method].reference_only and self.order == 2:
            raise ValueError(f"need precision float32 for method {self.method!r}; got {self.precision!r}")
        if self.frozen_precision == "same" and not METHODS[self.method].replays:
            raise ValueError(f"need method 'frozen' for frozen_precision 'same'; got {self.method!r}")
        if not self.human_labels and (self.learners < 2 or not self.lam):
            raise ValueError("need learners of at least 2 and lam above 0 where human labels are left out")
        self._need("pretrain_epochs", 0 <= self.pretrain_epochs < self.epochs, "from 0 to below epochs")
        if self.schedule == "separate" and self.pretrain_epochs:
            raise ValueError(f"need pretrain_epochs 0 for schedule 'separate'; got {self.pretrain_epochs}")
        self._need("skip_dropout", 0 <= self.skip_dropout < 1, "from 0 to below 1")

    @classmethod
    def preset(cls, space: str, algorithm: str = "best", settings: str | None = None, **changes: Any) -> Config:
        """An algorithm with the numbers that one source gives for a space, and what the caller changes.

        space      by name; algorithm: "best" (ours), "paper" (as printed) or "released" (as in the authors' code)
        settings   of `numbers`, whose batch_size is the caller's to keep; None: "released" for algorithm "released",
                   else "paper"
        changes    fields of Config
        """
        chosen = numbers(space, settings or default_settings(algorithm)) | ALGORITHMS[algorithm] | changes
        return cls(**{name: value for name, value in chosen.items() if name != "batch_size"})

    @property
    def perturbed_precision(self) -> str:
        """Of the passes of finite differences."""
        return self.precision if self.frozen_precision == "same" else "float32"

    @property
    def radius(self) -> float:
        """r, chosen where it is not given."""
        return self.r or radius_of(self.method, self.perturbed_precision)

    @property
    def total_epochs(self) -> int:
        """Of the whole search: twice `epochs` in schedule "separate"."""
        return 2 * self.epochs if self.schedule == "separate" else self.epochs

    def lr_at(self, epoch: int, epochs: int | None = None) -> float:
        """Learning rate of an epoch out of `epochs`, in closed form."""
        epochs = self.epochs if epochs is None else epochs
        if epoch < self.warmup_epochs:
            return self.lr * (epoch + 1) / self.warmup_epochs
        wave = (1 + math.cos(math.pi * epoch / epochs)) / 2
        return self.lr_min + (self.lr - self.lr_min) * wave

    def as_dict(self) -> dict[str, Any]:
        """Every field by name, as `Config(**fields)` takes them."""
        return asdict(self)

    def _need(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"need {name} a number {what}; got {getattr(self, name)!r}")
