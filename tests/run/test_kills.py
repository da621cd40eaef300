"""Killed at random moments and resumed, a run ends as one that was not: the short form of kills.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_killed_and_resumed_runs_are_those_that_were_not() -> None:
    script = Path(__file__).parents[1] / "kills.py"
    command = [sys.executable, str(script), "--kills", "6", "--cases", "3", "--threads", "1", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 kills (" in done.stdout and " 0 differ" in done.stdout
