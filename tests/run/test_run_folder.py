from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sgl_fast.run import checkpoint
from sgl_fast.run.run_folder import RunFolder

HOLDER = """
import os, sys, time
from sgl_fast.run.run_folder import RunFolder
run = RunFolder.create(sys.argv[1])
run.begin({"seed": 1})
if os.fork() == 0:
    print(os.getpid(), flush=True)
    os.close(1)
time.sleep(60)
"""

KILLED = """
import os, pathlib, signal, sys
from sgl_fast.run.run_folder import RunFolder
for name in ("replace", "fsync"):
    for moment in range(1, 4):
        run, call, calls = RunFolder.create(pathlib.Path(sys.argv[1]) / f"{name}{moment}"), getattr(os, name), 0
        run.begin({})
        run.save({"at": 1}, 1)
        run.save({"at": 2}, 2)
        def counted(*args):
            global calls
            calls += 1
            if calls == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args)
        if (child := os.fork()) == 0:
            setattr(os, name, counted)
            run.save({"at": 3}, 3)
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert killed == (moment < 3), "two renames and two syncs are all there are"
"""


def begun(folder: Path) -> RunFolder:
    run = RunFolder.create(folder)
    run.begin({})
    return run


def refused(call, *args) -> str:
    with pytest.raises(ValueError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_writes_and_a_resume_reads(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "deep" / "run") as run:
        run.begin({"space": "darts", "xi": 0.1})
        run.load(lambda state: pytest.fail("there is none"))
        run.log({"step": 1, "train_loss": [1.5, 2.0]})
        assert run.path("metrics.jsonl").read_text() == '{"step": 1, "train_loss": [1.5, 2.0]}\n', "not flushed"
        run.write_json("best.json", {"learner": 1})
        run.save({"w": torch.ones(2)}, 1)
    with RunFolder.open(tmp_path / "deep" / "run") as run:
        assert run.config == {"space": "darts", "xi": 0.1}
        assert run.read_metrics() == [{"step": 1, "train_loss": [1.5, 2.0]}]
        assert run.read_json("best.json") == {"learner": 1}
        states: list[dict[str, Any]] = []
        run.load(lambda state: states.append(state) or 1)
        assert torch.equal(states[0]["w"], torch.ones(2)) and run.good == 1


def test_log_takes_array_numbers_and_keeps_to_json(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path) as run:
        run.log(
            {"step": 3, "a": np.float32(0.5), "b": torch.ones(2), "c": (1, float("nan"), float("-inf")), "d": {1: 2}}
        )
        line = run.path("metrics.jsonl").read_text()
        assert line == '{"step": 3, "a": 0.5, "b": [1.0, 1.0], "c": [1, null, null], "d": {"1": 2}}\n'
        for bad in ({}, {"step": 1.0}, {"step": True}):
            assert "int step" in refused(run.log, bad)


@pytest.mark.parametrize("left", ["config.json", "metrics.jsonl", "checkpoint.pt", "checkpoint.prev.pt"])
def test_a_folder_that_holds_a_run_is_refused(tmp_path: Path, left: str) -> None:
    (tmp_path / left).write_text("{}")
    message = refused(RunFolder.create, tmp_path)
    assert str(tmp_path) in message and "--resume" in message
    assert (tmp_path / left).read_text() == "{}"


def test_a_run_that_does_not_begin_leaves_no_folder(tmp_path: Path) -> None:
    """Nor those around it that were made for it; what was there before, or holds something, stays."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "notes").mkdir()
    for folder in ("runs/one", "mine", "notes/two"):
        with RunFolder.create(tmp_path / folder) as run:
            if folder == "notes/two":
                run.path("note.txt").write_text("a")
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "notes"}
    assert (tmp_path / "notes" / "two" / "note.txt").exists()
    begun(tmp_path / "runs" / "one").close()
    assert (tmp_path / "runs" / "one" / "config.json").exists()


def test_nothing_to_resume_is_refused(tmp_path: Path) -> None:
    assert "no run to resume" in refused(RunFolder.open, tmp_path / "absent")
    for content in ("{half", "[" * 200_000, "[]", "7"):
        (tmp_path / "config.json").write_text(content)
        assert str(tmp_path / "config.json") in refused(RunFolder.open, tmp_path)
    (tmp_path / "config.json").write_text("{}")
    RunFolder.open(tmp_path).close()  # a refusal keeps no lock


def test_a_second_run_is_refused_and_names_the_folder(tmp_path: Path) -> None:
    with begun(tmp_path):
        for call in (lambda: RunFolder.open(tmp_path), lambda: RunFolder.create(tmp_path)):
            assert refused(call) == f"another run is at work in {tmp_path}"
    RunFolder.open(tmp_path).close()


def test_a_killed_run_frees_the_folder_though_its_worker_lives(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        worker = int(holder.stdout.readline())
        try:
            assert "another run" in refused(RunFolder.open, tmp_path)
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
            os.kill(worker, 0)
            with RunFolder.open(tmp_path) as run:
                assert run.config == {"seed": 1}
        finally:
            holder.kill()
            os.kill(worker, signal.SIGKILL)


def test_places_that_cannot_be_written_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    assert refused(RunFolder.create, file) == f"cannot make run folder {file}: it is a file"
    assert refused(RunFolder.create, file / "run") == f"cannot make run folder {file / 'run'}: {file} is a file"
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)  # root may write anywhere
        assert refused(RunFolder.create, tmp_path) == f"cannot write in run folder {tmp_path}: no permission"
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / ".lock").mkdir()  # for root, too, a lock that cannot be opened
    assert refused(RunFolder.create, closed).startswith(f"cannot write in run folder {closed}: ")


def test_resumed_metrics_equal_those_of_an_uninterrupted_run(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    draw = random.Random(seed)
    records = [{"step": s, "loss": [draw.gauss(0, 1), 1e-30 * draw.random()]} for s in range(1, 9)]
    with RunFolder.create(tmp_path / "whole") as run:
        for record in records:
            run.log(record)
    whole = run.path("metrics.jsonl").read_bytes()
    with begun(tmp_path / "cut") as run:
        for record in records[:6]:
            run.log(record)
    with run.path("metrics.jsonl").open("ab") as file:
        file.write(whole.splitlines(keepends=True)[6][:-9])  # killed in the middle of a line
    with RunFolder.open(tmp_path / "cut") as run:
        assert len(run.read_metrics()) == 6
        assert run.truncate_metrics(4) == 2
        for record in records[4:]:
            run.log(record)
        assert run.path("metrics.jsonl").read_bytes() == whole
        assert run.truncate_metrics(8) == 0
        run.log({"step": 9})  # truncation in the middle of a session leaves a folder that logs
        assert run.path("metrics.jsonl").read_bytes() == whole + b'{"step": 9}\n'


@pytest.mark.parametrize("tail", [b'{"step": 2, "lo', b'{"step": 2, "name": "\xc3'])
def test_a_half_line_does_not_swallow_the_next(tmp_path: Path, tail: bytes) -> None:
    with RunFolder.create(tmp_path) as run:
        run.path("metrics.jsonl").write_bytes(b'{"step": 1}\n' + tail)
        run.log({"step": 2})
        assert run.read_metrics() == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("line", ["{half", "[]", "{}", "\xff", '{"step": null}', "7", "[" * 200_000])
def test_a_damaged_middle_line_is_named(tmp_path: Path, line: str) -> None:
    with RunFolder.create(tmp_path) as run:
        run.path("metrics.jsonl").write_text('{"step": 1}\n' + line + '\n{"step": 3}\n')
        for call in (run.read_metrics, lambda: run.truncate_metrics(2)):
            assert f"line 2 of {run.path('metrics.jsonl')}" in refused(call)
        assert run.path("metrics.jsonl").read_text().endswith('{"step": 3}\n')


def test_json_is_whole_and_orphans_are_swept(tmp_path: Path) -> None:
    with begun(tmp_path) as run:
        run.write_json("genotype.json", {"a": 1})
        with pytest.raises(TypeError):
            run.write_json("genotype.json", {"a": object()})
        assert json.loads(run.path("genotype.json").read_text()) == {"a": 1}
    orphan = tmp_path / ".checkpoint.pt.0123abcd.tmp"
    orphan.touch()
    RunFolder.open(tmp_path).close()
    assert not orphan.exists()


def saved(folder: Path, *steps: int) -> RunFolder:
    run = begun(folder)
    for step in steps:
        run.save({"at": step}, step)
    return run


def at(folder: Path) -> tuple[int | None, list[str]]:
    """What a resume goes on from, and what it says."""
    with RunFolder.open(folder) as run:
        run.load(lambda state: state["at"])
        return run.good, run.notes


def test_the_checkpoint_before_stays(tmp_path: Path) -> None:
    with saved(tmp_path, 1, 2, 3):
        pass
    assert [checkpoint.load(tmp_path / name)["at"] for name in ("checkpoint.pt", "checkpoint.prev.pt")] == [3, 2]
    assert at(tmp_path) == (3, [])


@pytest.mark.parametrize("damage", ["truncated", "gone", "foreign"])
def test_the_one_before_is_taken_where_the_newest_cannot_be_read(tmp_path: Path, damage: str) -> None:
    """And said; the next save keeps the good one, not the damaged one."""
    newest, previous = tmp_path / "checkpoint.pt", tmp_path / "checkpoint.prev.pt"
    with saved(tmp_path, 1, 2):
        pass
    if damage == "gone":
        newest.unlink()
    else:
        newest.write_bytes(newest.read_bytes()[:-9] if damage == "truncated" else b"x")
    step, notes = at(tmp_path)
    assert step == 1 and len(notes) == 1
    said = f"cannot read checkpoint {newest}: .*; going on from checkpoint.prev.pt, the one before"
    assert re.fullmatch(said, notes[0])
    with RunFolder.open(tmp_path) as run:
        run.load(lambda state: state["at"])
        run.save({"at": 5}, 5)
        assert checkpoint.load(previous)["at"] == 1
        run.save({"at": 6}, 6)
        assert checkpoint.load(previous)["at"] == 5
    newest.write_bytes(b"x")
    previous.write_bytes(b"y")
    with RunFolder.open(tmp_path) as run:
        message = refused(run.load, lambda state: state["at"])
        assert str(newest) in message and str(previous) in message


def test_at_every_moment_of_a_save_one_of_the_two_is_whole(tmp_path: Path) -> None:
    """Killed at each rename and each sync of the third save; a resume has the second or the third."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=True)
    found = {folder.name: at(folder)[0] for folder in tmp_path.iterdir()}
    assert found == {"replace1": 2, "replace2": 2, "replace3": 3, "fsync1": 2, "fsync2": 3, "fsync3": 3}


def test_import_is_without_torch() -> None:
    code = "import sys, sgl_fast.run.run_folder; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
