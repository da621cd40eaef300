"""The lock that keeps a second run out of a folder. The operating system releases it at any death."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO
from weakref import WeakSet

from ..files import REFUSED

_LOCK = ".lock"
_held: WeakSet[IO[str]] = WeakSet()


def _drop_in_child() -> None:
    # A data worker that outlives a killed run would hold the run's lock with it.
    for lock in list(_held):
        lock.close()


os.register_at_fork(after_in_child=_drop_in_child)


def locked(folder: Path) -> tuple[IO[str] | None, list[str]]:
    """The lock, or None and a note where the file system has none."""
    if not os.access(folder, os.W_OK):
        raise ValueError(f"cannot write in run folder {folder}: no permission")
    try:
        lock = (folder / _LOCK).open("a", encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot write in run folder {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ValueError(f"another run is at work in {folder}") from None
    except OSError as error:
        lock.close()
        if error.errno in REFUSED:
            return None, [f"no locks in {folder} ({error.strerror}): nothing keeps a second run out"]
        raise ValueError(f"cannot lock run folder {folder}: {error.strerror}") from error
    _held.add(lock)
    return lock, []


def remove_empty(folders: Sequence[Path]) -> None:
    """Removes folders, the innermost first, that hold nothing but a lock, which may still be held."""
    for folder in folders:
        with suppress(OSError):
            if {path.name for path in folder.iterdir()} - {_LOCK}:
                return
            (folder / _LOCK).unlink(missing_ok=True)
            folder.rmdir()
