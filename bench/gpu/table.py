"""What a GPU run said, as Markdown and as the table that `--backend auto` goes by."""

from __future__ import annotations

from typing import Any

from ..tables import number, table

Record = dict[str, Any]
STEPS = "steps best ours", "steps best"  # parts, those of the better numbers last
GPU, OURS = "GPU", ("cuda", "triton")
KINDS = (" in a graph", "")  # as a search runs them, the usual one first
ABOUT = """Times are medians of samples taken in turn. To eager: the published structure as modules, looped over the
learners, over this. Of the floor: the least time for what a pass must move and compute, by the ceilings of this GPU,
over the time; of its count: the same for what the launchers of the CUDA kernels count. MiB at the peak: allocated,
above what there was before.
"""


def markdown(records: dict[str, Record]) -> str:
    parts = ["# What a GPU run said\n", ABOUT]
    for part, record in records.items():
        parts.append(f"## {part}, {record['seconds']} s\n")
        if "error" in record:
            lines = record["error"].strip().splitlines()
            parts.append(f"Failed: {lines[-1] if lines else 'no words'}\n")
        parts += tables_of(record.get("result", {}))
    return "\n".join(parts)


def tables_of(result: Record) -> list[str]:
    """Values that are rows in one table, the others in another."""
    plain = {name: value for name, value in result.items() if not is_row(value)}
    rows = {name: value for name, value in result.items() if is_row(value)}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    found = []
    if plain:
        found.append(
            table(["what", "value"], [line for name, value in plain.items() for line in lines_of(name, value)])
        )
    if rows:
        lines = ([name, *(text_of(row.get(column)) for column in columns)] for name, row in rows.items())
        found.append(table(["", *columns], lines))
    return found


def is_row(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, (int, float)) for v in value.values())


def lines_of(name: str, value: Any) -> list[list[str]]:
    """A nested result as rows of two columns."""
    if isinstance(value, dict):
        return [line for key, inner in value.items() for line in lines_of(f"{name}, {key}", inner)]
    return [[name, text_of(value)]]


def text_of(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return "" if value is None else str(value).strip().replace("\n", "<br>").replace("|", "\\|")


def steps_measured(records: dict[str, Record]) -> tuple[str, dict[str, float]]:
    """The GPU's name, and ms of a search step by backend; nothing where none was timed."""
    gpu, found = "", dict[str, float]()
    for part in STEPS:
        result = records.get(part, {}).get("result", {})
        gpu = str(result.get(GPU, gpu))
        for backend in OURS:
            rows = [result.get(f"{backend}{kind}") for kind in KINDS]
            times = [row["ms"] for row in rows if isinstance(row, dict) and "ms" in row]
            if times:
                found[backend] = round(times[0], 3)
    return gpu, found
