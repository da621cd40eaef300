"""The network that papers report of a genotype."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..genotype.genotype import Genotype
from .recipe import preset, recipe_name


class Size(NamedTuple):
    channels: int
    layers: int
    parameters: int
    macs: int  # convolutions and classifier, one image of 32 x 32 pixels or, on ImageNet, 224 x 224

    def __str__(self) -> str:
        return f"{millions(self.parameters, self.macs)} ({self.channels} channels, {self.layers} layers)"


def millions(parameters: int, macs: int) -> str:
    return f"{parameters / 1e6:.2f} M parameters, {macs / 1e6:.0f} M multiply-adds"


@lru_cache(64)
def size_of(genotype: Genotype, classes: int, imagenet: bool) -> Size:
    """At the published scale: 36 channels and 20 layers, on ImageNet 48 and 14. Nothing is computed."""
    import torch

    from ..nets.counting import count_macs, count_parameters
    from ..nets.network import Network

    recipe, side = preset(recipe_name(imagenet)), 224 if imagenet else 32
    channels, layers = recipe.channels, recipe.layers
    with torch.device("meta"):
        network = Network(genotype, channels, layers, classes, imagenet=imagenet)
    return Size(channels, layers, count_parameters(network), count_macs(network, side, "conv_linear"))
