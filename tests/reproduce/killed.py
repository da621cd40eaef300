"""Runs of `reproduce` that are killed in their midst."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def kill(words: Sequence[str], folder: Path, waits: Sequence[str]) -> None:
    """Starts the command and kills it, with all its processes, once for each file that is waited for in its folder, and
    up to 1.5 s after that.
    """
    draw = random.Random(0)
    for wait in waits:
        command = [sys.executable, "-m", "sgl_fast.reproduce", *words]
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while process.poll() is None and not list(folder.rglob(wait)) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 1.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
