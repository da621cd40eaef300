"""The interleaved comparison, and the report that is made of its records."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import report, tables
from bench.interleave import Interleave, Row
from bench.settings import Settings, machine, short_asked

ROW = Row("pc_darts pass", "V2", "eager", 3.0, 2.0, flops=8e6, moved=1e6)


class Recorder:
    """In place of pytest-benchmark's fixture."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, target: Callable[[], Any], setup: Callable[[], Any], rounds: int) -> None:
        for _ in range(rounds):
            setup()
            target()


def sleep(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)


def test_the_ratio_is_the_baseline_over_ours() -> None:
    recorder = Recorder()
    ratio = Interleave(recorder, Settings())(ROW, sleep(0.02), sleep(0.06))
    assert 1.5 < ratio < 5
    info = recorder.extra_info
    assert info["ratio"] == ratio and info["target"] == 3 and info["baseline"] == "eager"
    assert 0.02 <= info["seconds"] < info["baseline_seconds"] and info["baseline_seconds"] >= 0.06
    assert info["gflop_per_s"] == pytest.approx(8e-3 / info["seconds"])


def test_below_the_limit_fails_but_not_in_the_short_mode() -> None:
    with pytest.raises(AssertionError, match="pc_darts pass, V2: need 2.0 times the speed of eager"):
        Interleave(Recorder(), Settings())(ROW, sleep(0.02), sleep(0.02))
    assert Interleave(Recorder(), Settings(short=True))(ROW, sleep(0.02), sleep(0.02)) < 2


def test_a_baseline_may_count_several_times() -> None:
    recorder = Recorder()
    assert 2 < Interleave(recorder, Settings())(ROW, sleep(0.02), sleep(0.02), parts=3) < 4.5
    assert recorder.extra_info["baseline_seconds"] >= 0.06


def test_calls_alternate() -> None:
    said: list[str] = []

    def call(name: str) -> Callable[[], None]:
        return lambda: (said.append(name), time.sleep(0.02))[0]

    Interleave(Recorder(), Settings())(ROW, call("ours"), call("baseline"), parts=9)
    warm_up = ["ours", "ours", "baseline", "baseline"]
    assert said[:4] == warm_up and len(said) > 9
    assert said[4:] == ["baseline", "ours"] * ((len(said) - 4) // 2)


def test_the_environment_asks_for_the_short_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGL_FAST_BENCH", "short")
    assert short_asked()
    monkeypatch.setenv("SGL_FAST_BENCH", "quick")
    with pytest.raises(ValueError, match="need SGL_FAST_BENCH short or full; got 'quick'"):
        short_asked()


def ratio_record(**changes: Any) -> dict[str, Any]:
    speeds = {"gflop_per_s": 0.8, "gb_per_s": 0.1}
    times = {"seconds": 0.01, "baseline_seconds": 0.05, "ratio": 5.0, "ratios": [4.0, 6.0]}
    return {**vars(ROW), "kind": "ratio", "device": "cpu", **times, **speeds, **changes}


def records() -> list[dict[str, Any]]:
    ceiling = {"kind": "ceiling", "device": "cpu"}
    memory = {"kind": "memory", "device": "cpu", "name": "darts peak", "shape": "V2", "fail_above": 1.3}
    return [
        {**ceiling, "name": "copy", "gb_per_s": 1.0},
        {**ceiling, "name": "product", "gflop_per_s": 1.6},
        ratio_record(),
        ratio_record(baseline="eager channels_last", ratio=1.25, target=None, fail_below=None),
        ratio_record(name="flat_update: SGD", flops=0.0, moved=0.0, gflop_per_s=None, ratio=1.5),
        {**memory, "bytes": 3e6, "counted": 2e6, "ratio": 1.5},
    ]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    run = {
        "machine_info": {"sgl_fast": {**machine(), "short": False}},
        "benchmarks": [{"extra_info": r} for r in records()],
    }
    (tmp_path / "README.md").write_text(f"before\n{report.MARKS[0]}\nold\n{report.MARKS[1]}\nafter\n")
    path = tmp_path / "results.json"
    path.write_text(json.dumps(run))
    return path


def run_report(results: Path) -> int:
    folder = results.parent
    return report.main([str(results), "--out", str(folder / "out"), "--readme", str(folder / "README.md")])


def test_tables_plot_and_section_are_written(results: Path) -> None:
    assert run_report(results) == 0
    text = (results.parent / "out" / "cpu.md").read_text()
    # 8e6 flops take 5 ms at 1.6 GFLOP/s, half of the 10
    assert "| pc_darts pass | V2 | eager | 10 | 50 | **5** | 3 | 2 | 0.8 | 0.1 | 50% |" in text
    assert "**1.5** (below the limit)" in text
    assert "| darts peak | V2 | 3 | 2 | **1.50** | 1.3 (above) |" in text
    assert (results.parent / "out" / "cpu.png").stat().st_size > 1000
    readme = (results.parent / "README.md").read_text()
    assert readme.startswith(f"before\n{report.MARKS[0]}\n") and readme.endswith(f"{report.MARKS[1]}\nafter\n")
    assert "| pc_darts pass | V2 | 5x | 1.25x |" in readme and "old" not in readme and "flat_update" not in readme


def test_a_second_report_changes_nothing(results: Path) -> None:
    run_report(results)
    readme = results.parent / "README.md"
    once = readme.read_text()
    run_report(results)
    assert readme.read_text() == once


def test_a_short_run_and_another_file_are_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = json.loads(results.read_text())
    run["machine_info"]["sgl_fast"]["short"] = True
    results.write_text(json.dumps(run))
    assert run_report(results) == 2
    assert "need a full run; got a short one" in capsys.readouterr().err
    results.write_text("{}")
    assert run_report(results) == 2
    assert "need the JSON of pytest bench" in capsys.readouterr().err


def test_the_section_holds_the_headlines_only() -> None:
    text = tables.summary(machine(), records())
    assert text.count("\n| ") == 3  # head, rule, one line


def test_the_section_tells_a_model_beside_itself() -> None:
    rows = [
        ratio_record(name=f"darts drop-in step{suffix}", baseline=tables.ITSELF, ratio=ratio)
        for suffix, ratio in ((", one thread", 6.25), ("", 5.5))
    ]
    text = tables.summary(machine(), rows)
    assert "| darts drop-in step | V2 | 6.25x | 5.5x |" in text
