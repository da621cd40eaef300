"""Runs that files, disks and signals interrupt: one line, what was good stays, --resume ends the same."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from states import differences, same

from sgl_fast import evaluate, search
from sgl_fast.data.loader import Feed
from sgl_fast.errors import ImageError
from sgl_fast.run import checkpoint, command
from sgl_fast.sgl.search import Search

SIZES = ["--channels", "4", "--layers", "1", "--nodes", "1", "--batch-size", "4", "--limit", "8", "--quiet"]
SEARCH = ["--data", "embedded", *SIZES, "--epochs", "2", "--order", "2"]
EVALUATE = ["--genotype", "DARTS_V2", "--data", "embedded", "--channels", "2", "--layers", "2", "--epochs", "2"]
EVALUATE += ["--batch-size", "8", "--limit", "8", "--quiet"]
PROGRAMS: dict[str, tuple[Any, list[str]]] = {"search": (search, SEARCH), "evaluate": (evaluate, EVALUATE)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) / "run" for name in PROGRAMS}
    for name, (program, arguments) in PROGRAMS.items():
        assert program.main([*arguments, "--out", str(folders[name])]) == 0
    return folders


def failing(function: Callable[..., Any], at: int, error: BaseException) -> Callable[..., Any]:
    """The function, whose call number `at` raises."""
    calls = 0

    def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise error
        return function(*args, **kwargs)

    return called


BAD_FILES = [ImageError("a/b.jpg: not a readable image (truncated)"), FileNotFoundError(2, "No such file", "a/b.jpg")]


@pytest.mark.parametrize("error", BAD_FILES, ids=["damaged", "gone"])
@pytest.mark.parametrize("where", ["step 2", "step 3", "validation"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_file_that_cannot_be_read_in_mid_run_is_named_and_the_run_saved(
    name: str, where: str, error: Exception, whole: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """In the middle of an epoch, at the first batch of one, and in the validation at its end."""
    program, arguments = PROGRAMS[name]
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        if where == "validation":

            def broken(*args: Any) -> Iterator[Any]:
                yield next(evaluation(*args))
                raise error

            evaluation = Feed.evaluation
            patch.setattr(Feed, "evaluation", broken)
        else:
            method = {"search": "batch", "evaluate": "labeled"}[name]
            patch.setattr(Feed, method, failing(getattr(Feed, method), int(where[-1]), error))
        assert program.main([*arguments, "--out", str(out)]) == command.FILES
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"python -m sgl_fast.{name}: a/b.jpg: ") and f"where --resume {out} goes on" in last
    step = {"search": {"step 2": 1, "step 3": 2, "validation": 1}, "evaluate": {"step 2": 1, "step 3": 2}}
    saved = step[name].get(where, 2)
    assert checkpoint.load(out / "checkpoint.pt")["run"]["step"] == saved and f"saved at step {saved}" in last
    assert program.main(["--resume", "--quiet", "--out", str(out)]) == 0
    assert not differences(out, whole[name])


def test_an_image_that_is_damaged_in_mid_run(tmp_path: Path, capsys: Any) -> None:
    """Real files: the index is made, one of its images is cut, the run stops there, and goes on when it is mended."""
    draw = torch.Generator().manual_seed(0)
    for part, images in (("train", 40), ("val", 3)):
        for kind in "ab":
            folder = tmp_path / "data" / part / kind
            folder.mkdir(parents=True)
            for i in range(images):
                pixels = torch.randint(256, (40, 40, 3), generator=draw).byte().numpy()
                Image.fromarray(pixels).save(folder / f"{i}.jpg")
    arguments = ["--data", "imagenet", "--root", str(tmp_path / "data"), "--image-size", "32", *SIZES]
    arguments += ["--batch-size", "2", "--epochs", "3"]
    assert search.main([*arguments, "--out", str(tmp_path / "whole")]) == 0
    index = json.loads(next((tmp_path / "data").glob("sgl_split*.json")).read_text())
    victim = tmp_path / "data" / index["train"][5]
    content = victim.read_bytes()
    victim.write_bytes(content[: len(content) // 2])
    out = tmp_path / "run"
    assert search.main([*arguments, "--out", str(out)]) == command.FILES
    assert f"{victim}: not a readable image" in capsys.readouterr().err.splitlines()[-1]
    assert search.main(["--resume", "--quiet", "--out", str(out)]) == command.FILES, "no way past it"
    victim.write_bytes(content)
    assert search.main(["--resume", "--quiet", "--out", str(out)]) == 0
    assert not differences(out, tmp_path / "whole")


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("call", range(1, 6))
def test_a_full_disk_is_one_line(
    name: str, call: int, whole: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """At any write: the folder stays free where nothing was begun, else --resume goes on from the last checkpoint."""
    program, arguments = PROGRAMS[name]
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync, call, OSError(errno.ENOSPC, "No space left on device")))
        code = program.main([*arguments, "--out", str(out)])
    lines = capsys.readouterr().err.splitlines()
    begun = (out / "config.json").exists()
    assert "No space left on device" in lines[-1] and not any("Traceback" in line for line in lines)
    assert code == (command.FILES if begun else 2)
    if begun:
        step = checkpoint.load(out / "checkpoint.pt")["run"]["step"] if (out / "checkpoint.pt").exists() else None
        assert lines[-1].endswith(f"last good checkpoint: {'none yet' if step is None else f'step {step}'}")
    assert program.main([*(["--resume", "--quiet"] if begun else arguments), "--out", str(out)]) == 0
    assert not differences(out, whole[name])


def test_a_log_that_does_not_fit_ends_in_one_line(tmp_path: Path) -> None:
    """A real limit of a file's size, met in the middle of a line."""
    limited = (
        "import resource, signal, sys; from sgl_fast import search; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "log = search.RunFolder.log;"
        "limit = lambda *a: (resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700)), log(*a));"
        "search.RunFolder.log = limit; sys.exit(search.main(sys.argv[1:]))"
    )
    out = tmp_path / "run"
    done = subprocess.run([sys.executable, "-c", limited, *SEARCH, "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == command.FILES, done.stderr
    assert done.stderr.splitlines()[-1].endswith("File too large; last good checkpoint: none yet")
    assert search.main(["--resume", "--quiet", "--out", str(out)]) == 0
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 700


def test_unexpected_errors_keep_their_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Search, "step", failing(Search.step, 2, ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        search.main([*SEARCH, "--out", str(tmp_path / "run")])


def test_a_broken_disk_is_not_a_file_system_without_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(os.fsync, 1, OSError(errno.EIO, "Input/output error")))
    assert search.main([*SEARCH, "--out", str(tmp_path / "run")]) == 2
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_signal_in_the_validation_saves(name: str, whole: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Which may take longer than a scheduler waits; the run then ends as it would have."""
    program, arguments = PROGRAMS[name]
    out, evaluation = tmp_path / "run", Feed.evaluation

    def signalled(*args: Any) -> Iterator[Any]:
        for batch in evaluation(*args):
            os.kill(os.getpid(), signal.SIGUSR1)
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(Feed, "evaluation", signalled)
        assert program.main([*arguments, "--out", str(out)]) == 128 + signal.SIGUSR1
    assert checkpoint.load(out / "checkpoint.pt")["run"]["step"] == {"search": 1, "evaluate": 2}[name]
    assert program.main(["--resume", "--quiet", "--out", str(out)]) == 0
    assert not differences(out, whole[name])


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_run_that_is_done_draws_what_is_not_drawn(name: str, whole: Any, tmp_path: Path) -> None:
    """Killed after the last checkpoint."""
    out = shutil.copytree(whole[name], tmp_path / "run")
    pictures = {path.name for path in out.glob("*.png")}
    for picture in pictures:
        (out / picture).unlink()
    assert pictures and PROGRAMS[name][0].main(["--resume", "--quiet", "--out", str(out)]) == 0
    assert {path.name for path in out.glob("*.png")} == pictures


def test_an_architecture_that_never_moved_is_no_genotype(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert search.main([*SEARCH, "--arch-start", "2", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "no genotype: the architecture never moved in 2 epochs" in said.out and "evaluate it" not in said.out
    assert "the architecture will not move: it would from epoch 2 on, of 2" in said.err
    assert not (out / "best.json").exists() and not (out / "genotype.json").exists()


def test_a_run_grows_where_its_schedule_is_no_longer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a constant rate it is the longer run to the bit, and goes on from older checkpoints; a cosine is refused."""
    constant = [*SEARCH, "--lr", "0.05", "--lr-min", "0.05"]
    long, out, cosine = (str(tmp_path / name) for name in ("long", "grown", "cosine"))
    assert search.main([*constant, "--epochs", "4", "--out", long]) == 0
    assert search.main([*constant, "--out", out]) == 0
    for epochs in (3, 4):
        assert search.main(["--resume", out, "--epochs", str(epochs), "--quiet"]) == 0
    config = json.loads((tmp_path / "grown" / "config.json").read_text())
    assert config["config"]["epochs"] == 4 and len(config["run"]["shorter"]) == 2
    assert set(differences(tmp_path / "grown", tmp_path / "long")) == {"config.json", "checkpoint.pt"}
    states = [{**checkpoint.load(tmp_path / name / "checkpoint.pt"), "run": None} for name in ("grown", "long")]
    assert same(*states)
    (tmp_path / "grown" / "checkpoint.pt").unlink()
    assert search.main(["--resume", out, "--quiet"]) == 0, "from the one before"
    assert search.main([*SEARCH, "--out", cosine]) == 0
    before = {path: path.read_bytes() for path in Path(cosine).iterdir() if path.is_file()}
    capsys.readouterr()
    for asked, says in {
        "3": "--epochs 3: the run to resume has 2; lr_w, lr_v of epoch 2 would have been others: it may grow where",
        "1": "--epochs 1: the run to resume has 2, and keeps it",
    }.items():
        assert search.main(["--resume", cosine, "--epochs", asked, "--quiet"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line
    assert {path: path.read_bytes() for path in Path(cosine).iterdir() if path.is_file()} == before


# The command, whose alarm after a SIGTERM would come before a slow machine has saved.
PATIENT = """
import sys
from sgl_fast import evaluate
from sgl_fast.run import signals
signals.PATIENCE = 600
sys.exit(evaluate.main())
"""


def test_sigterm_leaves_a_checkpoint_of_an_evaluation(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-c", PATIENT, *EVALUATE, "--epochs", "10000", "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not (out / "metrics.jsonl").exists() and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert process.wait(600) == 143
        finally:
            process.kill()
    assert checkpoint.load(out / "checkpoint.pt")["step"] > 0
