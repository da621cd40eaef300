"""A learner of eager modules: architecture, preliminary network v, network w, and their optimisers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgl_fast import Config
from sgl_fast.spaces import Space

from .supernet import Alphas, Supernet


class Learner:
    """forwards, backwards: passes through v and w so far."""

    def __init__(self, space: Space, config: Config) -> None:
        self.config = config
        self.alphas, self.v, self.w = Alphas(space), Supernet(space), Supernet(space)
        settings: dict[str, Any] = {
            "lr": config.lr,
            "momentum": config.momentum,
            "weight_decay": config.weight_decay,
            "foreach": True,
        }
        self.sgd = {net: torch.optim.SGD(net.parameters(), **settings) for net in (self.v, self.w)}
        self.adam = torch.optim.Adam(
            self.alphas.parameters(),
            config.arch_lr,
            (config.arch_beta1, config.arch_beta2),
            weight_decay=config.arch_weight_decay,
        )
        self.forwards = self.backwards = 0

    def logits(self, net: Supernet, images: Tensor) -> Tensor:
        self.forwards += 1
        out: Tensor = net(images, self.alphas)
        return out

    @torch.no_grad()
    def pseudo_labels(self, net: Supernet, images: Tensor) -> Tensor:
        """softmax of the logits, (N, J)"""
        return self.logits(net, images).softmax(-1)

    def move(self, net: Supernet) -> None:
        """Clips the gradients of v or w and steps."""
        clip(net, self.config.clip)
        self.sgd[net].step()

    def move_alphas(self) -> None:
        clip(self.alphas, self.config.arch_clip)
        self.adam.step()

    def modules(self) -> tuple[Alphas, Supernet, Supernet]:
        return self.alphas, self.v, self.w


def learners(space: Space, config: Config) -> list[Learner]:
    return [Learner(space, config) for _ in range(config.learners)]


def clip(module: nn.Module, limit: float) -> None:
    if limit:
        nn.utils.clip_grad_norm_(module.parameters(), limit, foreach=True)


def pair_loss(logits: Tensor, labels: Sequence[Tensor]) -> Tensor:
    """The sum of the cross-entropies against each of the labels, pair by pair."""
    return torch.stack([F.cross_entropy(logits, p) for p in labels]).sum()


T = TypeVar("T")


def others(values: Sequence[T], k: int) -> list[T]:
    """All but the k-th."""
    return [*values[:k], *values[k + 1 :]]
