"""The folder of one run: who may write in it, its metrics, its JSON files and its checkpoint."""

from __future__ import annotations

import fcntl
import json
import math
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from weakref import WeakSet

from . import checkpoint

if TYPE_CHECKING:
    import torch

CONFIG, METRICS = "config.json", "metrics.jsonl"
CHECKPOINT, PREVIOUS = "checkpoint.pt", "checkpoint.prev.pt"
_LOCK = ".lock"
_held: WeakSet[IO[str]] = WeakSet()


def _drop_in_child() -> None:
    # A data worker that outlives a killed run would hold the run's lock with it.
    for lock in list(_held):
        lock.close()


os.register_at_fork(after_in_child=_drop_in_child)


class RunFolder:
    """config.json, metrics.jsonl, checkpoint.pt and whatever else a run writes, locked against a second run.

    Made by `create` or `open`; a context manager. The operating system releases the lock at any death.
    checkpoint.prev.pt is the checkpoint before; notes are lines for the user.
    """

    def __init__(self, folder: Path, lock: IO[str], config: dict[str, Any]) -> None:
        self.folder = folder
        self.config = config
        self.notes: list[str] = []
        self._newest_is_good = True
        self._lock = lock
        self._metrics: IO[bytes] | None = None

    @classmethod
    def create(cls, path: str | Path, config: dict[str, Any]) -> RunFolder:
        """A new run. A folder that holds one, is in use or cannot be written is a ValueError of one line."""
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"cannot make run folder {folder}: {error.strerror}") from error
        lock = _locked(folder)
        try:
            if any((folder / name).exists() for name in (CONFIG, METRICS, CHECKPOINT, PREVIOUS)):
                raise ValueError(f"{folder} already holds a run: continue it with --resume, or choose another folder")
            checkpoint.sweep(folder)
            run = cls(folder, lock, config)
            run.write_json(CONFIG, config)
        except BaseException:
            lock.close()
            raise
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """A run to resume, its `config` read back. No run there, or one in use, is a ValueError of one line."""
        folder = Path(path)
        if not (folder / CONFIG).is_file():
            raise ValueError(f"no run to resume in {folder}: it has no {CONFIG}")
        lock = _locked(folder)
        try:
            checkpoint.sweep(folder)
            run = cls(folder, lock, {})
            run.config = run.read_json(CONFIG)
        except BaseException:
            lock.close()
            raise
        return run

    def path(self, name: str) -> Path:
        return self.folder / name

    def log(self, record: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl and flush it. `record["step"]` is an int, the steps done so far.

        Numbers with a `tolist` (numpy, torch) are taken as they are; NaN and infinities become null, as JSON has none.
        """
        if type(record.get("step")) is not int:
            raise ValueError(f"need a record with an int step; got {record.get('step')!r}")
        line = json.dumps(_plain(record), allow_nan=False)
        if self._metrics is None:
            self._rewrite_metrics(_lines(self.path(METRICS)))  # a half line would swallow the next one
            self._metrics = self.path(METRICS).open("ab")
        self._metrics.write(line.encode() + b"\n")
        self._metrics.flush()

    def read_metrics(self) -> list[dict[str, Any]]:
        """The records logged so far, without a half-written last line."""
        return [_record(line, i, self.path(METRICS)) for i, line in enumerate(_lines(self.path(METRICS)), 1)]

    def truncate_metrics(self, step: int) -> int:
        """Cut off the lines past `step`, the steps done at the checkpoint, and a half-written last one.

        What is kept is kept to the byte. Returns how many whole lines went.
        """
        lines = _lines(self.path(METRICS))
        kept = [line for line, record in zip(lines, self.read_metrics(), strict=True) if record["step"] <= step]
        self._rewrite_metrics(kept)
        return len(lines) - len(kept)

    def write_json(self, name: str, value: Any) -> None:
        """Put `value` in the file `name`, atomically."""
        checkpoint.write_text_atomic(self.path(name), json.dumps(_plain(value), indent=2, allow_nan=False) + "\n")

    def read_json(self, name: str) -> Any:
        path = self.path(name)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error

    def save(self, state: dict[str, Any]) -> None:
        """Write checkpoint.pt and keep the one before. State that is not finite is a FloatingPointError.

        The metrics go to the disk first: no power cut leaves fewer lines than steps.
        """
        if self._metrics is not None:
            os.fsync(self._metrics.fileno())
        checkpoint.save(self.path(CHECKPOINT), state, self.path(PREVIOUS) if self._newest_is_good else None)
        self._newest_is_good = True

    def load(self, map_location: str | torch.device = "cpu") -> dict[str, Any] | None:
        """What `save` wrote, or None where the run was stopped before its first checkpoint.

        Where the newest cannot be read, or a kill took its name, the one before, and a note of it; ValueError where
        there is none.
        """
        newest, previous = self.path(CHECKPOINT), self.path(PREVIOUS)
        if not newest.exists() and not previous.exists():
            return None
        try:
            return checkpoint.load(newest, map_location)
        except ValueError as error:
            if not previous.exists():
                raise
            newest_error = error
        try:
            state = checkpoint.load(previous, map_location)
        except ValueError as error:
            raise ValueError(f"{newest_error}; and {error}") from error
        self.notes.append(f"{newest_error}; going on from {PREVIOUS}, the one before")
        self._newest_is_good = False
        return state

    def close(self) -> None:
        self._close_metrics()
        self._lock.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _close_metrics(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    def _rewrite_metrics(self, lines: list[bytes]) -> None:
        self._close_metrics()
        path, content = self.path(METRICS), b"".join(lines)
        if path.exists() and path.stat().st_size != len(content):
            with checkpoint.replacing(path) as file:
                file.write(content)


def _locked(folder: Path) -> IO[str]:
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
        raise ValueError(f"cannot lock run folder {folder}: {error.strerror}") from error
    _held.add(lock)
    return lock


def _lines(path: Path) -> list[bytes]:
    """The lines of the file with their ends, without an unfinished last one; none where there is no file."""
    content = path.read_bytes() if path.exists() else b""
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


def _record(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        raise ValueError(f"line {number} of {path} is not a record with a step: {line[:60]!r}")
    return record


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
