"""How a network is trained from scratch: sizes and hyperparameters, with the published ones as a preset. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..setting import SettingError, check, check_limits, described, setting

SCALES: dict[str, dict[str, Any]] = {
    "tiny": {"channels": 8, "layers": 5, "epochs": 10, "batch_size": 64, "cutout": 0, "drop_path": 0.0},
    "paper": {"channels": 36, "layers": 20, "epochs": 600, "batch_size": 96, "cutout": 16, "drop_path": 0.2},
}


NETWORK, TRAINING, IMAGES = "network", "training", "images"


@described
@dataclass(frozen=True)
class Recipe:
    """The defaults are DARTS's for CIFAR, which SGL takes over; PC-DARTS and P-DARTS use drop_path 0.3."""

    channels: int = setting(36, "channels of the first cells", NETWORK, least=1)
    layers: int = setting(20, "cells", NETWORK, least=1)
    epochs: int = setting(600, "passes over the training and validation images", TRAINING, least=1)
    batch_size: int = setting(96, "images a step", TRAINING, least=2)  # norms need two
    lr: float = setting(0.025, "learning rate of the first epoch, cosine to 0", TRAINING, above=0)
    weight_decay: float = setting(3e-4, "L2 penalty", TRAINING, least=0)
    cutout: int = setting(16, "side in pixels of the square cut out of each image, 0 for none", IMAGES, least=0)
    drop_path: float = setting(
        0.2, "probability to drop an op's output, reached linearly over the epochs", TRAINING, least=0, below=1
    )
    auxiliary_weight: float = setting(0.4, "weight of the auxiliary head's loss, 0 for no head", TRAINING, least=0)
    imagenet: bool = setting(False, "the stem for images of 224 pixels", NETWORK)
    seed: int = setting(0, "of the initialisation and of the batches", TRAINING, least=0)
    limit: int | None = setting(
        None, "use only the first so many training and so many validation images", IMAGES, least=1
    )

    def __post_init__(self) -> None:
        check(self)
        check_limits(self.as_dict())
        if self.imagenet and self.channels % 2:
            raise SettingError("channels", "a number that is even, for the ImageNet stem", self.channels)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
