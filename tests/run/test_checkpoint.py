from __future__ import annotations

import random
import subprocess
import sys
from collections import OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from sgl_fast import files
from sgl_fast.run import checkpoint

KILLER = """
import itertools, os, random, signal, sys, time, torch
from sgl_fast import files
from sgl_fast.run import checkpoint
path, seed = sys.argv[1], int(sys.argv[2])
draw, orphans, last = random.Random(seed), 0, 0
checkpoint.save(path, {"step": 0, "w": torch.zeros(200_000)})
for kill in range(200):
    if kill >= 10 and last and orphans:  # a busy machine may write nothing between two kills
        break
    writer = os.fork()
    if writer == 0:
        for step in itertools.count(last + 1):
            checkpoint.save(path, {"step": step, "w": torch.full((200_000,), float(step))})
    time.sleep(draw.uniform(0.005, 0.1))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    state = checkpoint.load(path)
    assert state["step"] >= last and torch.equal(state["w"], torch.full((200_000,), float(state["step"])))
    last = state["step"]
    orphans += files.sweep(os.path.dirname(path))
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
print(last, orphans)
"""


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.endswith(".tmp")]


def test_round_trip_is_exact(tmp_path: Path) -> None:
    state = {
        "weights": torch.randn(2, 5, dtype=torch.float64),
        "list": [1, 2.5, "x", None, True, [torch.arange(3)]],
        "optimizer": {0: {"momentum": torch.ones(2)}},
        "modules": OrderedDict(a=torch.zeros(1)),
    }
    checkpoint.save(tmp_path / "c.pt", state)
    again = checkpoint.load(tmp_path / "c.pt")
    assert torch.equal(again["weights"], state["weights"]) and again["weights"].dtype == torch.float64
    assert again["list"][:5] == state["list"][:5] and torch.equal(again["list"][5][0], torch.arange(3))
    assert torch.equal(again["optimizer"][0]["momentum"], torch.ones(2))
    assert again["modules"]["a"].item() == 0
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.float64(1), "float64"),
        (namedtuple("Pair", "a b")(1, 2), "Pair"),  # noqa: PYI024
        (range(3), "range"),
        (Path("x"), "PosixPath"),
        (torch.Generator(), "Generator"),
    ],
)
def test_what_would_not_load_is_refused_with_its_place(tmp_path: Path, value: object, kind: str) -> None:
    with pytest.raises(TypeError) as caught:
        checkpoint.save(tmp_path / "c.pt", {"a": [{"b": value}]})
    assert f"state['a'][0]['b'] is a {kind}" in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_odd_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"state\['a'\] has the key \(1, 2\)"):
        checkpoint.save(tmp_path / "c.pt", {"a": {(1, 2): 3}})


def damaged_files(good: bytes) -> dict[str, bytes]:
    flipped = bytearray(good)
    flipped[good.index(b"\x07" * 64)] ^= 1  # one bit of the tensor's data
    return {
        "empty": b"",
        "truncated": good[: len(good) // 2],
        "no end": good[:-1],
        "text": b"not a checkpoint\n" * 50,
        "flipped": bytes(flipped),
    }


def test_unreadable_files_are_one_line_with_the_name(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"x": torch.full((4096,), 7, dtype=torch.uint8)})
    for what, content in damaged_files(path.read_bytes()).items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cannot read checkpoint") as caught:
            checkpoint.load(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value), what


@pytest.mark.parametrize("content", [[1, 2], {"x": Path("y")}], ids=["a list", "an object"])
def test_foreign_content_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="cannot read checkpoint") as caught:
        checkpoint.load(tmp_path / "c.pt")
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_are_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pt", tmp_path):
        with pytest.raises(ValueError, match=f"cannot read checkpoint {path}: (No such file|Is a directory)"):
            checkpoint.load(path)


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    files.write_text_atomic(path, "old")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and not leftovers(tmp_path)


def test_full_disk_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"step": 1})
    code = """
import resource, signal, sys, torch
from sgl_fast.run import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoint.save(sys.argv[1], {"step": 2, "w": torch.zeros(1_000_000)})
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout == f"[Errno 27] File too large: '{path}'\n", done.stderr
    assert checkpoint.load(path) == {"step": 1} and not leftovers(tmp_path)


def test_sweep_takes_only_temporaries(tmp_path: Path) -> None:
    for name in ("checkpoint.pt", ".c.pt.0123abcd.tmp", ".a.json.deadbeef.tmp", "notes.tmp", ".lock", ".x.tmp"):
        (tmp_path / name).touch()
    assert files.sweep(tmp_path) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", ".x.tmp", "checkpoint.pt", "notes.tmp"]


def test_killed_writers_leave_a_whole_file(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    command = [sys.executable, "-c", KILLER, str(tmp_path / "checkpoint.pt"), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    saves, orphans = map(int, done.stdout.split())
    assert saves > 0 and orphans > 0, "no kill fell into a write: the test proves nothing"
