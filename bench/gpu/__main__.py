"""Everything worth knowing of a GPU, in one command: python -m bench.gpu [--half first|second] [--out FOLDER].

Each part runs in a process of its own and has a limit of seconds, so that one that fails, hangs or breaks the device
leaves the others theirs. What needs no device, the build and the kernels' machine code, comes before the clock of the
parts starts; `bench.gpu.caches` does the latter on a machine without a GPU. After every part FOLDER/gpu.json and
FOLDER/gpu.md say what is known so far, of a part that was cut off what it had said until then. Where search steps were
timed, backends/measured.json learns of the GPU. On a machine without a GPU every part that can start does, and the
others say why not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from sgl_fast.backends import measured

from ..processes import GRACE, ROOT, run
from . import BROKEN
from .folders import use_folders
from .table import markdown, steps_measured

# Seconds of each part at most, the most wanted first. Off the clock:
BEFORE = {"build": 240, "caches": 300}
# Are the kernels right, how fast are they, kernel by kernel; then what they are compared with.
FIRST = {
    "environment": 30,
    "doctor": 40,
    "tests cuda": 80,
    "tests triton": 80,
    "passes pc_darts ours": 50,
    "steps best ours": 50,
    "profile ours": 40,
    "steps best": 80,
    "passes pc_darts": 80,
}
SECOND = {
    "ceilings": 40,
    "steps released": 60,
    "search": 80,
    "passes darts": 50,
    "passes p_darts": 50,
    "passes darts_minus": 50,
    "passes pc_darts_imagenet": 50,
    "profile": 50,
    "sanitizer cuda": 100,
    "counters": 80,
    "compiled": 120,
    "sanitizer triton": 100,
}
HALVES = {"first": FIRST, "second": SECOND, "both": FIRST | SECOND, "none": {}}
SECONDS = {"both": 585}  # of all parts on the clock; a half alone has HALF
HALF = 530
LEAST = 5  # seconds with which a part is begun
MOST_WORDS = 2000  # characters of what a failing part says

Record = dict[str, Any]


def run_part(part: str, limit: float) -> Record:
    """The part's result, or why there is none; a contender that broke the device is left out of a second try."""
    if limit < LEAST:
        return {"seconds": 0.0, "error": "not begun: no time was left"}
    record = once(part, limit)
    broken = record.get("result", {}).get(BROKEN)
    left = limit - record["seconds"]
    if broken is None or left < LEAST:
        return record
    again = once(part, left, broken)
    again["result"] = record["result"] | again.get("result", {})
    again["seconds"] = round(again["seconds"] + record["seconds"], 1)
    again.setdefault("error", f"{broken} {BROKEN}")
    return again


def once(part: str, limit: float, without: str = "") -> Record:
    command = [sys.executable, "-m", "bench.gpu.parts", part, f"--seconds={limit:.1f}"]
    done = run([*command, *([f"--without={without}"] if without else [])], limit, grace=4 * GRACE)
    record: Record = {"seconds": round(done.seconds, 1)}
    if found := findings(done.out):
        record["result"] = found
    if done.code is None:
        record["error"] = f"not done after {limit:.4g} s"
    elif done.code:
        record["error"] = (done.err or done.out).strip()[-MOST_WORDS:] or f"exit code {done.code}"
    return record


def findings(out: str) -> Record:
    """What a part found: lines of JSON, a name and a value each; later ones replace earlier ones."""
    found: Record = {}
    for line in out.splitlines():
        if line.startswith('["'):
            try:
                name, value = json.loads(line)
            except ValueError:  # half a line, where the process was ended
                continue
            found[name] = value
    return found


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else ""


def write(records: dict[str, Record], folder: Path) -> None:
    (folder / "gpu.json").write_text(json.dumps(records, indent=1), encoding="utf-8")
    (folder / "gpu.md").write_text(markdown(records), encoding="utf-8")


def teach(records: dict[str, Record], path: Path) -> None:
    """Writes the steps of this GPU down, if there are any, beside those of other GPUs."""
    gpu, steps = steps_measured(records)
    if gpu and steps:
        table = json.loads(path.read_text(encoding="utf-8")) | {gpu: steps}
        path.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 all parts done, 1 one failed; the results are written either way."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument(
        "--half", choices=HALVES, default="both", help="what is most wanted; the rest; none: only writes"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="folder of the results")
    parser.add_argument("--seconds", type=float, help="of all parts on the clock together")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "gpu.json"
    goes_on = args.half in ("second", "none") and path.exists()
    records: dict[str, Record] = json.loads(path.read_text(encoding="utf-8")) if goes_on else {}
    use_folders()

    def do(part: str, limit: float) -> None:
        records[part] = run_part(part, limit)
        error = last_line(records[part].get("error", ""))
        print(f"{part}: {error or 'done'} ({records[part]['seconds']} s)", flush=True)
        write(records, args.out)

    for part, limit in (BEFORE if HALVES[args.half] else {}).items():
        do(part, limit)
    end = time.monotonic() + (args.seconds or SECONDS.get(args.half, HALF))
    for part, limit in HALVES[args.half].items():
        do(part, min(limit, end - time.monotonic()))
    write(records, args.out)
    teach(records, measured.PATH)
    return int(any("error" in record for record in records.values()))


if __name__ == "__main__":
    sys.exit(main())
