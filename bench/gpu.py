"""Everything worth knowing of a GPU, in one command: python -m bench.gpu [--half first|second] [--out FOLDER].

Each part runs in a process of its own and has a limit of seconds, so that one that fails, hangs or breaks the device
leaves the others theirs. After every part FOLDER/gpu.json and FOLDER/gpu.md say what is known so far. On a machine
without a GPU every part that can start does, and the others say why not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .report import ROOT
from .tables import table

# Seconds of each part at most; less than ten minutes in all.
FIRST = {"environment": 30, "ceilings": 40, "build": 240, "tests": 180}
SECOND = {"passes": 120, "steps": 120, "profile": 60, "sanitizer": 60}
HALVES = {"first": FIRST, "second": SECOND, "both": FIRST | SECOND}
MOST_WORDS = 2000  # characters of what a failing part says

Record = dict[str, Any]


def run(part: str, limit: float) -> Record:
    """The part's result, or why there is none."""
    start = time.monotonic()
    command = [sys.executable, "-m", "bench.gpu_parts", part]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"seconds": limit, "error": f"not done after {limit} s"}
    record: Record = {"seconds": round(time.monotonic() - start, 1)}
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return record | {"result": json.loads(lines[-1])}
    return record | {"error": (done.stderr or done.stdout).strip()[-MOST_WORDS:]}


def rows_of(name: str, value: Any) -> list[list[str]]:
    """A nested result as rows of two columns."""
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in rows_of(f"{name}, {key}" if name else str(key), inner)]
    text = f"{value:.4g}" if isinstance(value, float) else str(value).strip()
    return [[name, text.replace("\n", "<br>").replace("|", "\\|")]]


def markdown(records: dict[str, Record]) -> str:
    parts = ["# What a GPU run said\n"]
    for part, record in records.items():
        parts.append(f"## {part}, {record['seconds']} s\n")
        if "error" in record:
            parts.append(f"Failed: {record['error'].splitlines()[-1] if record['error'] else 'no words'}\n")
        else:
            parts.append(table(["what", "value"], rows_of("", record["result"])))
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 all parts done, 1 one failed; the results are written either way."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--half", choices=HALVES, default="both", help="environment to tests, or what takes time")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="folder of the results")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "gpu.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() and args.half == "second" else {}
    records: dict[str, Record] = before
    for part, limit in HALVES[args.half].items():
        records[part] = run(part, limit)
        error = records[part].get("error", "")
        print(f"{part}: {error.splitlines()[-1] if error else 'done'} ({records[part]['seconds']} s)", flush=True)
        path.write_text(json.dumps(records, indent=1), encoding="utf-8")
        (args.out / "gpu.md").write_text(markdown(records), encoding="utf-8")
    return int(any("error" in record for record in records.values()))


if __name__ == "__main__":
    sys.exit(main())
