"""Commands that have a limit of seconds, and whose children end with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
GRACE = 2.0  # seconds that a process has after a polite signal


class Done(NamedTuple):
    """code: None where the limit ended it."""

    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> str:
        """What it said of itself, errors last."""
        return "\n".join(filter(None, [self.out.strip(), self.err.strip()]))


def run(
    command: Sequence[str], limit: float, environment: Mapping[str, str] | None = None, grace: float = GRACE
) -> Done:
    """Runs it in ROOT; one that runs commands itself needs more grace.

    Output goes to files: a pipe that a grandchild holds would keep us waiting after the end.
    """
    start = time.monotonic()
    env = {**os.environ, **(environment or {})}
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        try:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=err, start_new_session=True)
        except OSError as error:
            return Done(127, "", f"{command[0]}: {error.strerror}", 0.0)
        code = None
        try:
            code = process.wait(max(limit, 0))
        except subprocess.TimeoutExpired:
            pass
        finally:
            end(process, grace)
        seconds = time.monotonic() - start
        return Done(code, _read(out), _read(err), seconds)


def end(process: subprocess.Popen[Any], grace: float) -> None:
    """Ends the process and what is left of its group, politely first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(grace)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def pass_on_the_end() -> None:
    """A SIGTERM raises SystemExit here, so that a command that this process waits for is ended, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _read(file: Any) -> str:
    file.seek(0)
    return str(file.read())
