"""The folder of one run: who may write in it, its metrics, its JSON files and its checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path
from typing import IO, Any

from .. import files
from . import checkpoint
from .identity import RUN, SHORTER, differences
from .run_lock import locked, remove_empty
from .sinks import Sinks

CONFIG, METRICS = "config.json", "metrics.jsonl"
CHECKPOINT, PREVIOUS = "checkpoint.pt", "checkpoint.prev.pt"


class RunFolder:
    """config.json, metrics.jsonl, checkpoint.pt and whatever else a run writes, locked against a second run.

    Made by `create` or `open`; a context manager. The operating system releases the lock at any death.
    checkpoint.prev.pt is the checkpoint before.

    identity  of `identity.identity`, set before checkpoints are written or read
    good      the step of the newest good checkpoint, None where there is none
    notes     lines for the user
    """

    def __init__(
        self, folder: Path, lock: IO[str] | None = None, notes: Sequence[str] = (), made: Sequence[Path] = ()
    ) -> None:
        self.folder, self._made = folder, made  # made: folders that were not there before
        self.config: dict[str, Any] = {}
        self.identity: dict[str, Any] | None = None
        self.good: int | None = None
        self.notes = [*notes]
        self._newest_is_good = True
        self._lock = lock
        self._metrics: FileIO | None = None
        self.sinks = Sinks()

    @classmethod
    def create(cls, path: str | Path) -> RunFolder:
        """For a new run, which `begin` begins. A folder that holds one, is in use or cannot be written is a ValueError
        of one line.
        """
        folder = files.user_path(path)
        if not folder.is_dir():
            check_free(folder)
        made = [one for one in (folder, *folder.parents) if not one.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"cannot make run folder {folder}: {error.strerror}") from error
        run = cls(folder, *locked(folder), made)
        try:
            check_free(folder)
            files.sweep(folder)
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """A run to resume, its `config` read back. No run there, or one in use, is a ValueError of one line."""
        folder = files.user_path(path)
        config_in(folder)
        run = cls(folder, *locked(folder))
        try:
            files.sweep(folder)
            run.config = run.read_config()
        except BaseException:
            run.close()
            raise
        return run

    def begin(self, config: dict[str, Any]) -> None:
        """Write config.json: from now on the folder holds a run."""
        self.config = config
        try:
            self.write_json(CONFIG, config)
        except BaseException:
            self.path(CONFIG).unlink(missing_ok=True)
            raise

    def read_config(self) -> dict[str, Any]:
        config = self.read_json(CONFIG)
        if not isinstance(config, dict):
            raise ValueError(f"{self.path(CONFIG)} holds no settings")
        return config

    def path(self, name: str) -> Path:
        return self.folder / name

    def log(self, record: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl, unbuffered. `record["step"]` is an int, the steps done so far.

        Numbers with a `tolist` (numpy, torch) are taken as they are; NaN and infinities become null, as JSON has none.
        """
        if type(record.get("step")) is not int:
            raise ValueError(f"need a record with an int step; got {record.get('step')!r}")
        line = json.dumps(plain(record), allow_nan=False)
        if self._metrics is None:
            self._rewrite_metrics(_lines(self.path(METRICS)))  # a half line would swallow the next one
            self._metrics = self.path(METRICS).open("ab", buffering=0)
        rest = memoryview(line.encode() + b"\n")
        while rest:  # a disk that is nearly full takes a part
            rest = rest[self._metrics.write(rest) :]
        self.sinks.log(json.loads(line))

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
        files.write_text_atomic(self.path(name), json.dumps(plain(value), indent=2, allow_nan=False) + "\n")

    def read_json(self, name: str) -> Any:
        path = self.path(name)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error

    def save(self, state: dict[str, Any], step: int) -> None:
        """Write checkpoint.pt, after so many steps, and keep the one before.

        State that is not finite is a FloatingPointError. The metrics go to the disk first: no power cut leaves fewer
        lines than steps.
        """
        if self._metrics is not None:
            files.sync(self._metrics.fileno())
        whole = {RUN: {**(self.identity or {}), "step": step}, **state}
        checkpoint.save(self.path(CHECKPOINT), whole, self.path(PREVIOUS) if self._newest_is_good else None)
        self._newest_is_good, self.good = True, step

    def check_identity(self, identity: dict[str, Any]) -> None:
        """ValueError where config.json is of other settings or data. Its software may be another: no step is done."""
        self.identity = identity
        try:
            differences(self.config.get(RUN), identity)
        except ValueError as error:
            raise ValueError(f"{self.path(CONFIG)}: {error}") from error

    def load(self, take: Callable[[dict[str, Any]], int]) -> None:
        """Gives `take`, which returns the step, what `save` wrote, unless the run was stopped before it did.

        Where the newest cannot be read, or a kill took its name, it is the one before, and a note of it. ValueError
        where neither can, where the checkpoint is of another run, or where `take` raises one.
        """
        newest, previous = self.path(CHECKPOINT), self.path(PREVIOUS)
        if not newest.exists() and not previous.exists():
            return
        path, state = self._readable(newest, previous)
        written = state.pop(RUN, None)
        try:
            if self.identity is not None:
                self.notes += [f"{path}: {line}" for line in differences(written, self.identity)]
            self.good = take(state)
        except ValueError as error:
            other = f"; without it --resume goes on from {PREVIOUS}" if path == newest and previous.exists() else ""
            raise ValueError(f"{path}: {error}{other}") from error

    def _readable(self, newest: Path, previous: Path) -> tuple[Path, dict[str, Any]]:
        try:
            return newest, checkpoint.load(newest)
        except ValueError as error:
            if not previous.exists():
                raise
            newest_error = error
        try:
            state = checkpoint.load(previous)
        except ValueError as error:
            raise ValueError(f"{newest_error}; and {error}") from error
        self.notes.append(f"{newest_error}; going on from {PREVIOUS}, the one before")
        self._newest_is_good = False
        return previous, state

    def log_to(self, names: Sequence[str]) -> None:
        """Also to these sinks, from here on."""
        self.sinks = Sinks.opened(names, self)

    def close(self) -> None:
        self._close_metrics()
        self.sinks.close()
        remove_empty(self._made)  # of a run that did not begin
        if self._lock is not None:
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
            with files.replacing(path) as file:
                file.write(content)

    def grow(self, config: dict[str, Any], identity: dict[str, Any]) -> None:
        """The run has other settings from here on; its checkpoints are still its own. identity: with these settings"""
        before = self.identity or {}
        self.identity = {**identity, SHORTER: [*before.get(SHORTER, []), before.get("settings")]}
        self.write_json(CONFIG, {**config, RUN: self.identity})


class Follower(RunFolder):
    """A run in a process that does not lead: it neither reads nor writes, and need not see the folder."""

    def begin(self, config: dict[str, Any]) -> None:
        self.config = config

    def load(self, take: Callable[[dict[str, Any]], int]) -> None:
        pass

    def read_metrics(self) -> list[dict[str, Any]]:
        return []

    def log(self, record: dict[str, Any]) -> None:
        pass

    def log_to(self, names: Sequence[str]) -> None:
        pass

    def truncate_metrics(self, step: int) -> int:
        return 0

    def write_json(self, name: str, value: Any) -> None:
        pass

    def save(self, state: dict[str, Any], step: int) -> None:
        self.good = step


def check_free(folder: Path) -> None:
    """ValueError where a new run cannot have the folder."""
    for one in (folder, *folder.parents):
        if one.exists() and not one.is_dir():
            raise ValueError(f"cannot make run folder {folder}: {'it' if one == folder else one} is a file")
    if any((folder / name).exists() for name in (CONFIG, METRICS, CHECKPOINT, PREVIOUS)):
        raise ValueError(f"{folder} already holds a run: go on with --resume {folder}, or choose another folder")


def config_in(folder: Path) -> Path:
    """The config.json of a run. ValueError where there is none."""
    if not (folder / CONFIG).is_file():
        raise ValueError(f"no run to resume in {folder}: it has no {CONFIG}")
    return folder / CONFIG


def _lines(path: Path) -> list[bytes]:
    """The lines of the file with their ends, without an unfinished last one; none where there is no file."""
    content = path.read_bytes() if path.exists() else b""
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


def _record(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        raise ValueError(f"line {number} of {path} is not a record with a step: {line[:60]!r}")
    return record


def plain(value: Any) -> Any:
    """Value as JSON has it: lists and numbers in place of tensors, null for what is not finite."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
