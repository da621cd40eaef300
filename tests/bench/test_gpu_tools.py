"""What NVIDIA's tools say, read: on made-up output, since no tool runs here."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.gpu import tools as gpu_tools
from bench.gpu.load import DONE
from bench.gpu.tools import NCU_LIMIT, complaints_of, counted_kernels, launches_of, verdict
from bench.processes import Done

PROCESS = '"ID","Process ID","Process Name","Host Name"'
LAUNCH = '"Context","Stream","Block Size","Grid Size","Device","CC"'
HEAD = f'{PROCESS},"Kernel Name",{LAUNCH}'
LONG = f"""==PROF== Connected to process 7
{DONE}
==PROF== Disconnected from process 7
{HEAD},"Section Name","Metric Name","Metric Unit","Metric Value"
"0","7","python","h","void a::f<4>(int *)","1","7","(1, 1, 1)","(9, 1, 1)","0","9.0","Command","dram__bytes.sum","byte","2,000,000"
"0","7","python","h","void a::f<4>(int *)","1","7","(1, 1, 1)","(9, 1, 1)","0","9.0","Command","gpu__time_duration.sum","ns","1,000"
"0","7","python","h","void a::f<4>(int *)","1","7","(1, 1, 1)","(9, 1, 1)","0","9.0","Command","dram__throughput.avg.pct_of_peak_sustained_elapsed","%","80.0"
"1","7","python","h","void a::f<1>(int *)","1","7","(1, 1, 1)","(9, 1, 1)","0","9.0","Command","dram__bytes.sum","byte","1,000,000"
"1","7","python","h","void a::f<1>(int *)","1","7","(1, 1, 1)","(9, 1, 1)","0","9.0","Command","gpu__time_duration.sum","ns","3,000"
"1","7","python","h","void a::f<1>(int *)","1","7","(1, 1, 1)","(9, 1, 1)","0","9.0","Command","dram__throughput.avg.pct_of_peak_sustained_elapsed","%","40.0"
"2","7","python","h","g_kernel","1","7","(1, 1, 1)","(9, 1, 1)","0","9.0","Command","gpu__time_duration.sum","ns","9,000"
"2","7","python","h","g_kernel","1","7","(1, 1, 1)","(9, 1, 1)","0","9.0","Command","dram__bytes.sum","byte","n/a"
"""  # noqa: E501
WIDE = f"""{HEAD},"dram__bytes.sum","gpu__time_duration.sum"
"","","","","","","","","","","","byte","ns"
"0","7","python","h","f(int *)","1","7","(1, 1, 1)","(9, 1, 1)","0","9.0","2000000","1000"
"""


def done(out: str, code: int | None = 0, err: str = "") -> Done:
    return Done(code, out, err, 1.0)


def test_counters_of_kernels() -> None:
    found = dict(counted_kernels("cuda", done(LONG)))
    assert list(found) == ["cuda, g_kernel", "cuda, f"]
    assert found["cuda, f"] == {"launches": 2, "us": 4.0, "DRAM MB": 3.0, "DRAM %": pytest.approx(50.0)}
    assert found["cuda, g_kernel"] == {"launches": 1, "us": 9.0}
    assert launches_of(WIDE) == {"0": ("f(int *)", {"DRAM MB": 2e6, "us": 1e3})}


@pytest.mark.parametrize(
    "out, code, err, words",
    [
        ("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission", 1, "", "this user (ERR_NVGPUCTRPERM)"),
        ("==PROF== Connected\n==ERROR== Failed to initialize: LibraryNotLoaded", 9, "", "initialize: LibraryNotLoaded"),
        ("", None, "", f"not done after {NCU_LIMIT} s"),
        ("", 1, "", "no counters: no words; exit code 1"),
    ],
)
def test_why_there_are_no_counters(out: str, code: int | None, err: str, words: str) -> None:
    (found,) = counted_kernels("triton", done(out, code, err))
    assert found[0] == "triton" and words in str(found[1])


CLEAN = f"========= COMPUTE-SANITIZER\n{DONE}\n========= ERROR SUMMARY: 0 errors\n"
FAULTY = """========= COMPUTE-SANITIZER
========= Invalid __global__ read of size 4 bytes
=========     at void sgl_fast::convolve_kernel<4>(CellView)+0x1f0
=========     by thread (31,0,0) in block (2,0,0)
========= Invalid __global__ read of size 4 bytes
=========     at void sgl_fast::convolve_kernel<4>(CellView)+0x1f0
========= ERROR SUMMARY: 2 errors
"""
RACES = "========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)\n"


def test_verdicts_of_the_sanitizer() -> None:
    assert verdict(done(CLEAN), 30) == "ERROR SUMMARY: 0 errors"
    assert verdict(done(FAULTY, 9), 30) == "ERROR SUMMARY: 2 errors; the program did not end well"
    races = verdict(done(DONE + "\n" + RACES, 9), 30)
    assert races == "RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)"
    assert verdict(done("", None), 30) == "not done after 30 s"
    crashed = verdict(done("", 1, "Traceback\nValueError: no"), 30)
    assert crashed == "no summary; the program did not end well; exit code 1; ValueError: no"


def test_complaints_of_the_sanitizer() -> None:
    first = ["Invalid __global__ read of size 4 bytes", "at void sgl_fast::convolve_kernel<4>(CellView)+0x1f0"]
    assert complaints_of(FAULTY).splitlines() == first
    assert complaints_of(CLEAN) == ""


def test_tools_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(gpu_tools, "glob", lambda pattern: [])
    with pytest.raises(SystemExit, match="needs ncu in PATH, or a CUDA toolkit in CUDA_HOME"):
        gpu_tools.found_tool("ncu")
    tool = tmp_path / "bin" / "ncu"
    tool.parent.mkdir()
    tool.touch(mode=0o755)
    assert gpu_tools.found_tool("ncu") == str(tool)
    command = gpu_tools.ncu_command("ncu", "cuda")
    assert command[:3] == ["ncu", "--clock-control", "none"] and command[-2:] == ["pass", "cuda"]


def tool(folder: Path, says: str) -> str:
    """A tool that says that, whatever it is to run."""
    path = folder / "tool"
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
    path.chmod(0o755)
    return str(path)


def test_parts_run_the_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_tools, "need_gpu", lambda: None)
    monkeypatch.setattr(gpu_tools, "found_tool", lambda name: tool(tmp_path, FAULTY if "sani" in name else LONG))
    checks = dict(gpu_tools.sanitizer(["eager", "cuda"], "cuda"))
    assert list(checks)[::2] == [f"cuda, {check}" for check in ("memcheck", "racecheck", "initcheck")]
    assert "ERROR SUMMARY: 2 errors" in checks["cuda, initcheck"] and "convolve_kernel" in checks["cuda, memcheck says"]
    assert list(gpu_tools.sanitizer(["triton"], "cuda")) == []
    assert list(dict(gpu_tools.counters(["eager", "cuda"]))) == ["cuda, g_kernel", "cuda, f"]
