"""Files that survive a kill: whatever the moment, the path holds the old content or the new, never a part."""

from __future__ import annotations

import errno
import os
import re
import secrets
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .paths import user_path

if TYPE_CHECKING:
    import torch

PLAIN = (type(None), bool, int, float, str)
# What file systems answer that have no such thing as a synced folder or a lock (network, shared and FUSE folders).
REFUSED = frozenset(
    {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EACCES, errno.EPERM, errno.EBADF}
)
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


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


def save(path: str | Path, state: dict[str, Any], previous: Path | None = None) -> None:
    """Write a dict of tensors, lists, dicts, numbers, strings and None, nested at will; `previous` of `replacing`.

    Anything else is a TypeError that names its place: a safe load (weights_only) would refuse it, too late. A tensor
    that is not finite is a FloatingPointError that names its place.
    """
    import torch

    _check_plain(state, "state")
    with replacing(path, previous) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch, closing its archive, hides the full disk behind an error of its own
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load(path: str | Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """The state that `save` wrote. A missing, truncated, damaged or foreign file is a ValueError of one line."""
    import torch

    try:
        with zipfile.ZipFile(path) as archive:  # torch.load itself does not compare the checksums
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
        state = torch.load(path, map_location=map_location, weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}, not a dict")
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # unpickling a foreign file may raise nearly anything
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"cannot read checkpoint {path}: {reason}") from error
    return state


def _check_plain(value: Any, place: str) -> None:
    # Exact types: a numpy float is a float, a namedtuple a tuple, and neither loads safely.
    import torch

    kind = type(value)
    if kind in PLAIN:
        return
    if kind in (torch.Tensor, torch.nn.Parameter):
        if not value.isfinite().all():
            raise FloatingPointError(f"{place} is not finite")
    elif kind is list:
        for i, item in enumerate(value):
            _check_plain(item, f"{place}[{i}]")
    elif kind in (dict, OrderedDict):
        for key, item in value.items():
            if type(key) not in (str, int):
                raise TypeError(f"a checkpoint's keys are strings or ints; {place} has the key {key!r}")
            _check_plain(item, f"{place}[{key!r}]")
    else:
        raise TypeError(f"a checkpoint holds tensors, lists, dicts, numbers and strings; {place} is a {kind.__name__}")
