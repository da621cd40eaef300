"""The evidence as Markdown and CSV. No torch."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence

from ...files import write_text_atomic
from ..jobs import Job, core_seconds
from ..tables import line_of
from . import sections, seven
from .about import about
from .plan import Study
from .section import Section

COLUMNS = [
    "experiment",
    "row",
    "quantity",
    "step",
    "mean",
    "deviation",
    "n",
    "null_mean",
    "p",
    "difference",
    "error",
    "t",
    "degrees",
    "better",
]
_SECTIONS: dict[str, Callable[[Study], list[Section]]] = {
    "a": lambda study: [sections.noise(study)],
    "b": lambda study: [sections.noise_cells(study)],
    "c": seven.seven,
    "d": lambda study: [sections.cells(study)],
    "e": lambda study: [sections.sweep(study)],
}


def write(study: Study, every: Sequence[Job]) -> str:
    """evidence.md and evidence.csv in the study's folder. Returns the Markdown."""
    found = {name: _SECTIONS[name](study) for name in study.only}
    text = markdown(study, every, found)
    write_text_atomic(study.out / "evidence.md", text)
    write_text_atomic(study.out / "evidence.csv", as_csv(found))
    return text


def markdown(study: Study, every: Sequence[Job], found: dict[str, list[Section]]) -> str:
    """How it is measured, and on what; the tables."""
    lines = [line for paragraph in about(study) for line in (paragraph, "")] + [cost(every)]
    missing = sum(not job.done for job in every)
    if missing:
        lines += ["", f"**{missing} of {len(every)} jobs are not done: n and seeds say what each row has.**"]
    if study.scale.channels < 8:
        lines += ["", "**At the tiny scale (a) alone means something; of the others the path is run.**"]
    for section in (section for name in study.only for section in found[name]):
        lines += ["", *([f"## {section.title}", ""] if section.title else []), section.text, ""]
        lines += [line_of(section.head), line_of(["---"] * len(section.head)), *map(line_of, section.rows)]
        lines += [line for note in section.notes for line in ("", note)]
    return "\n".join(lines) + "\n"


def cost(every: Sequence[Job]) -> str:
    """The machine, and the processor's time."""
    from ...run.machine import cpu_model

    done = sum(job.done for job in every)
    spent = core_seconds(every) / 60
    return f"Measured: {done} jobs, {spent:.0f} minutes of one core; {cpu_model()}, {os.cpu_count()} cores."


def as_csv(found: dict[str, list[Section]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for name, tables in found.items():
        for section in tables:
            writer.writerows({"experiment": name, **numbers} for numbers in section.numbers)
    return file.getvalue()
