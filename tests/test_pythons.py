"""Every source is read without an error or a warning by each Python that pyproject.toml names and this machine has."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSIONS = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
COMPILE = "import sys; [compile(open(name, encoding='utf-8').read(), name, 'exec') for name in sys.argv[1:]]"


def test_the_oldest_python_is_the_required_one() -> None:
    assert f'requires-python = ">={VERSIONS[0]}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("version", VERSIONS)
def test_each_python_reads_the_sources(version: str) -> None:
    program = shutil.which(f"python{version}")
    env = {
        **os.environ,
        "PYENV_VERSION": version,
    }  # pyenv's shims run the version this names, and fail where it has none
    if program is None or subprocess.run([program, "-c", ""], env=env, capture_output=True).returncode:
        pytest.skip(f"no Python {version} here")
    sources = [str(path) for folder in ("sgl_fast", "tests", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]
    told = subprocess.run(
        [program, "-W", "error", "-c", COMPILE, str(ROOT / "setup.py"), *sources],
        env=env,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
