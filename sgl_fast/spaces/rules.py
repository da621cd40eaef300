"""What the authors of a space do with it beside its graph: stages, derivation, numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Rules:
    """One space's.

    derivation    of genotypes, a name of `genotype.derivation.DERIVATIONS`
    layers        cells of each stage of a search
    drops         operations that every edge loses after each stage but the last
    skip_dropout  first probability of dropping a stride-1 skip, by stage; empty: none
    max_skips     skips that a normal cell may have in the end; None: any number
    published     settings of `Config`, and batch_size, of the space's own authors, where they differ from section 4.2
                  of SGL's paper; on_cifar: those that the paper's settings go by, where that is another
    released      those of SGL's released code, where they are others again
    """

    derivation: str = "darts"
    layers: tuple[int, ...] = (8,)
    drops: tuple[int, ...] = ()
    skip_dropout: tuple[float, ...] = ()
    max_skips: int | None = None
    published: Mapping[str, Any] = field(default_factory=dict)
    on_cifar: Mapping[str, Any] | None = None
    released: Mapping[str, Any] = field(default_factory=dict)

    def layers_from(self, first: int | None) -> list[int]:
        """Cells of each stage, one more from stage to stage; first: of the first one, None for the authors' own."""
        return list(self.layers) if first is None else [first + i for i in range(len(self.layers))]
