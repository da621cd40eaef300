"""report.html: a page that explains a run, in one file without a reference to another. No torch, no matplotlib."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from .. import files
from .cell_svg import cell_svg
from .machine import facts
from .plots.cells import Cells

REPORT = "report.html"
MACHINE = ("sgl_fast", "torch", "CPU", "memory", "GPU")  # of what the doctor knows


@dataclass
class Table:
    """head: names of the columns, or none"""

    title: str
    rows: Sequence[Sequence[Any]]
    head: Sequence[str] = ()
    note: str = ""


@dataclass
class Frame:
    """Cells, title and <svg>, of some epochs in a row."""

    epochs: list[int]
    cells: list[tuple[str, str]]


@dataclass
class Page:
    """What a page shows, from top to bottom.

    progress   of a run, from 0 to 1; refresh: seconds after which a browser reads the file again, 0: it does not
    pictures   title, <svg>, caption
    """

    title: str
    state: str
    progress: float | None = None
    refresh: int = 0
    facts: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    pictures: list[tuple[str, str, str]] = field(default_factory=list)
    genotypes: list[tuple[str, str]] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
    folded: list[Table] = field(default_factory=list)


def write_page(path: Path, page: Page) -> None:
    """Atomically: a browser that reads it meanwhile sees the old page or the new one."""
    files.write_text_atomic(path, _template().render(page=page))


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader

    loader = PackageLoader("sgl_fast.run", ".")
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(REPORT)


def inlined(path: Path, prefix: str) -> str:
    """The <svg> of a file, its ids made unlike those of the others on the page."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r' id="[a-zA-Z.0-9]+_\d+"', "", text)  # of groups, to which nothing refers
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text[text.index("<svg") :])
    return re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text, flags=re.S)


def frames_of(epochs: Sequence[tuple[int, Sequence[Cells], Sequence[str]]]) -> list[Frame]:
    """Of (epoch, genotypes, titles); epochs of equal cells share a frame."""
    frames: list[Frame] = []
    before: Sequence[Cells] | None = None
    for epoch, genotypes, titles in epochs:
        if genotypes == before:
            frames[-1].epochs.append(epoch)
        else:
            cells = [(title, cell_svg(g, title)) for g, title in zip(genotypes, titles, strict=True)]
            frames.append(Frame([epoch], cells))
        before = genotypes
    return frames


def machine(identity: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Versions and hardware. identity: of `identity.identity`"""
    return [("computed by", str(identity.get("backend"))), *_facts()]


@cache
def _facts() -> list[tuple[str, str]]:
    return [(name, text) for name, text in facts() if name in MACHINE]


def cost_of(measured: Mapping[str, float], backend: str, processes: int = 1) -> tuple[str, str]:
    """Time as papers report it. backend: of `identity.computes`, which names a GPU where one computes"""
    if " on " in backend and "CPU" not in backend:
        return "GPU-days", f"{measured.get('seconds', 0) * processes / 86400:.4f}"
    return "CPU-hours", f"{measured.get('cpu_seconds', 0) / 3600:.3f}"


def flat(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of settings, those inside others too."""
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        rows += flat(value) if isinstance(value, dict) else [(name, str(value))]
    return rows
