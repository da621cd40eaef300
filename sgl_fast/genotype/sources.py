"""Where published genotypes come from, and what their papers print of their networks' sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..printed import Printed
from .published import genotypes, table

SIZES = ("parameters", "imagenet_parameters", "multiply_adds")


@dataclass(frozen=True)
class Source:
    """A paper, and its numbers in millions, None where it prints none.

    paper                whose cells they are
    listing              where they are listed, "" where the paper alone is the source
    parameters           of the CIFAR network, 36 channels and 20 cells
    imagenet_parameters  of the ImageNet network, `imagenet_channels` and 14 cells
    multiply_adds        of that network and 224 x 224 pixels, by `rule`, one of `nets.counting.RULES`
    auxiliary            whether `parameters` counts the auxiliary head
    cut                  whether digits are cut, not rounded
    differs              which of these sizes the genotype's networks do not have; the note says why, as far as is known
    """

    paper: str
    listing: str = ""
    parameters: Printed | None = None
    imagenet_parameters: Printed | None = None
    multiply_adds: Printed | None = None
    imagenet_channels: int = 48
    rule: str = ""
    auxiliary: bool = False
    cut: bool = False
    differs: tuple[str, ...] = ()
    note: str = ""

    def matches(self, printed: Printed, count: int) -> bool:
        """Whether a count, in ones, is the printed number of millions to its last digit."""
        if not self.cut:
            return printed.matches(count / 1e6)
        step: int = 10**printed.decimals
        return math.floor(count * step / 1e6) == round(printed.mean * step)

    def lines(self) -> list[str]:
        """The paper, the sizes that it prints and the note, for people."""
        head = " with the auxiliary head" if self.auxiliary else ""
        sizes = [f"{self.parameters}M parameters{head}"] if self.parameters else []
        channels = f" with {self.imagenet_channels} channels" if self.imagenet_channels != 48 else ""
        if self.imagenet_parameters:
            sizes.append(f"on ImageNet{channels} {self.imagenet_parameters}M parameters")
        if self.multiply_adds:
            sizes[-1] += f" and {self.multiply_adds}M multiply-adds{f' by {self.rule}' if self.rule else ''}"
        found = [f"{self.paper}: {'; '.join(sizes) or 'no sizes'}"]
        return [*found, self.note] if self.note else found


def source_of(name: str) -> Source:
    """Of a published genotype, by any of its names. KeyError that lists the nearest ones for any other.

    >>> source_of("GDAS_V1").multiply_adds, source_of("GDAS_V1").imagenet_channels
    (Printed(text='581'), 50)
    """
    full = genotypes.full_name(name)
    content = table()
    found = {**content["papers"][full.partition(".")[0]], **content["printed"].get(full, {})}
    sizes = {size: Printed(found[size]) for size in SIZES if size in found}
    return Source(**{**found, **sizes, "differs": tuple(found.get("differs", ()))})
