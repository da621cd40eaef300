"""One name for all commands, the version, and Ctrl-C while libraries load."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sgl_fast
from sgl_fast import __main__ as entry
from sgl_fast import doctor, evaluate, search
from sgl_fast.run.options import tomllib

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
NOT_OLDEST = "try:\n    pass\nexcept* OSError:\n    pass\n"  # of Python 3.11
LOADING = """
import time
from sgl_fast.run.command import started
def main():
    print("loading", flush=True)
    time.sleep(60)
    return 0
started(main)
"""


TORCH = """
from sgl_fast.run.command import started
def main():
    import torch
    return 0
started(main)
"""


def ended(words: list[str], main=entry.main) -> int:
    try:
        return main(words)
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_every_command_is_reached(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended([name, "--help"]) == 0
    assert f"usage: python -m sgl_fast.{name} " in capsys.readouterr().out
    assert ended([name, "--nothing"]) == 2
    assert capsys.readouterr().err.startswith(f"python -m sgl_fast.{name}: unknown option --nothing; ")


@pytest.mark.parametrize("main", [entry.main, search.main, evaluate.main, doctor.main])
def test_each_says_the_version(main, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["--version"], main) == 0 and capsys.readouterr().out == f"sgl_fast {sgl_fast.__version__}\n"


def test_without_a_command_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"]):
        assert ended(words) == 0 and all(name in capsys.readouterr().out for name in ("sgl-fast COMMAND",))
    for word, says in {
        "serach": "near it: search",
        "x": "search, evaluate, reproduce, export, compare, precompile, doctor",
    }.items():
        assert ended([word]) == 2
        said = capsys.readouterr().err
        assert said == f"sgl-fast: unknown command {word}; {says}\n"


def test_the_script_is_installed_by_that_name() -> None:
    module, _, function = PROJECT["scripts"]["sgl-fast"].partition(":")
    assert module == "sgl_fast.__main__" and callable(getattr(entry, function))


def test_the_pythons_that_the_package_names() -> None:
    """From the least that it takes on, this one among them."""
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={named[0]}" and "{}.{}".format(*sys.version_info) in named


def test_every_source_is_of_the_oldest_python() -> None:
    """Its grammar; what its library lacks mypy looks for, and both linters take the package for that Python's."""
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert SETTINGS["tool"]["mypy"]["python_version"] == oldest
    assert SETTINGS["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    major, minor = map(int, oldest.split("."))
    with pytest.raises(SyntaxError):
        ast.parse(NOT_OLDEST, feature_version=(major, minor))
    folders = "sgl_fast", "kernels", "bench", "tests", "docs", "csrc"
    paths = [ROOT / "setup.py", *(path for folder in folders for path in (ROOT / folder).rglob("*.py*"))]
    sources = {path: path.read_text(encoding="utf-8") for path in paths if path.suffix in (".py", ".pyi")}
    assert len(sources) > 100
    for path, source in sources.items():
        ast.parse(source, str(path), feature_version=(major, minor))


def test_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "sgl_fast", "search", "--lr", "x"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == "python -m sgl_fast.search: --lr: need a number; got x\n"


def test_an_interrupt_while_it_loads_is_one_line() -> None:
    with subprocess.Popen([sys.executable, "-c", LOADING], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == "stopped by SIGINT, with no step under way\n"
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("said", "found"), [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")]
)
def test_threads_do_not_keep_cores_from_others(said: dict[str, str], found: str) -> None:
    without = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    words, setting = [sys.executable, "-c", TORCH], {**without, "OMP_DISPLAY_ENV": "verbose", **said}
    assert f"GOMP_SPINCOUNT = '{found}'" in subprocess.run(words, env=setting, capture_output=True, text=True).stderr
