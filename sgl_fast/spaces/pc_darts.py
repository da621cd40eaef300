"""PC-DARTS (Xu et al., 2020): a mixed op sees 1/k of the channels, the rest bypass it; betas weigh the edges."""

from __future__ import annotations

from ._space import Space, all_ops


def pc_darts(channels: int = 16, layers: int = 8, nodes: int = 4, num_classes: int = 10) -> Space:
    """The CIFAR form, k = 4."""
    return Space(
        "pc_darts", channels, layers, nodes, num_classes, all_ops(nodes), all_ops(nodes), partial=4, edge_norm=True
    )


def pc_darts_imagenet(channels: int = 16, layers: int = 8, nodes: int = 4, num_classes: int = 1000) -> Space:
    """The ImageNet form: k = 2 and a stem that takes 224 pixels to 28."""
    return Space(
        "pc_darts_imagenet",
        channels,
        layers,
        nodes,
        num_classes,
        all_ops(nodes),
        all_ops(nodes),
        partial=2,
        edge_norm=True,
        imagenet=True,
    )
