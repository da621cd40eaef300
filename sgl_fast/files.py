"""Paths as users write them; files that are read no further than they may be long, and that survive a kill. No torch.

Whatever the moment, a path that is written here holds the old content or the new, never a part.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

# What file systems answer that have no such thing as a synced folder or a lock (network, shared and FUSE folders).
REFUSED = frozenset(
    {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EACCES, errno.EPERM, errno.EBADF}
)
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def user_path(path: str | os.PathLike[str]) -> Path:
    """`~` and `~name` as the shell has them; a name that nobody has stays."""
    return Path(os.path.expanduser(path))


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """What is in a file. OSError where it cannot be read, ValueError where it is no file or longer than `most`."""
    path = user_path(path)
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    with path.open("rb") as file:
        return read_most(file, most)


def read_text(path: str | os.PathLike[str], most: int) -> str:
    """`read_bytes`, which have to be UTF-8."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text: byte {error.start} is not UTF-8") from None


def read_most(file: IO[bytes], most: int) -> bytes:
    """What is left in a file. ValueError where that is more than `most` bytes; so many are read, whatever it says."""
    parts, left = [], most + 1
    while left and (part := file.read(min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    if not left:
        raise ValueError(f"it holds more than {most} bytes")
    return b"".join(parts)


@contextmanager
def replacing(path: str | Path, previous: Path | None = None) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends, and never does when it raises.

    Written beside `path` (os.replace is atomic only within a file system), on the disk before it is renamed; the
    folder is synced after, so that the new name too outlives a power cut. previous: where the old file goes, if there
    is one; a kill between the two renames leaves the old content there, and nothing at `path`.
    """
    path = user_path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            sync(file.fileno())
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # "No space left on device" should say where
        raise
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except PermissionError:  # a folder that may be written, not read
        return
    try:
        sync(folder)
    finally:
        os.close(folder)


@contextmanager
def alone(path: str | Path) -> Iterator[None]:
    """In turn with all processes that ask for the same path, a file that is there meanwhile; folders are made.

    Where the file system has no locks, at once.
    """
    path = user_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def sync(descriptor: int) -> None:
    """On the disk, where the file system knows how: the content is in place either way."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in REFUSED:
            raise


def write_text_atomic(path: str | Path, text: str) -> None:
    """Put `text`, as UTF-8, at `path`."""
    with replacing(path) as file:
        file.write(text.encode())


def sweep(folder: str | Path) -> int:
    """Remove what killed writers left in `folder`; returns how many files. Only for who is alone in the folder."""
    orphans = [p for p in Path(folder).iterdir() if _TEMPORARY.fullmatch(p.name) and p.is_file()]
    for orphan in orphans:
        orphan.unlink(missing_ok=True)
    return len(orphans)
