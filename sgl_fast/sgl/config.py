"""The settings of a search. No torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..relaxations import NAMES as RELAXATIONS
from ..setting import SettingError, check, check_among, described, setting
from .methods import METHODS, radius_of
from .presets import ALGORITHMS, default_settings, numbers

GROUP, PSEUDO, HYPER = "the group", "pseudo-labels", "hypergradient"
EPOCHS, WEIGHTS, ARCH, NUMBERS = "epochs", "weights", "architecture", "numbers and memory"


@described
@dataclass(frozen=True)
class Config:
    """Settings of `Search`; the defaults are those that section 4.2 of the paper prints, else the space's authors'.

    SettingError, a ValueError, names the setting whose value is out of range or does not fit another.

    >>> Config(learners=3, lam=0.5).total_epochs
    50
    >>> Config.preset("pc_darts", "released").order
    1
    >>> Config(lam=-1)
    Traceback (most recent call last):
    sgl_fast.setting.SettingError: need lam a number of at least 0; got -1
    """

    learners: int = setting(
        2, "K of them search together; 1 is differentiable search without pseudo-labels", GROUP, least=1
    )
    schedule: str = setting(
        "joint",
        "joint: Algorithm 1; released: A, V, W as in the released code; separate: eq (13) for --epochs epochs, then "
        "eq (14) for as many",
        GROUP,
        choices=("joint", "released", "separate"),
    )
    lam: float = setting(1.0, "weight of the pseudo-labels' loss in stage 2, eq (5)", PSEUDO, least=0)
    order: int = setting(
        2,
        "1: the architecture descends its validation loss at W' alone; 2: with the implicit terms of eqs (6)-(11)",
        HYPER,
        choices=(1, 2),
    )
    method: str = setting(
        "frozen",
        "of the second derivatives: finite_difference (eq 8); frozen, the same with the activation pattern of the base "
        "pass replayed; exact, by double backward (reference backend)",
        HYPER,
        choices=tuple(METHODS),
    )
    r: float | None = setting(
        None,
        "radius of the finite difference, eps = r / ||v||; by itself 0.01 of finite_difference, 0.001 of frozen, 0.1 "
        "where perturbed passes have less than float32",
        HYPER,
        above=0,
    )
    explicit_pseudo_label_grad: bool = setting(True, "adds what reaches A through the pseudo-labels themselves", HYPER)
    human_labels: bool = setting(True, "False: stage 2 learns from pseudo-labels alone, eq (15)", PSEUDO)
    teacher: str = setting(
        "preliminary",
        "whose pseudo-labels: preliminary, the V' of stage 1; self, the W, without a stage 1, eq (12); frozen, weights "
        "that stay as they are, eq (14)",
        PSEUDO,
        choices=("preliminary", "self", "frozen"),
    )
    epochs: int = setting(
        50, "of the search; of each stage in P-DARTS; of both halves of schedule separate", EPOCHS, least=1
    )
    pretrain_epochs: int = setting(
        0,
        "first of the epochs, in which only V learns; none in schedule separate, where V is done before",
        EPOCHS,
        least=0,
    )
    steps_per_epoch: int = setting(500, "turns the step counter into epochs", EPOCHS, least=1, derived=True)
    lr: float = setting(0.025, "learning rate of W and V in the first epoch, cosine over the epochs", WEIGHTS, above=0)
    lr_min: float = setting(0.0, "learning rate that the cosine ends at", WEIGHTS, least=0)
    warmup_epochs: int = setting(0, "first epochs, in which W's and V's learning rate rises linearly", EPOCHS, least=0)
    momentum: float = setting(0.9, "of W's and V's SGD", WEIGHTS, least=0)
    weight_decay: float = setting(3e-4, "of W's and V's SGD", WEIGHTS, least=0)
    clip: float = setting(5.0, "largest gradient norm of a learner's weights; 0 for none", WEIGHTS, least=0)
    relaxation: str = setting(
        "softmax",
        "how architectures become weights of operations: softmax, DARTS and its kin; or another method's",
        ARCH,
        choices=RELAXATIONS,
    )
    arch_lr: float = setting(3e-4, "learning rate of the architecture's Adam", ARCH, above=0)
    arch_weight_decay: float = setting(1e-3, "of the architecture's Adam", ARCH, least=0)
    arch_beta1: float = setting(0.5, "of the architecture's Adam", ARCH, least=0, below=1)
    arch_beta2: float = setting(0.999, "of the architecture's Adam", ARCH, least=0, below=1)
    arch_clip: float = setting(0.0, "largest gradient norm of a learner's architecture; 0 for none", ARCH, least=0)
    arch_start: int = setting(0, "epoch at which the architecture starts to move", EPOCHS, least=0)
    skip_dropout: float = setting(0.0, "probability to drop a skip's value (P-DARTS)", WEIGHTS, least=0, below=1)
    seed: int = setting(0, "of everything that is drawn at random", NUMBERS, least=0)
    chunk: int | None = setting(
        None, "at most so many virtual learners at a time, the same numbers in less memory; none: all", NUMBERS, least=1
    )
    precision: str = setting(
        "float32",
        "float16 (cuda, triton), bfloat16 (triton): of what passes keep for their backward, arithmetic stays float32; "
        "tf32 (triton): of the operands of products",
        NUMBERS,
        choices=("float32", "tf32", "float16", "bfloat16"),
    )
    frozen_precision: str = setting(
        "float32",
        "of the perturbed passes of method frozen: float32, or same as --precision; plain differences are float32",
        NUMBERS,
        choices=("float32", "same"),
    )

    def __post_init__(self) -> None:
        check(self)
        if self.precision != "float32" and METHODS[self.method].reference_only and self.order == 2:
            raise SettingError("precision", f"float32 for method {self.method}", self.precision)
        if self.frozen_precision == "same" and not METHODS[self.method].replays:
            raise SettingError("method", "frozen for frozen_precision same", self.method)
        if not self.human_labels and self.learners < 2:
            raise SettingError("learners", "a number of at least 2 where human labels are left out", self.learners)
        if not self.human_labels and not self.lam:
            raise SettingError("lam", "a number above 0 where human labels are left out", self.lam)
        if self.schedule == "separate" and self.pretrain_epochs:
            raise SettingError("pretrain_epochs", "0 for schedule separate", self.pretrain_epochs)
        if self.pretrain_epochs >= self.epochs:
            raise SettingError("pretrain_epochs", f"a number below the {self.epochs} epochs", self.pretrain_epochs)

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


CHOICES: dict[str, tuple[Any, ...]] = {f.name: c for f in fields(Config) if (c := f.metadata["choices"])}


def check_choice(name: str, value: Any) -> None:
    """SettingError unless the setting of that name may have the value."""
    check_among(name, value, CHOICES[name])
