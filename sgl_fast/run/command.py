"""What the command lines share: refusals of one line, the device, the run to resume, pictures. No torch at import."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..backends.choice import asked_for, use_backend
from ..data.cifar_forms import FORMS, archives
from ..data.locate import FROM_PYTHON, PYTHON, choose, data_root, find
from ..errors import ImageError, RunStopped, one_line
from ..files import user_path
from ..limits import flag
from ..setting import SettingError
from .plots.canvas import FORMATS

FOLDER = "folder:"
FILES = 3  # exit code: a file that cannot be read or written in mid-run


class Stopped(Exception):  # noqa: N818
    """A signal came, between two steps or two batches."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


class Unreadable(Exception):  # noqa: N818
    """A file of the data cannot be read in mid-run."""


@contextmanager
def reading() -> Iterator[None]:
    """Around what reads data in mid-run: what a file does is Unreadable."""
    try:
        yield
    except (OSError, ImageError) as error:
        raise Unreadable(one_line_of(error)) from error


def one_line_of(error: BaseException) -> str:
    """What an error says, with the file's name."""
    if isinstance(error, OSError) and error.strerror:
        return one_line(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return one_line(str(error))


def refuse(prog: str, error: OSError | ValueError) -> int:
    """Says what is wrong, in one line, a setting by its flag, and gives the exit code."""
    said = one_line(error.of_flag) if isinstance(error, SettingError) else one_line_of(error)
    name = re.match(r"(image_size|unlabeled|batch size)\b", said)  # as Python says it
    said = flag(name[0].replace(" ", "_")) + said[name.end() :] if name else said
    print(f"{prog}: {said}", file=sys.stderr)
    return 2


def code_of(prog: str, error: OSError | ValueError | RunStopped) -> int:
    """Says what kept a command from its end, in one line, and gives the exit code."""
    if not isinstance(error, RunStopped):
        return refuse(prog, error)
    print(f"{prog}: {error}", file=sys.stderr)
    return error.code


def check_device(name: str) -> None:
    """ValueError unless it is the name of a device, whether there is one or not."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"--device: need auto, cpu, cuda or cuda:N; got {name}")


def put_backend(name: str | None) -> None:
    """The backend of all that follows; None: what was chosen, else SGL_FAST_BACKEND's, if it names one, else the best.

    ValueError where there is none of that name, or it cannot run.
    """
    try:
        asked_for() if name is None else use_backend(name)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{'SGL_FAST_BACKEND' if name is None else '--backend'}: {error}") from None


def located(data: str | None, root: str | None) -> tuple[str, str | None]:
    """The data set's name, "auto" resolved, and its root; paths are absolute, for a --resume from another folder."""
    root = None if root is None else absolute(root)
    name = choose(data or "auto", root)
    if name.startswith(FOLDER):
        return FOLDER + absolute(name.removeprefix(FOLDER)), root
    if name.startswith(PYTHON):
        return name, root
    return name, absolute(data_root()) if root is None and name != "embedded" else root


def check_found(
    given: Mapping[str, Any], data: str, root: str | None, unlabeled: str | None = None, download: bool = False
) -> None:
    """ValueError where files or folders of the data are not there; cheap, nothing is opened.

    given     what is said, which data and root, of `located`, come from
    download  archives that can be fetched may be missing
    """
    said = given.get("root")
    place = os.environ.get("SGL_FAST_DATA") if said is None else said
    if place and given.get("data") in (None, "auto") and not os.path.isdir(user_path(place)):
        raise ValueError(f"{'SGL_FAST_DATA' if said is None else '--root'}: there is no folder {place}")
    if data.startswith(PYTHON):
        raise ValueError(f"--data: {data}: {FROM_PYTHON}")
    if data.startswith(FOLDER) and not find(data, root):
        raise ValueError(f"--data: there is no folder {data.removeprefix(FOLDER)}")
    if not find(data, root) and not (data in FORMS and download):
        remedy = "--download fetches it, or see --root" if data in FORMS else "see --root"
        need = archives(data) if data in FORMS else "train/ and val/"
        raise ValueError(f"--data: {data} is not in {data_root(root)}, which has no {need}; {remedy}")
    if unlabeled not in (None, "train") and not os.path.isdir(user_path(str(unlabeled))):
        raise ValueError(f"--unlabeled: need the word train or a folder; there is no folder {unlabeled}")


def absolute(path: str | Path) -> str:
    return str(user_path(path).absolute())


def device_of(name: str) -> str:
    """auto is cuda where there is one; a device that is not there is a ValueError."""
    import torch

    count = torch.cuda.device_count()
    if name == "auto":
        return "cuda" if count else "cpu"
    if name.startswith("cuda") and (torch.device(name).index or 0) >= count:
        raise ValueError(f"--device: there is no {name}; torch finds {count} CUDA devices")
    return name


def pixels_lack(name: str, imagenet: bool, size: tuple[int, int]) -> list[str]:
    """A line where images, of (H, W) pixels, are too small for ImageNet's form. name: what has it"""
    side = min(size)
    small = imagenet and side < 64
    return [f"{name} is for images of 224 pixels: of {side} its last cells see one"] if small else []


def formats_of(text: str) -> list[str]:
    """Of --figures."""
    found = [] if text == "none" else text.split(",")
    if wrong := [name for name in found if name not in FORMATS]:
        raise ValueError(f"--figures: need some of {', '.join(FORMATS)}, or none; got {wrong[0]!r:.80}")
    return found


class _Kept(io.FileIO):
    """A standard stream that may lose its reader or its terminal: what nobody takes is dropped, and no run ends."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)


def _stopped(number: int, frame: object) -> None:
    with suppress(OSError):
        os.write(2, f"stopped by {signal.Signals(number).name}, with no step under way\n".encode())
    os._exit(128 + number)


def wait_briefly() -> None:
    """How often a thread of libgomp asks whether the others are done before it sleeps: for microseconds.

    By itself for milliseconds, in which it keeps a core from those whom it waits for when other programs run. Nothing
    where the user has said how to wait. libgomp reads it when it is loaded, by torch.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def started(main: Callable[[], int]) -> int:
    """A command line as a program, on standard streams that never raise and show any text in any encoding.

    Ctrl-C, where `stop_requested` does not wait for a step, is one line, wherever libraries are while they load.
    """
    wait_briefly()
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:  # not under nohup
        signal.signal(signal.SIGINT, _stopped)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file would get its number, and a library's warnings
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        encoding = getattr(getattr(sys, name), "encoding", "utf-8")
        raw = io.BufferedWriter(_Kept(number, "w", closefd=False))
        setattr(sys, name, io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=True))
    return main()
