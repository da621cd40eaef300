"""How a network is trained from scratch: sizes and hyperparameters, with the published ones as a preset. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..integers import make_plain
from ..limits import check_limits, flag

SCALES: dict[str, dict[str, Any]] = {
    "tiny": {"channels": 8, "layers": 5, "epochs": 10, "batch_size": 64, "cutout": 0, "drop_path": 0.0},
    "paper": {"channels": 36, "layers": 20, "epochs": 600, "batch_size": 96, "cutout": 16, "drop_path": 0.2},
}


@dataclass(frozen=True)
class Recipe:
    """The defaults are DARTS's for CIFAR, which SGL takes over; PC-DARTS and P-DARTS use drop_path 0.3.

    channels, layers   sizes of the network
    imagenet           its stem for 224 pixels
    lr                 of the first epoch, cosine to 0
    cutout             side in pixels, 0 for none
    drop_path          probability that it would reach after the last epoch, linear from 0
    auxiliary_weight   of the auxiliary head's loss, 0 for no head
    limit              use only so many images of the training and of the validation set
    """

    channels: int = 36
    layers: int = 20
    epochs: int = 600
    batch_size: int = 96
    lr: float = 0.025
    weight_decay: float = 3e-4
    cutout: int = 16
    drop_path: float = 0.2
    auxiliary_weight: float = 0.4
    imagenet: bool = False
    seed: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        check_limits(self.as_dict())
        for name, least in (("channels", 1), ("layers", 1), ("epochs", 1), ("batch_size", 2)):  # norms need two
            self._need(name, getattr(self, name) >= least, f"of at least {least}")
        for name in ("cutout", "seed", "weight_decay", "auxiliary_weight"):
            self._need(name, 0 <= getattr(self, name) < float("inf"), "of at least 0")
        self._need("lr", 0 < self.lr < float("inf"), "above 0")
        self._need("drop_path", 0 <= self.drop_path < 1, "from 0 to below 1")
        self._need("limit", self.limit is None or self.limit >= 1, "of at least 1")
        self._need("channels", not (self.imagenet and self.channels % 2), "that is even, for the ImageNet stem")

    def _need(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"{flag(name)}: need a number {what}; got {getattr(self, name)}")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
