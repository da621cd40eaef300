"""Paths as users write them, and files that are read no further than they may be long. No torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO


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
    return read_bytes(path, most).decode("utf-8")


def read_most(file: IO[bytes], most: int) -> bytes:
    """What is left in a file. ValueError where that is more than `most` bytes; so many are read, whatever it says."""
    parts, left = [], most + 1
    while left and (part := file.read(min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    if not left:
        raise ValueError(f"it holds more than {most} bytes")
    return b"".join(parts)
