"""What the command lines share: refusals of one line, the device, the run to resume, pictures. No torch at import."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from .backend import use_backend
from .data.locate import choose, data_root
from .progress import Progress
from .run_folder import RunFolder

FOLDER = "folder:"


class Parser(argparse.ArgumentParser):
    """A bad argument is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def refuse(prog: str, error: ValueError) -> int:
    """Says what is wrong, in one line, and gives the exit code."""
    print(f"{prog}: {error}", file=sys.stderr)
    return 2


def check_device(name: str) -> None:
    """ValueError unless it is the name of a device, whether there is one or not."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"--device: need auto, cpu, cuda or cuda:N; got {name}")


def put_backend(name: str | None) -> None:
    """The backend of all that follows; None: SGL_FAST_BACKEND's, if it names one, else the best.

    ValueError where there is none of that name, or it cannot run.
    """
    try:
        use_backend(name)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{'SGL_FAST_BACKEND' if name is None else '--backend'}: {error}") from None


def located(data: str | None, root: str | None) -> tuple[str, str | None]:
    """The data set's name, "auto" resolved, and its root; paths are absolute, for a --resume from another folder."""
    root = None if root is None else absolute(root)
    name = choose(data or "auto", root)
    if name.startswith(FOLDER):
        return FOLDER + absolute(name.removeprefix(FOLDER)), root
    return name, absolute(data_root()) if root is None and name != "embedded" else root


def absolute(path: str | Path) -> str:
    return str(Path(path).expanduser().absolute())


def device_of(name: str) -> str:
    """auto is cuda where there is one; a device that is not there is a ValueError."""
    import torch

    count = torch.cuda.device_count()
    if name == "auto":
        return "cuda" if count else "cpu"
    if name.startswith("cuda") and (torch.device(name).index or 0) >= count:
        raise ValueError(f"--device: there is no {name}; torch finds {count} CUDA devices")
    return name


def draw(run: RunFolder, bar: Progress, name: str, plot: Callable[[Path], None]) -> None:
    """One picture of the run; what goes wrong with it is said and does not end the run."""
    try:
        plot(run.path(name))
    except Exception as error:
        bar.write(f"{name} is not drawn: {error}")
