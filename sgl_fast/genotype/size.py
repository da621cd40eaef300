"""Parameters of a genotype's network, by its sizes alone. No torch; `nets.counting` counts the network itself."""

from __future__ import annotations

from ..spaces import OPERATIONS
from ..spaces._space import reductions_of
from .genotype import Genotype

# channels, layers, classes of the networks that papers give sizes of, by whether it is the ImageNet form
PUBLISHED_SCALE = {False: (36, 20, 10), True: (48, 14, 1000)}


def parameters_of(genotype: Genotype, channels: int, layers: int, classes: int, imagenet: bool = False) -> int:
    """Of `nets.network.Network` with these arguments, without the auxiliary head.

    >>> from sgl_fast import genotypes
    >>> parameters_of(genotypes.DARTS_V2, 36, 20, 10)
    3349342
    """
    if imagenet:
        half = channels // 2
        total = 9 * (3 * half + half * channels + channels * channels) + 2 * (half + 2 * channels)
        before = last = channels
    else:
        total = 3 * channels * (27 + 2)
        before = last = 3 * channels
    reductions = reductions_of(layers)
    for layer in range(layers):
        reduction = layer in reductions
        channels = 2 * channels if reduction else channels
        edges = genotype.reduce if reduction else genotype.normal
        concat = genotype.reduce_concat if reduction else genotype.normal_concat
        total += channels * (before + last + 4)  # what fits both inputs to the cell: a 1x1 convolution and a norm each
        total += sum(_of_op(op, channels, reduction and source < 2) for op, source in edges)
        before, last = last, len(concat) * channels
    return total + classes * (last + 1)


def published_parameters(genotype: Genotype, imagenet: bool = False) -> int:
    """At the published scale."""
    return parameters_of(genotype, *PUBLISHED_SCALE[imagenet], imagenet=imagenet)


def _of_op(op: str, channels: int, halves_the_image: bool) -> int:
    """Of an operation between states of so many channels."""
    if op not in OPERATIONS:
        return 14 * channels * channels + 2 * channels  # conv_7x1_1x7: two dense factors, one norm
    row = OPERATIONS[op]
    if row.skip:
        return channels * (channels + 2) if halves_the_image else 0
    return row.halves * channels * (row.kernel * row.kernel + channels + 2)
