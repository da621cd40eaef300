"""The tables and the plot of a benchmark run.

python -m bench.report results.json, the output of pytest bench --benchmark-json=results.json, writes cpu.md and cpu.png
(cuda.md and cuda.png of a GPU's rows) into bench/results and the README's performance section.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .plot import plot_ratios
from .tables import markdown, summary

ROOT = Path(__file__).parent.parent
MARKS = "<!-- performance -->", "<!-- /performance -->"
DEVICES = ("cpu", "cuda")

Record = dict[str, Any]


def read(path: Path) -> tuple[Record, list[Record]]:
    """The machine, and one record a row. ValueError where it is not the output of a full run."""
    run = json.loads(path.read_text(encoding="utf-8"))
    machine = run.get("machine_info", {}).get("sgl_fast")
    if machine is None:
        raise ValueError(f"need the JSON of pytest bench --benchmark-json; got {path}")
    if machine["short"]:
        raise ValueError(f"need a full run; got a short one in {path}")
    return machine, [b["extra_info"] for b in run["benchmarks"] if b["extra_info"]]


def write(machine: Record, records: list[Record], folder: Path) -> None:
    """One table and one plot a device that has rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for device in DEVICES:
        rows = [r for r in records if r["device"] == device]
        if any(r["kind"] == "ratio" for r in rows):
            (folder / f"{device}.md").write_text(markdown(machine, rows), encoding="utf-8")
            plot_ratios([r for r in rows if r["kind"] == "ratio"], folder / f"{device}.png")


def write_section(readme: Path, text: str, marks: tuple[str, str] = MARKS) -> None:
    """Replaces what stands between the marks. ValueError where the marks are missing."""
    whole = readme.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise ValueError(f"need {marks[0]} and {marks[1]} in {readme}")
    readme.write_text(f"{before}{begin}\n{text}{end}{after}", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    args = parser.parse_args(argv)
    try:
        machine, records = read(args.results)
        write(machine, records, args.out)
        write_section(args.readme, summary(machine, [r for r in records if r["device"] == "cpu"]))
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
