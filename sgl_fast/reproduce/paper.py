"""What the paper (Du and Xie, arXiv 2012.12502) prints of its experiments: tables 2 to 7, figures 3 and 4. No torch.

>>> item("table2").rows[-1]
Row(label='PC-DARTS + SGL (ours)', method='PC-DARTS + SGL', ... error=Printed(text='16.34±0.11'), ...)
>>> [str(row.parameters) for row in item("table3").rows if row.is_sgl]
['3.7', '3.1', '3.5', '3.6']
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from ..printed import Printed

MARKS = {"*": "taken", "†": "run", "Δ": "600_epochs"}
DATA = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "ImageNet": "imagenet"}
NUMBERS = ("error", "top5_error", "parameters", "search_cost", "lam", "learners")  # columns of numbers
_LABEL = re.compile(r"([*†Δ]?)(.+) \(([^()]+)\)")
_SEARCHED_ON = re.compile(r"(.+)-(CIFAR10|CIFAR100|ImageNet)")


@dataclass(frozen=True)
class Row:
    """One line of a table, or one point of a figure's line.

    label        its first cell as printed; of a figure, whose lines are not in the text, the method
    method       without mark, citation and data set; "DARTS-1st + SGL" in each table alike
    panel        which of the item's parts, from 0, that rules set apart
    data         the data set of the error: cifar10, cifar100 or imagenet
    searched_on  the data set of the search where the label says it, else ""
    search       manual, other (not differentiable) or differentiable, as the panel has it
    citation     authors and year, "" for the paper's own rows
    mark         taken (from elsewhere), run (by the authors), 600_epochs (of training) or ""; `Item.marks` says more
    base         what SGL is applied to, "" for rows without it
    ablation     that of `search --ablation`, "" for the full method and for all rows of other items
    genotype     the published genotype of the row's network, of `sgl_fast.genotypes`, "" where it has none there
    error        test error in %, top-1
    top5_error   in %, of ImageNet
    parameters   in millions
    search_cost  in GPU-days
    lam          lambda, the trade-off; learners: K
    None stands where nothing, or a dash, is printed. Multiply-adds are printed nowhere.
    """

    label: str
    method: str
    panel: int
    data: str
    searched_on: str
    search: str
    citation: str
    mark: str
    base: str
    ablation: str
    genotype: str
    error: Printed | None = None
    top5_error: Printed | None = None
    parameters: Printed | None = None
    search_cost: Printed | None = None
    lam: Printed | None = None
    learners: Printed | None = None

    @property
    def is_sgl(self) -> bool:
        """Whether the method is SGL, whole or without a part."""
        return bool(self.base)


@dataclass(frozen=True)
class Column:
    """A column of numbers: the field of its rows, and its unit ("" for a plain number)."""

    name: str
    unit: str


@dataclass(frozen=True)
class Trend:
    """What the text says of a figure: its error falls, rises or stays between two values of the first column."""

    start: Printed
    end: Printed
    error: str


@dataclass(frozen=True)
class Item:
    """A table or a figure.

    name, title, place  table2, what it shows, and where it stands
    columns             those of numbers, in order
    marks               (mark, meaning) of those that its rows carry
    notes               what is ambiguous, or at odds with another place
    trends              of a figure
    rows                in order
    """

    name: str
    title: str
    place: str
    columns: tuple[Column, ...]
    marks: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    trends: tuple[Trend, ...]
    rows: tuple[Row, ...]


def names() -> list[str]:
    """table2 to table7, figure3, figure4."""
    return list(_content())


@cache
def item(name: str) -> Item:
    """By its name; ValueError of one line for any other."""
    if name not in _content():
        near = get_close_matches(name, names(), n=2, cutoff=0.6)
        known = f"near it: {', '.join(near)}" if near else f"there are {', '.join(names())}"
        raise ValueError(f"the paper has no item {name!r:.80}; {known}")
    found = _content()[name]
    columns = tuple(Column(*column) for column in found["columns"])
    rows = [
        _row(cells, index, {"ablation": "", **found, **panel}, columns)
        for index, panel in enumerate(found["panels"])
        for cells in panel["rows"]
    ]
    return Item(
        name,
        found["title"],
        found["place"],
        columns,
        tuple((MARKS[sign], text) for sign, text in found["marks"].items()),
        tuple(found["notes"]),
        tuple(Trend(Printed(a), Printed(b), error) for a, b, error in found.get("trends", [])),
        tuple(rows),
    )


@cache
def _content() -> dict[str, Any]:
    """paper.json: of each item its panels of printed rows, the first cell with mark and citation."""
    found: dict[str, Any] = json.loads(files(__package__).joinpath("paper.json").read_text(encoding="utf-8"))
    return found


def _row(cells: list[str], index: int, panel: Mapping[str, Any], columns: tuple[Column, ...]) -> Row:
    """A printed row of the panel of that index. panel: with what the item says of all of its panels"""
    label, *numbers = cells
    match = _LABEL.fullmatch(label)
    sign, method, behind = match.groups() if match else ("", label, "")
    genotype = panel.get("genotypes", {}).get(method, "")
    searched = _SEARCHED_ON.fullmatch(method)
    method = _one_spelling(searched[1] if searched else method)
    said = {c.name: _printed(text) for c, text in zip(columns, numbers, strict=True)}
    is_full = method == panel.get("full")
    if not is_full and "lam" in panel:
        said["lam"] = Printed(panel["lam"])
    return Row(
        label,
        method,
        index,
        DATA[panel["data"]],
        "" if searched is None else searched[2].lower(),
        panel["search"],
        "" if behind == "ours" or behind in DATA else behind,
        MARKS.get(sign, ""),
        panel.get("base", method.removesuffix(" + SGL") if method.endswith(" + SGL") else ""),
        "" if is_full else panel["ablation"],
        genotype,
        **said,
    )


def _one_spelling(method: str) -> str:
    """Of tables that write DARTS(1st) + SGL or SGL-DARTS-1st."""
    method = method.replace("−", "-").replace("(1st)", "-1st")
    return f"{method.removeprefix('SGL-')} + SGL" if method.startswith("SGL-") else method


def _printed(text: str) -> Printed | None:
    return None if text == "-" else Printed(text)
