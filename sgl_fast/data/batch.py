"""What one search step consumes: labelled training and validation images, and images without labels."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

ROLES = ("train", "unlabeled", "val")


@dataclass
class Batch:
    """N images of each role, normalised; the N of the three roles may differ.

    x_train, x_val   [N, 3, H, W], shared by all learners, or [K, N, 3, H, W]; floating point
    y_train, y_val   [N] or [K, N], as their images; int64 class indices
    x_unlabeled      [N, 3, H, W], shared: a pseudo-label is of the image that the other learners learn from

    >>> images, labels = torch.rand(3, 4, 3, 8, 8), torch.randint(10, (2, 4))
    >>> batch = Batch(images[0], labels[0], images[1], images[2], labels[1])
    >>> batch.images("val").shape, batch.learners
    (torch.Size([4, 3, 8, 8]), None)
    """

    x_train: Tensor
    y_train: Tensor
    x_unlabeled: Tensor
    x_val: Tensor
    y_val: Tensor

    def __post_init__(self) -> None:
        for field in fields(self):
            if not isinstance(value := getattr(self, field.name), Tensor):
                raise ValueError(f"need {field.name} a tensor; got {type(value).__name__}")

    def images(self, role: str) -> Tensor:
        """The images of one role: "train", "unlabeled" or "val"."""
        return {"train": self.x_train, "unlabeled": self.x_unlabeled, "val": self.x_val}[role]

    @property
    def learners(self) -> int | None:
        """K where any role has images for each learner, None where all are shared."""
        return next((len(x) for x in (self.x_train, self.x_val) if x.ndim == 5), None)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Batch:
        """The same batch on another device, its images (never its labels) in another dtype."""
        return Batch(
            x_train=self.x_train.to(device=device, dtype=dtype),
            y_train=self.y_train.to(device=device),
            x_unlabeled=self.x_unlabeled.to(device=device, dtype=dtype),
            x_val=self.x_val.to(device=device, dtype=dtype),
            y_val=self.y_val.to(device=device),
        )

    def check(self, num_classes: int | None = None) -> None:
        """Raise a ValueError, in one line, where a shape, dtype or device doesn't fit the others.

        num_classes   labels are held against it where they are on the CPU: elsewhere the host would wait for them
        """
        for role in ROLES:
            self._check_images(role)
        _check_labels("y_train", self.y_train, self.x_train, num_classes)
        _check_labels("y_val", self.y_val, self.x_val, num_classes)

    def _check_images(self, role: str) -> None:
        x, first = self.images(role), self.x_train
        if x.ndim not in (4, 5) or x.shape[-3] != 3 or not x.is_floating_point() or x.numel() == 0:
            raise ValueError(f"need x_{role} [N, 3, H, W] or [K, N, 3, H, W] floating point; got {_of(x)}")
        if x.ndim == 5 and role == "unlabeled":
            raise ValueError(f"need x_unlabeled [N, 3, H, W], shared by all learners; got {_of(x)}")
        if x.ndim == 5 and len(x) != self.learners:
            raise ValueError(f"need x_{role} for K = {self.learners} learners; got {_of(x)}")
        if (x.shape[-2:], x.dtype, x.device) != (first.shape[-2:], first.dtype, first.device):
            raise ValueError(f"need x_{role} with the size, dtype and device of x_train, {_of(first)}; got {_of(x)}")


def outside(labels: Tensor, num_classes: int) -> list[int] | None:
    """The position of the first label that is no class index; None where all are."""
    wrong = (labels < 0) | (labels >= num_classes)
    return wrong.nonzero()[0].tolist() if wrong.any() else None


def _check_labels(name: str, y: Tensor, x: Tensor, num_classes: int | None) -> None:
    if y.shape != x.shape[:-3] or y.dtype != torch.int64 or y.device != x.device:
        raise ValueError(f"need {name} {list(x.shape[:-3])} torch.int64 on {x.device}; got {_of(y)}")
    if num_classes is None or y.device.type != "cpu":
        return
    if (place := outside(y, num_classes)) is not None:
        got = f"got {int(y[tuple(place)])} at {place}"
        raise ValueError(f"need {name} class indices from 0 to {num_classes - 1}; {got}")


def _of(x: Tensor) -> str:
    return f"{list(x.shape)} {x.dtype} on {x.device}"
