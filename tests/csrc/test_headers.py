"""Every C++ header says itself what it needs."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def errors(header: Path) -> str:
    """What g++ says of a source that includes the header twice and nothing else."""
    command = ["g++", "-std=c++17", "-Wall", "-Wno-psabi", "-fsyntax-only", "-x", "c++", "-"]
    source = f'#include "{header}"\n' * 2
    return subprocess.run(command, input=source, capture_output=True, text=True, timeout=300).stderr


@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_every_header_parses_alone() -> None:
    headers = sorted([*(ROOT / "csrc").glob("*.h"), *(ROOT / "csrc" / "cpu").glob("*.h")])
    with ThreadPoolExecutor(2) as pool:
        found = "".join(pool.map(errors, headers))
    assert len(headers) > 20 and not found, found
