"""What surrounds a run: file systems, folders that move, the environment, streams that nobody reads."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from states import differences

from sgl_fast import search
from sgl_fast.run import run_lock

SIZES = ["--channels", "4", "--layers", "1", "--nodes", "1", "--batch-size", "4", "--limit", "8", "--quiet"]
SEARCH = ["--data", "embedded", *SIZES, "--epochs", "2", "--order", "2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search") / "run"
    assert search.main([*SEARCH, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_file_systems_without_synced_folders_and_locks(
    code: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    sync = os.fsync

    def fsync(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(code, os.strerror(code))
        sync(file)

    def flock(*args: Any) -> None:
        raise OSError(errno.ENOLCK if code == errno.EINVAL else code, "none")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(run_lock.fcntl, "flock", flock)
    out = tmp_path / "run"
    assert search.main([*SEARCH, "--out", str(out)]) == 0
    assert f"no locks in {out} (none): nothing keeps a second run out" in capsys.readouterr().err
    assert not differences(out, whole)


def test_config_says_what_ran(whole: Path) -> None:
    config = json.loads((whole / "config.json").read_text())
    assert config["config"]["steps_per_epoch"] == 2
    assert config["run"]["data"]["images"] == {"train": 2000, "val": 2000, "test": 1000, "unlabeled": 1000}


def test_folders_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A relative path, then one in the home; moved, they are found by the option, as long as they are equal."""
    pics = tmp_path / "home" / "pics"
    for kind, grey in (("a", 60), ("b", 190)):
        (pics / kind).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (8, 8), (grey, 10 * i, 0)).save(pics / kind / f"{i}.png")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home")
    for name, path in {"relative": "pics", "home": "~/pics"}.items():
        out = str(tmp_path / name)
        arguments = ["--data", f"folder:{path}", *SIZES, "--epochs", "1", "--out", out]
        assert search.main(arguments) == 0
        assert json.loads((tmp_path / name / "config.json").read_text())["data"] == f"folder:{pics}"
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            assert search.main(["--resume", "--quiet", "--out", out]) == 0
    shutil.move(tmp_path / "home" / "pics", tmp_path / "moved")
    capsys.readouterr()
    assert search.main(["--resume", "--quiet", "--out", out]) == 2
    assert search.main(["--resume", "--quiet", "--out", out, "--data", f"folder:{tmp_path / 'moved'}"]) == 0
    (tmp_path / "moved" / "a" / "3.png").unlink()
    assert search.main(["--resume", "--quiet", "--out", out, "--data", f"folder:{tmp_path / 'moved'}"]) == 2
    assert "the data are others; images was " in capsys.readouterr().err


def test_the_environments_backend_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("SGL_FAST_BACKEND", "reference")
    out = tmp_path / "run"
    assert search.main([*SEARCH, "--epochs", "1", "--out", str(out)]) == 0
    assert "backend reference, as asked" in capsys.readouterr().err
    assert (
        json.loads((out / "config.json").read_text())["run"]["backend"]
        == f"reference on {torch.get_num_threads()} CPU threads"
    )
    monkeypatch.setenv("SGL_FAST_BACKEND", "fast")
    assert search.main([*SEARCH, "--out", str(tmp_path / "other")]) == 2
    assert "SGL_FAST_BACKEND: unknown backend 'fast'" in capsys.readouterr().err


# Standard streams: a pipe whose reader goes away, none at all, and an encoding that lacks letters.
def shell(line: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    whole_line = f'"$0" -m sgl_fast.search "$@" {line}'
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {whole_line}", sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize("line", ["2>&1 | head -c 9", "<&- >&- 2>&-", "> /dev/full 2> /dev/full"])
def test_streams_that_nobody_reads_end_no_run(line: str, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    loud = [argument for argument in SEARCH if argument != "--quiet"]
    assert shell(line, *loud, "--out", str(out)).returncode == 0
    assert not differences(out, whole)


def test_any_name_is_shown_by_any_terminal(tmp_path: Path) -> None:
    out = tmp_path / "größe und mehr"
    done = shell("", *SEARCH, "--epochs", "1", "--out", str(out), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    shown = str(out).encode("ascii", "backslashreplace").decode()
    assert f"--genotype '{shown}'" in done.stdout
