"""The one command for a GPU, on a machine without one: what can start does, the rest says why not, all is written."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import processes
from bench.gpu import __main__ as gpu
from bench.gpu import parts as gpu_parts
from bench.gpu import table as gpu_table
from bench.gpu.timing import Broken
from sgl_fast.backends import measured

SLEEPS = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
RUNS = """
import sys
from bench import processes
processes.pass_on_the_end()
inner = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
processes.run([sys.executable, "-c", inner, sys.argv[1]], 50)
"""


def taken(part: Any, found: list[tuple[str, Any]]) -> None:
    """Takes what a part finds, up to its end or its error."""
    for one in part:
        found.append(one)


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
def test_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu, "HALVES", {"both": {"environment": 60, "ceilings": 60, "nothing": 60}})
    monkeypatch.setattr(gpu, "BEFORE", {})
    monkeypatch.setattr(gpu, "use_folders", lambda: None)
    table = measured.PATH.read_text()
    assert gpu.main(["--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    records = json.loads((tmp_path / "gpu.json").read_text())
    assert records["environment"]["result"]["GPU"] == "none that torch can use"
    assert records["ceilings"]["error"] == "needs an NVIDIA GPU and its driver; torch finds none"
    assert "no such part" in records["nothing"]["error"] and "ceilings: needs an NVIDIA GPU" in said
    assert "none that torch can use" in (tmp_path / "gpu.md").read_text()
    assert measured.PATH.read_text() == table


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
@pytest.mark.parametrize("part", [part for part in gpu.BEFORE | gpu.HALVES["both"] if part != "environment"])
def test_every_part_says_why_it_cannot_start(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_parts, "pass_on_the_end", lambda: None)
    with pytest.raises(SystemExit, match="needs an NVIDIA GPU and its driver; torch finds none"):
        gpu_parts.main([part])


def test_a_part_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    record = gpu.once("environment", 0.01)
    assert record["error"] == "not done after 0.01 s" and record["seconds"] < 5
    assert gpu.run_part("environment", 1) == {"seconds": 0.0, "error": "not begun: no time was left"}


def test_children_end_with_their_parent() -> None:
    """Without the output of a grandchild that sleeps on holding us up."""
    done = processes.run([sys.executable, "-c", SLEEPS], 0.5)
    assert done.code is None and done.seconds < 10
    assert processes.run(["/nowhere/tool"], 1) == (127, "", "/nowhere/tool: No such file or directory", 0.0)


def test_what_a_part_runs_ends_with_it(tmp_path: Path) -> None:
    """A command of a part has a session of its own."""
    path = tmp_path / "pid"
    done = processes.run([sys.executable, "-c", RUNS, str(path)], 3, grace=8)
    assert done.code is None and done.seconds < 12
    with pytest.raises(ProcessLookupError):
        os.kill(int(path.read_text()), 0)


def test_what_a_part_found_before_it_was_ended_stays() -> None:
    lines = ['["a", 1]', "a warning", '["b", {"ms": 2.0}]', '["a", 3]', '["c", {"ms"']
    assert gpu.findings("\n".join(lines)) == {"a": 3, "b": {"ms": 2.0}}


def test_a_part_goes_on_without_what_broke_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def once(part: str, limit: float, without: str = "") -> dict[str, Any]:
        tries.append(without)
        found = {"triton": 2} if without else {"cuda": "illegal access", gpu.BROKEN: "cuda"}
        return {"seconds": 1.0, "result": found}

    monkeypatch.setattr(gpu, "once", once)
    record = gpu.run_part("profile", 60)
    assert tries == ["", "cuda"] and record["seconds"] == 2 and record["error"] == "cuda broke the device"
    assert record["result"] == {"cuda": "illegal access", gpu.BROKEN: "cuda", "triton": 2}


def test_a_broken_device_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def part(contenders: list[str]) -> Any:
        yield "left", contenders
        raise Broken("cuda", "illegal access")

    monkeypatch.setitem(gpu_parts.PARTS, "part", part)
    monkeypatch.setattr(gpu_parts, "pass_on_the_end", lambda: None)
    assert gpu_parts.main(["part", "--without", "triton"]) == 0
    found = gpu.findings(capsys.readouterr().out)
    assert found["left"] == ["cuda", "reference", "eager"] and found[gpu.BROKEN] == "cuda"
    assert found["cuda"] == "cuda broke the device: illegal access"


def test_what_a_command_said_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a build that fails, of tests that were cut off; where all are skipped, none ran."""
    answers = [
        processes.Done(1, "", "there is no g++", 2.0),
        processes.Done(1, "59 kernels", "one does not compile", 2.0),
        processes.Done(0, "triton     ready", "", 9.0),
        processes.Done(None, "test_supernets[cuda] PASSED", "", 50.0),
        processes.Done(0, "SKIPPED [29] tests/bench/test_gpu.py:35: no kernels\n29 skipped in 2 s", "", 2.0),
        processes.Done(0, "1 passed, 28 skipped in 2 s", "", 2.0),
    ]
    limits: list[float] = []

    def run(command: list[str], limit: float, environment: Any = None) -> processes.Done:
        limits.append(limit)
        return answers.pop(0)

    def said(part: Any, refused: str = "") -> str:
        found: list[tuple[str, Any]] = []
        if refused:
            with pytest.raises(SystemExit, match=refused):
                taken(part, found)
        else:
            taken(part, found)
        return str(dict(found)["said"])

    monkeypatch.setattr(gpu_parts, "need_gpu", lambda: None)
    monkeypatch.setattr(gpu_parts, "run", run)
    monkeypatch.setitem(gpu_parts._limit, "seconds", 60.0)
    assert "there is no g++" in said(gpu_parts.build([]), "build: exit code 1")
    assert "one does not compile" in said(gpu_parts.caches([]), "caches: exit code 1")
    assert said(gpu_parts.doctor([])) == "triton     ready"
    assert said(gpu_parts.tests([], "cuda"), "tests: not done in time") == "test_supernets[cuda] PASSED"
    assert said(gpu_parts.tests([], "cuda"), "tests: none ran; no kernels")
    assert said(gpu_parts.tests([], "cuda")) and set(limits) == {50.0}


def test_a_half_keeps_what_the_other_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "run_part", lambda part, limit: {"seconds": 1, "result": {"part": part}})
    assert gpu.main(["--half", "first", "--out", str(tmp_path)]) == 0
    assert gpu.main(["--half", "second", "--out", str(tmp_path)]) == 0
    assert list(json.loads((tmp_path / "gpu.json").read_text())) == list(gpu.BEFORE | gpu.FIRST | gpu.SECOND)


def test_the_whole_keeps_to_its_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, limits = [0.0], []

    def run_part(part: str, limit: float) -> dict[str, Any]:
        limits.append(limit)
        clock[0] += max(limit, 0)
        return {"seconds": 1}

    monkeypatch.setattr(gpu, "run_part", run_part)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: clock[0])
    gpu.main(["--out", str(tmp_path)])
    before = sum(gpu.BEFORE.values())
    assert clock[0] - before == gpu.SECONDS["both"] < 600 and limits[-1] == 0
    gpu.main(["--half", "second", "--out", str(tmp_path)])
    assert clock[0] - gpu.SECONDS["both"] - 2 * before == gpu.HALF < 540


def test_what_is_wanted_comes_first() -> None:
    """Right, then ours by kernel, then beside eager, then the rest; the first half fits into its seconds."""
    parts = list(gpu.FIRST)
    assert parts[2:] == [
        *("tests cuda", "tests triton", "passes pc_darts ours", "steps best ours", "profile ours"),
        *("steps best", "passes pc_darts"),
    ]
    assert sum(gpu.FIRST.values()) <= gpu.HALF and not gpu.FIRST.keys() & gpu.SECOND.keys()


def test_a_part_may_be_of_ours(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(gpu_parts.PARTS, "part", lambda who, *arguments: [("seen", [*who, *arguments])])
    monkeypatch.setattr(gpu_parts, "pass_on_the_end", lambda: None)
    for words, seen in (("part x ours", ["triton", "x"]), ("part x", ["triton", "reference", "eager", "x"])):
        assert gpu_parts.main([words, "--without", "cuda"]) == 0
        assert gpu.findings(capsys.readouterr().out) == {"seen": seen}


STEPS: dict[str, Any] = {
    "GPU": "NVIDIA H100",
    "eager": {"ms": 900.0},
    "cuda": {"ms": 40.0, "kernels": 1434},
    "cuda in a graph": {"ms": 16.04, "kernels": 1434},
    "triton": {"ms": 14.2},
    "triton in a graph": "RuntimeError: capture | failed",
}


def test_steps_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the table of `auto`, beside other GPUs: graphs, as a search runs, where they could be timed."""
    path = tmp_path / "measured.json"
    path.write_text('{"A100": {"cuda": 30.0}}')
    monkeypatch.setattr(measured, "PATH", path)
    (tmp_path / "gpu.json").write_text(json.dumps({"steps best": {"seconds": 9.0, "result": STEPS}}))
    assert gpu.main(["--half", "none", "--out", str(tmp_path)]) == 0
    want = {"A100": {"cuda": 30.0}, "NVIDIA H100": {"cuda": 16.04, "triton": 14.2}}
    assert json.loads(path.read_text()) == want
    gpu.teach({"steps best": {"seconds": 1.0, "error": "not done", "result": {"GPU": "V100", "cuda": "no"}}}, path)
    assert json.loads(path.read_text()) == want
    ours = {"GPU": "V100", "cuda": {"ms": 99.0}, "triton": {"ms": 98.0}}
    both = {"steps best ours": {"result": ours}, "steps best": {"result": {"cuda": "no", "triton": {"ms": 97.0}}}}
    gpu.teach(both, path)
    assert json.loads(path.read_text())["V100"] == {"cuda": 99.0, "triton": 97.0}


def test_rows_are_a_table() -> None:
    text = gpu_table.markdown({"steps best": {"seconds": 9.0, "error": "one\nnot done after 9 s", "result": STEPS}})
    assert "## steps best, 9.0 s\n\nFailed: not done after 9 s\n" in text
    assert "| what | value |\n| --- | --- |\n| GPU | NVIDIA H100 |\n" in text
    assert "| triton in a graph | RuntimeError: capture \\| failed |" in text
    assert "|  | ms | kernels |\n| --- | --- | --- |\n| eager | 900 |  |\n| cuda | 40 | 1434 |\n" in text
