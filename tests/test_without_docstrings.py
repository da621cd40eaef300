"""The commands under python -OO, which drops docstrings and asserts."""

from __future__ import annotations

import subprocess
import sys

HELP = """
from sgl_fast import doctor, evaluate, search
from sgl_fast.data import make_embedded

for command in (doctor, evaluate, make_embedded, search):
    try:
        command.main(["--help"])
    except SystemExit as end:
        if end.code:
            raise
print("every command helped")
"""


def test_every_command_prints_its_help() -> None:
    run = subprocess.run([sys.executable, "-OO", "-c", HELP], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0 and "every command helped" in run.stdout, run.stderr
