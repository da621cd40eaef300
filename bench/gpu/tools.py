"""NVIDIA's tools on our kernels: compute-sanitizer and Nsight Compute's counters, where they are there and allowed."""

from __future__ import annotations

import csv
import os
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from glob import glob

from ..processes import Done, run
from .kernels import short
from .load import DONE
from .table import OURS
from .timing import Found, need_gpu

CHECKS = ("memcheck", "racecheck", "initcheck")
CHECK_LIMIT, NCU_LIMIT = 30, 36  # seconds of each run of a tool
ERRORS = 9  # exit code of the sanitizer for what it found
# Counters by the title that they get, and how launches of a kernel add up: a sum, or a mean by time.
COUNTERS = {
    "gpu__time_duration.sum": "us",
    "dram__bytes.sum": "DRAM MB",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "DRAM %",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "SM %",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy %",
}
SUMMED = {"us": 1e3, "DRAM MB": 1e6}  # nanoseconds and bytes of one
SLOWEST = 8


def sanitizer(contenders: Sequence[str], backend: str) -> Found:
    """Memory, races and what is read before it is written, of every kernel of a backend on small images."""
    need_gpu()
    tool = found_tool("compute-sanitizer")
    if backend not in contenders:
        return
    for check in CHECKS:
        command = [tool, "--tool", check, "--error-exitcode", str(ERRORS), "--print-limit", "20"]
        environment = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}  # a tensor's end is the end of what may be touched
        done = run([*command, sys.executable, "-m", "bench.gpu.load", "small", backend], CHECK_LIMIT, environment)
        yield f"{backend}, {check}", verdict(done, CHECK_LIMIT)
        if complaints := complaints_of(done.out):
            yield f"{backend}, {check} says", complaints


def found_tool(name: str) -> str:
    """Where the tool is; SystemExit where it is not."""
    toolkit = os.path.join(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "bin")
    folders = [toolkit, *sorted(glob("/opt/nvidia/nsight-compute/*"), reverse=True)]
    path = shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))
    if path is None:
        raise SystemExit(f"needs {name} in PATH, or a CUDA toolkit in CUDA_HOME or /usr/local/cuda")
    return path


def verdict(done: Done, limit: float) -> str:
    """In a line: what the tool counted, and whether the program came to its end, which the count does not say."""
    if done.code is None:
        return f"not done after {limit} s"
    summary = re.findall(r"^========= *((?:RACECHECK|ERROR) SUMMARY: .*)$", done.out, re.MULTILINE)
    told = [summary[-1] if summary else "no summary"]
    if DONE not in done.out:
        told.append("the program did not end well")
    if done.code not in (0, ERRORS) or not summary:
        told.append(f"exit code {done.code}")
    if not summary:
        told += done.said.splitlines()[-1:]
    return "; ".join(told)


def complaints_of(out: str, most: int = 6) -> str:
    """The first lines of what the tool reports, one a kind and place."""
    pattern = r"^=========\s+((?:Invalid|Uninitialized|Error|Warning|Program hit|Internal|Device not)\b.*)$"
    lines = re.findall(f"{pattern}|^=========\\s+(at .*_kernel.*)$", out, re.MULTILINE)
    return "\n".join(list(dict.fromkeys(first or second for first, second in lines))[:most])


def counters(contenders: Sequence[str]) -> Found:
    """Of the slowest kernels of a pass of three cells, by hardware counters."""
    need_gpu()
    tool = found_tool("ncu")
    for backend in contenders:
        if backend in OURS:
            done = run(ncu_command(tool, backend), NCU_LIMIT, {"TMPDIR": os.environ.get("TMPDIR", "/tmp")})
            yield from counted_kernels(backend, done)


def ncu_command(tool: str, backend: str) -> list[str]:
    how = ["--clock-control", "none", "--profile-from-start", "off", "--csv", "--print-units", "base"]
    return [tool, *how, "--metrics", ",".join(COUNTERS), sys.executable, "-m", "bench.gpu.load", "pass", backend]


def counted_kernels(backend: str, done: Done) -> Found:
    rows = list(kernel_rows(launches_of(done.out)))
    if not rows:
        yield backend, why_no_counters(done)
    for name, row in rows[:SLOWEST]:
        yield f"{backend}, {name}", row


def why_no_counters(done: Done) -> str:
    if done.code is None:
        return f"no counters: not done after {NCU_LIMIT} s"
    if "ERR_NVGPUCTRPERM" in done.said:
        return "no counters: the driver keeps them from this user (ERR_NVGPUCTRPERM)"
    lines = [line for line in done.said.splitlines() if line.startswith("==ERROR==")] or done.said.splitlines()
    return f"no counters: {' '.join(lines[:2])[:300] or 'no words'}; exit code {done.code}"


def launches_of(out: str) -> dict[str, tuple[str, dict[str, float]]]:
    """Of ncu's CSV, in lines of a metric or of a launch: by the launch's number, the kernel and its metrics."""
    lines = out.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID",')), len(lines))
    found: dict[str, tuple[str, dict[str, float]]] = {}
    for row in csv.DictReader(line for line in lines[start:] if line.startswith('"')):
        if not row["ID"]:  # the line of units
            continue
        one = found.setdefault(row["ID"], (row.get("Kernel Name") or "", {}))[1]
        pairs = [(row["Metric Name"], row["Metric Value"])] if "Metric Name" in row else row.items()
        one |= {COUNTERS[name]: value for name, text in pairs if name in COUNTERS and (value := float_of(text)) >= 0}
    return found


def float_of(text: str | None) -> float:
    """-1 where it is no number."""
    try:
        return float((text or "").replace(",", ""))
    except ValueError:
        return -1.0


def kernel_rows(launches: dict[str, tuple[str, dict[str, float]]]) -> Iterable[tuple[str, dict[str, float]]]:
    """A row a kernel, the slowest first: sums over its launches, and means of the rest by their time."""
    by_kernel: dict[str, list[dict[str, float]]] = defaultdict(list)
    for name, metrics in launches.values():
        by_kernel[short(name)].append(metrics)
    rows = [(name, added(each)) for name, each in by_kernel.items() if any(each)]
    return sorted(rows, key=lambda row: -row[1].get("us", 0.0))


def added(launches: Sequence[dict[str, float]]) -> dict[str, float]:
    row: dict[str, float] = {"launches": len(launches)}
    for title in COUNTERS.values():
        having = [(one[title], one.get("us", 1.0)) for one in launches if title in one]
        if not having:
            continue
        if title in SUMMED:
            row[title] = sum(value for value, _ in having) / SUMMED[title]
        else:
            row[title] = sum(value * time for value, time in having) / (sum(time for _, time in having) or 1.0)
    return row
