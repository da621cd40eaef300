"""The published genotypes by name: `sgl_fast.genotypes["darts.DARTS_V2"]` or `sgl_fast.genotypes.DARTS_V2`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.resources import files

from .genotype import Genotype


class Published(Mapping[str, Genotype]):
    """Immutable. Every genotype has its name in the original codebase with the space in front ("pdarts.PDARTS"), that
    name alone ("PDARTS"), and its aliases; attributes work for the names without a dot.

    Iteration gives each genotype once, under its full name; `in` and look-up know every name. An unknown name is a
    KeyError (AttributeError for an attribute) that lists the nearest ones.
    """

    def __init__(self, genotypes: Mapping[str, Genotype], aliases: Mapping[str, str]) -> None:
        full = {name: name for name in genotypes} | dict(aliases)
        self._genotypes = dict(genotypes)
        self._names = full | {name.partition(".")[2]: target for name, target in full.items()}

    def __getitem__(self, name: str) -> Genotype:
        if name not in self._names:
            raise KeyError(self._unknown(name))
        return self._genotypes[self._names[name]]

    def __getattr__(self, name: str) -> Genotype:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"no attribute {name!r}" if name.startswith("_") else self._unknown(name))
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._genotypes)

    def __len__(self) -> int:
        return len(self._genotypes)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self._names if name.isidentifier())]

    def _unknown(self, name: str) -> str:
        near = get_close_matches(name, self._names, n=5, cutoff=0.5)
        return f"unknown genotype {name!r}; " + (
            f"near it: {', '.join(near)}" if near else f"there are {', '.join(self)}"
        )


def load() -> Published:
    """Reads published.json, which lies beside this file: {"genotypes": {name: genotype}, "aliases": {alias: name}}."""
    table = json.loads(files(__package__).joinpath("published.json").read_text())
    return Published({name: Genotype(**cells) for name, cells in table["genotypes"].items()}, table["aliases"])


genotypes = load()
