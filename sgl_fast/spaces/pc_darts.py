"""PC-DARTS (Xu et al., 2020): a mixed op sees 1/k of the channels, the rest bypass it; betas weigh the edges."""

from __future__ import annotations

from ._space import Ops, OpsByEdge, Space, build
from .rules import Rules

RULES = Rules(
    published={"batch_size": 256, "lr": 0.1, "arch_lr": 6e-4, "arch_start": 15},
    released={"batch_size": 50, "epochs": 60, "pretrain_epochs": 15, "arch_start": 30},
)
IMAGENET_RULES = Rules(
    published={
        "batch_size": 1024,
        "lr": 0.5,
        "arch_lr": 6e-3,
        "arch_clip": 5.0,
        "arch_start": 35,
        "warmup_epochs": 5,
    },
    on_cifar=RULES.published,
    released={"epochs": 55, "pretrain_epochs": 10, "arch_start": 45},
)


def pc_darts(
    channels: int = 16,
    layers: int = 8,
    nodes: int = 4,
    num_classes: int = 10,
    ops: Ops | None = None,
    edge_ops: OpsByEdge | None = None,
) -> Space:
    """The CIFAR form, k = 4."""
    sizes = channels, layers, nodes, num_classes
    return build("pc_darts", sizes, ops, edge_ops, partial=4, edge_norm=True, rules=RULES)


def pc_darts_imagenet(
    channels: int = 16,
    layers: int = 8,
    nodes: int = 4,
    num_classes: int = 1000,
    ops: Ops | None = None,
    edge_ops: OpsByEdge | None = None,
) -> Space:
    """The ImageNet form: k = 2 and a stem that takes 224 pixels to 28."""
    sizes = channels, layers, nodes, num_classes
    traits = {"partial": 2, "edge_norm": True, "imagenet": True, "rules": IMAGENET_RULES}
    return build("pc_darts_imagenet", sizes, ops, edge_ops, **traits)
