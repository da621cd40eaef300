"""Records of a benchmark run as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Record = dict[str, Any]
STEPS = ("step, first order", "step, first order, one thread", "step, second order, paper")
HEADLINES = ("edge", "normal cell", "pass", *STEPS)

ITSELF = "the model itself"
ABOUT = """A ratio is the baseline's time over ours, the median over pairs that alternate in one process; below the
limit the benchmark fails. GFLOP/s count the convolutions and the classifier of forward and backward; GB/s count what a
pass has to keep, written once and read once. Floor: the least time by the machine's own ceilings, over ours."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def number(value: float | None, unit: str = "") -> str:
    """Three digits, or nothing where there is no value."""
    return "" if value is None else f"{value:.3g}{unit}" if value < 100 else f"{value:.0f}{unit}"


def markdown(machine: Record, records: list[Record]) -> str:
    """Everything that a run on one device measured."""
    ratios, memory, ceilings = ([r for r in records if r["kind"] == k] for k in ("ratio", "memory", "ceiling"))
    floor = Floor(ceilings)
    parts = ["# Benchmarks\n", told(machine), ABOUT + "\n", ratio_table(ratios, floor)]
    if memory:
        parts += ["## Memory\n", memory_table(memory)]
    return "\n".join([*parts, "## The machine's ceilings\n", floor.table()])


def told(machine: Record) -> str:
    return (
        f"{machine['cpu_model']}, {machine['cores']} cores, {machine['threads']} threads, {machine['isa']} kernels, "
        f"torch {machine['torch']} ({machine['capability']}), backend `{machine['backend']}`.\n"
    )


class Floor:
    """The ceilings of the machine that a run measured."""

    def __init__(self, ceilings: list[Record]) -> None:
        self.ceilings = ceilings
        self.flops = max((1e9 * r["gflop_per_s"] for r in ceilings if "gflop_per_s" in r), default=None)
        self.bytes = max((1e9 * r["gb_per_s"] for r in ceilings if "gb_per_s" in r), default=None)

    def share(self, row: Record) -> float | None:
        """Of the row's time that the slower of the two ceilings explains."""
        if not (self.flops and self.bytes and (row["flops"] or row["moved"])):
            return None
        out: float | None = max(row["flops"] / self.flops, row["moved"] / self.bytes) / row["seconds"]
        return out

    def table(self) -> str:
        rows = ([r["name"], number(r.get("gflop_per_s")), number(r.get("gb_per_s"))] for r in self.ceilings)
        return table(["", "GFLOP/s", "GB/s"], rows)


def ratio_table(rows: list[Record], floor: Floor) -> str:
    head = ["benchmark", "shape", "baseline", "ours, ms", "baseline, ms", "ratio", "target", "limit"]
    return table([*head, "GFLOP/s", "GB/s", "floor"], (ratio_line(row, floor) for row in rows))


def ratio_line(row: Record, floor: Floor) -> list[str]:
    share = floor.share(row)
    below = row["fail_below"] is not None and row["ratio"] < row["fail_below"]
    return [
        row["name"],
        row["shape"],
        row["baseline"],
        number(1e3 * row["seconds"]),
        number(1e3 * row["baseline_seconds"]),
        f"**{number(row['ratio'])}**" + (" (below the limit)" if below else ""),
        number(row["target"]),
        number(row["fail_below"]),
        number(row["gflop_per_s"]),
        number(row["gb_per_s"]),
        "" if share is None else f"{share:.0%}",
    ]


def memory_table(rows: list[Record]) -> str:
    head = ["", "shape", "measured, MB", "counted, MB", "measured / counted", "limit"]
    lines = (
        [r["name"], r["shape"], number(r["bytes"] / 1e6), number(r["counted"] / 1e6), f"**{r['ratio']:.2f}**"]
        + [f"{r['fail_above']}" + (" (above)" if r["ratio"] > r["fail_above"] else "")]
        for r in rows
    )
    return table(head, lines)


def summary(machine: Record, records: list[Record]) -> str:
    """The README's section: a line a benchmark, its ratios to both eager forms."""
    ratios: dict[tuple[str, str], dict[str, float]] = {}
    for row in records:
        if row["kind"] == "ratio" and row["name"].partition(" ")[2] in HEADLINES:
            ratios.setdefault((row["name"], row["shape"]), {})[row["baseline"]] = row["ratio"]
    columns = ("eager", "eager channels_last")
    lines = ([*key, *(number(found.get(c), "x") for c in columns)] for key, found in ratios.items())
    eager = table(["forward and backward", "shape", *columns], lines)
    return "\n".join([told(machine), eager, *drop_in(machine, records)])


def drop_in(machine: Record, records: list[Record]) -> list[str]:
    """A training step of an accelerated model beside the same model's own, on one thread and on all; [] without."""
    ratios: dict[tuple[str, str], dict[bool, float]] = {}
    for row in records:
        if row["kind"] == "ratio" and row["baseline"] == ITSELF:
            name, _, one = row["name"].partition(", ")
            ratios.setdefault((name, row["shape"]), {})[bool(one)] = row["ratio"]
    head = ["accelerated, beside itself", "shape", "one thread", f"{machine['threads']} threads"]
    lines = [[*key, *(number(found.get(one), "x") for one in (True, False))] for key, found in ratios.items()]
    return [table(head, lines)] if lines else []
