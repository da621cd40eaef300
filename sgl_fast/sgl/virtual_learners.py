"""Virtual learners: pairs of weights and images that share a pass, whosever architecture they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..reference.pattern import Pattern
from ..spaces.arch import Arch, select_rows


@dataclass
class VirtualLearners:
    """V rows of one pass: which learner's architecture each row has, its weights, what it sees and its loss.

    learners   (V) indices into the K learners
    weights    (V, P)
    images     (V, N, 3, H, W), or (N, 3, H, W) shared by all
    targets    (V, N, J): the loss is -weight * mean over n of sum over c of targets * log softmax(logits)
    patterns   one a row, to be replayed; log_probs (V, N, J) and arch_grad (V, A) of the pass that recorded them
    seeds      of dropout and noise, (V) int64
    learns     whether weights learn from the pass: a relaxation may perturb the architectures there, and only there
    """

    learners: Sequence[int]
    weights: Tensor
    images: Tensor
    targets: Tensor | None = None
    weight: float = 1.0
    patterns: Sequence[Pattern] | None = None
    seeds: Tensor | None = None
    log_probs: Tensor | None = None
    arch_grad: Tensor | None = None
    learns: bool = True

    def __len__(self) -> int:
        return len(self.learners)

    def select(self, positions: Sequence[int]) -> VirtualLearners:
        """The rows at these positions."""
        if list(positions) == list(range(len(self))):
            return self
        images = select_rows(self.images, positions) if self.images.dim() == 5 else self.images
        targets = None if self.targets is None else select_rows(self.targets, positions)
        learners = [self.learners[i] for i in positions]
        patterns = None if self.patterns is None else [self.patterns[i] for i in positions]
        optional = {"seeds": self.seeds, "log_probs": self.log_probs, "arch_grad": self.arch_grad}
        rest: dict[str, Any] = {name: None if t is None else select_rows(t, positions) for name, t in optional.items()}
        rest |= {"weights": select_rows(self.weights, positions), "images": images, "targets": targets}
        return replace(self, learners=learners, patterns=patterns, **rest)


def one_hot(labels: Tensor, classes: int, V: int, dtype: torch.dtype) -> Tensor:
    """Labels (N) or (V, N) -> targets (V, N, J)."""
    targets = F.one_hot(labels, classes).to(dtype)
    return targets if targets.dim() == 3 else targets.expand(V, -1, -1)


def padded(rows: Tensor, width: int) -> Tensor:
    """rows (., P) with zeros at the end of each, (., width)."""
    return F.pad(rows, (0, width - rows.shape[1])) if rows.shape[1] < width else rows


def merge(groups: Sequence[Sequence[int]], parts: Sequence[Tensor], width: int | None = None) -> Tensor:
    """The rows of each group back at their positions; rows (., P) padded with zeros to `width`."""
    if width is not None:
        parts = [padded(p, width) for p in parts]
    if len(parts) == 1:
        return parts[0]
    order = [i for group in groups for i in group]
    return select_rows(torch.cat(list(parts)), sorted(range(len(order)), key=order.__getitem__))


def merge_arch(groups: Sequence[Sequence[int]], parts: Sequence[Arch]) -> Arch:
    """`merge` of every tensor of an Arch."""
    columns = zip(*(p.tensors() for p in parts), strict=True)
    return parts[0].unflatten([merge(groups, column) for column in columns])
