"""Errors of images and of runs, and those of other libraries, told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def one_line(text: str) -> str:
    """The text with what would begin a line, or steer a terminal, written as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def reason(error: BaseException) -> str:
    """The first line of what an error says that is not empty, its type's name where it says nothing."""
    lines = (getattr(error, "strerror", None) or str(error)).splitlines()
    return one_line(next((line.strip() for line in lines if line.strip()), type(error).__name__))


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Around or on what raises ValueErrors: names of files and classes may hold line feeds."""
    try:
        yield
    except ValueError as error:
        error.args = (one_line(str(error)),)
        raise


class RunStopped(RuntimeError):  # noqa: N818
    """A run that ended before it was done, by a signal, a number that is not finite, or a file.

    One line says why, and where it goes on. code: the exit code that a command line has for it
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class ImageError(ValueError):
    """An image that cannot be read or decoded; one line that names its file.

    The readers raise it where a data set is opened, and `Feed`, out of its decoder's thread, too, where an image that
    is decoded when a batch asks for it turns out to be damaged or gone: `feed.batch(step)` can be asked again, and
    gives the batch of that step once the file is mended.
    """
