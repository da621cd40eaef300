"""The published genotypes, `sgl_fast.genotypes["darts.DARTS_V2"]` or `.DARTS_V2`, and files that hold genotypes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from ..errors import told_in_one_line
from ..files import read_text, user_path
from .elsewhere import choices_of
from .genotype import FIELDS, Genotype
from .text import CALL

_MOST = 1 << 26  # bytes of a file that holds genotypes, a log of days


class Published(Mapping[str, Genotype]):
    """Immutable. Every genotype has its name in the original codebase with the space in front ("pdarts.PDARTS"), that
    name alone ("PDARTS"), and its aliases; attributes work for the names without a dot.

    Iteration gives each genotype once, under its full name; `in` and look-up know every name. An unknown name is a
    KeyError (AttributeError for an attribute) that lists the nearest ones.

    >>> genotypes.PDARTS.normal_concat
    (2, 3, 4, 5)
    >>> genotypes["pdarts.PDARTS"] is genotypes["PDARTS"]
    True
    """

    def __init__(self, genotypes: Mapping[str, Genotype], aliases: Mapping[str, str]) -> None:
        full = {name: name for name in genotypes} | dict(aliases)
        self._genotypes = dict(genotypes)
        self._names = full | {name.partition(".")[2]: target for name, target in full.items()}

    def __getitem__(self, name: str) -> Genotype:
        return self._genotypes[self.full_name(name)]

    def __getattr__(self, name: str) -> Genotype:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"no attribute {name!r}" if name.startswith("_") else self.unknown(name))
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._genotypes)

    def __len__(self) -> int:
        return len(self._genotypes)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self._names if name.isidentifier())]

    def full_name(self, name: str) -> str:
        """That of a name or an alias, the space in front."""
        if name not in self._names:
            raise KeyError(self.unknown(name))
        return self._names[name]

    def unknown(self, name: str) -> str:
        """The message for a name that is not here."""
        near = get_close_matches(name, self._names, n=5, cutoff=0.5)
        return f"unknown genotype {name!r}; " + (
            f"near it: {', '.join(near)}" if near else f"there are {', '.join(self)}"
        )


@cache
def table() -> dict[str, Any]:
    """published.json, which lies beside this file: {"genotypes": {name: genotype}, "aliases": {alias: name}, "papers":
    {space: its source}, "printed": {name: sizes that the paper prints}}.
    """
    found: dict[str, Any] = json.loads(files(__package__).joinpath("published.json").read_text(encoding="utf-8"))
    return found


def load() -> Published:
    """Every genotype of the table."""
    cells, aliases = table()["genotypes"], table()["aliases"]
    return Published({name: Genotype(**found) for name, found in cells.items()}, aliases)


genotypes = load()


@told_in_one_line()
def read_genotype(source: str, learner: int | None = None) -> Genotype:
    """A genotype by its published name, as text that says Genotype(...), or from a file: of JSON (what `to_json` gives,
    a list of that with one for each learner, an object with either under "genotype" or "genotypes", or the choices that
    NNI exports), or one in which Genotype(...) stands, the last one, as in a log. Anything else is a ValueError of one
    line.
    """
    if source in genotypes:
        return genotypes[source]
    if CALL.search(source):
        return Genotype.from_text(source)
    path = user_path(source)
    if not os.path.isfile(path):
        looks_like_a_path = path.suffix == ".json" or len(path.parts) > 1
        raise ValueError(f"there is no file {source}" if looks_like_a_path else genotypes.unknown(source))
    try:
        found = _parsed(read_text(path, _MOST))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot read {source}: {getattr(error, 'strerror', None) or error}") from error
    try:
        return genotype_in(found, learner)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _parsed(text: str) -> Any:
    """What JSON says, or the text itself where it is none but says Genotype(...)."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if CALL.search(text):
            return text
        raise


def genotype_in(found: Any, learner: int | None) -> Genotype:
    """The genotype in a file's JSON or text, or that of one learner; a file of several needs `learner`."""
    if isinstance(found, dict):
        found = found.get("genotype", found.get("genotypes", found))
    if isinstance(found, list):
        if learner is None and len(found) > 1:
            raise ValueError(f"holds {len(found)} genotypes, need a learner from 0 to {len(found) - 1}")
        if not 0 <= (learner or 0) < len(found):
            raise ValueError(f"need a learner from 0 to {len(found) - 1}; got {learner or 0}")
        found = found[learner or 0]
    if isinstance(found, str) and CALL.search(found):
        return Genotype.from_text(found)
    if isinstance(found, dict) and (choices := choices_of(found)):
        return Genotype(**choices)
    if not isinstance(found, dict) or not set(FIELDS) <= set(found):
        raise ValueError(f"holds no genotype: need the keys {', '.join(FIELDS)}")
    return Genotype(**{field: found[field] for field in FIELDS})
