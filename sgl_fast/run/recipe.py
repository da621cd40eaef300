"""How a network is trained from scratch: sizes and hyperparameters, with the published ones as presets. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..setting import SettingError, check, check_limits, described, setting

SCHEDULES = ("cosine", "linear", "exponential")
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
NETWORK, TRAINING, IMAGES, SPEED = "network", "training", "images", "speed"


@described
@dataclass(frozen=True)
class Recipe:
    """The defaults are DARTS's for CIFAR, which SGL takes over."""

    channels: int = setting(36, "channels of the first cells", NETWORK, least=1)
    layers: int = setting(20, "cells", NETWORK, least=1)
    epochs: int = setting(600, "passes over the training and validation images", TRAINING, least=1)
    batch_size: int = setting(96, "images a step, of all processes", TRAINING, least=2)  # norms need two
    lr: float = setting(0.025, "learning rate of the first epoch", TRAINING, above=0)
    schedule: str = setting(
        "cosine",
        "of the learning rate: cosine to 0; linear, its slope smaller in the last five epochs; exponential, x 0.97 an "
        "epoch",
        TRAINING,
        choices=SCHEDULES,
    )
    warmup_epochs: int = setting(0, "first epochs, in which the learning rate grows linearly", TRAINING, least=0)
    momentum: float = setting(0.9, "of SGD", TRAINING, least=0, below=1)
    weight_decay: float = setting(3e-4, "L2 penalty", TRAINING, least=0)
    clip: float = setting(5.0, "largest norm of the gradient", TRAINING, above=0)
    label_smoothing: float = setting(
        0.0, "share of a label's probability that all classes share, in training", TRAINING, least=0, below=1
    )
    ema: float = setting(
        0.0, "decay of a moving average of the weights, tested beside them; 0 for none", TRAINING, least=0, below=1
    )
    cutout: int = setting(16, "side in pixels of the square cut out of each image, 0 for none", IMAGES, least=0)
    color_jitter: float = setting(
        0.0, "strength of random brightness, contrast and saturation; hue has half of it", IMAGES, least=0, below=1
    )
    drop_path: float = setting(
        0.2, "probability to drop an op's output, reached linearly over the epochs", TRAINING, least=0, below=1
    )
    auxiliary_weight: float = setting(0.4, "weight of the auxiliary head's loss, 0 for no head", TRAINING, least=0)
    auxiliary_second_bn: bool = setting(True, "the auxiliary head has two batch norms, not one", NETWORK)
    imagenet: bool = setting(False, "the stem for images of 224 pixels", NETWORK)
    precision: str = setting(
        "float32", "of the products of matrices: automatic mixed precision", SPEED, choices=PRECISIONS
    )
    channels_last: bool = setting(False, "channels innermost in memory", SPEED)
    compile: bool = setting(False, "by torch.compile", SPEED)
    seed: int = setting(0, "of the initialisation and of the batches", TRAINING, least=0)
    limit: int | None = setting(
        None, "use only the first so many training and so many validation images", IMAGES, least=1
    )
    split_seed: int | None = setting(
        None,
        "of the split of a folder's images into those to train and to test on; none: that of the search where "
        "--genotype is its run, else --seed",
        IMAGES,
        least=0,
    )
    held_out: int = setting(
        0, "images, drawn from those to train on, that are tested in place of the test set", IMAGES, least=0
    )

    def __post_init__(self) -> None:
        check(self)
        check_limits(self.as_dict())
        if self.imagenet and self.channels % 2:
            raise SettingError("channels", "a number that is even, for the ImageNet stem", self.channels)
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise SettingError("warmup_epochs", f"a number below the {self.epochs} epochs", self.warmup_epochs)

    @property
    def splits_by(self) -> int:
        """The seed of the split of the images."""
        return self.seed if self.split_seed is None else self.split_seed

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


_IMAGENET: dict[str, Any] = {
    "imagenet": True,
    "channels": 48,
    "layers": 14,
    "epochs": 250,
    "weight_decay": 3e-5,
    "label_smoothing": 0.1,
    "cutout": 0,
    "color_jitter": 0.4,
    "drop_path": 0.0,
    "auxiliary_second_bn": False,
}
_LARGE_BATCH = {"batch_size": 1024, "lr": 0.5, "schedule": "linear", "warmup_epochs": 5}
# What differs from the defaults. Sources: DARTS (arXiv 1806.09055), appendix; P-DARTS (1904.12760) and PC-DARTS
# (1907.05737), section 4; SGL, section 4.2, whose recipes are those of DARTS on CIFAR and of PC-DARTS on ImageNet.
RECIPES: dict[str, dict[str, Any]] = {
    "darts": {},
    "p_darts": {"batch_size": 128, "drop_path": 0.3},
    "pc_darts": {"drop_path": 0.3},
    "darts_imagenet": {**_IMAGENET, "batch_size": 128, "lr": 0.1, "schedule": "exponential"},
    "p_darts_imagenet": {**_IMAGENET, **_LARGE_BATCH, "auxiliary_second_bn": True},
    "pc_darts_imagenet": {**_IMAGENET, **_LARGE_BATCH},
}
# What a scale changes of a recipe.
SCALES: dict[str, dict[str, Any]] = {
    "tiny": {
        "channels": 8,
        "layers": 5,
        "epochs": 10,
        "batch_size": 64,
        "lr": 0.025,
        "warmup_epochs": 0,
        "cutout": 0,
        "drop_path": 0.0,
    },
    "paper": {},
}


def recipe_name(imagenet: bool) -> str:
    """SGL's: DARTS's on CIFAR, PC-DARTS's for ImageNet's form."""
    return "pc_darts_imagenet" if imagenet else "darts"


def preset(name: str, scale: str = "paper", **changes: Any) -> Recipe:
    """A recipe of `RECIPES`, at a scale of `SCALES`, with changes above both."""
    return Recipe(**{**RECIPES[name], **SCALES[scale], **changes})
