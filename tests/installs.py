"""Installs the package by every way in, each in a fresh environment, and uses it there: make installs.

    python tests/installs.py [--way NAME ...] [--pure] [--readme] [--base DIR]

A fresh environment has what one has after `pip install torch torchvision`: the packages of the base, made once, are
linked in; `make` begins with nothing. After each way, with what was installed and not with the sources:

- the doctor and a small search, in another folder. What computes has to be the extension or, without a compiler or a
  torch to build for, plain Python after one warning line.
- every code block of README and docs, and the notebook, by the tests that run them (BLOCKS). Commands, whose data and
  GPUs are not here, are taken up to their settings.

--pure compiles nothing: the ways alone, in two minutes each.
--readme: after `make` the README's two commands whole, `make search` and `make test`: an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
TORCH = ("torch==2.14.1", "torchvision==0.29.1")
TOOLS = ("setuptools>=77", "wheel", "ninja", "build")
SMALL = "--space pc_darts --data embedded --channels 4 --layers 1 --nodes 1 --limit 16 --epochs 1 --batch-size 8"
WARNING = "WARNING: sgl_fast comes without its extension"
BLOCKS = (
    "test_docs.py::test_examples_run",
    "test_docs.py::test_commands_are_taken",
    "test_docs_commands.py",
    "test_site.py::test_the_notebook_runs",
)
LIMIT = 7200  # seconds for one command
OWN = ("pip", "setuptools", "_distutils_hack", "distutils-precedence.pth", "__pycache__")  # of every new environment


class Environment:
    """A fresh one, in `folder`, and a copy of the sources.

    base   of `base_in`; linked: its packages are in this one from the start
    said   what its commands have printed
    """

    def __init__(self, folder: Path, base: Path, linked: bool, pure: bool) -> None:
        self.folder, self.base, self.sources, self.said = folder, base, folder / "sources", ""
        self.variables = {**os.environ, "PYTHONPATH": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        if pure:
            self.variables["SGL_FAST_NO_EXT"] = "1"
        subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
        if linked:
            link(packages_of(base), packages_of(folder / "env"))
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in files.strip("\0").split("\0"):
            if (ROOT / name).exists():
                (self.sources / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.sources / name, follow_symlinks=False)

    def run(self, *words: str | Path, where: Path | None = None) -> str:
        """What a command prints; SystemExit with it where it fails."""
        command = [*map(str, words)]
        done = subprocess.run(
            command,
            cwd=where or self.sources,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
        )
        self.said += done.stdout
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-4000:]}")
        return done.stdout

    def python(self, *words: str | Path, where: Path | None = None) -> str:
        return self.run(self.folder / "env" / "bin" / "python", *words, where=where)

    def make(self, target: str | Path) -> str:
        return self.run("make", f"PYTHON={sys.executable}", f"VENV={self.folder / 'env'}", target)

    def pip(self, *words: str | Path) -> str:
        return self.python("-m", "pip", *words)


def packages_of(env: Path) -> Path:
    return next((env / "lib").glob("python3*/site-packages"))


def link(source: Path, target: Path) -> None:
    for entry in source.iterdir():
        if entry.name not in OWN and not entry.name.startswith(("pip-", "setuptools-")):
            (target / entry.name).symlink_to(entry)


def needs() -> list[str]:
    """Of the package and of its tests, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [need for extra in ("docs", "onnx", "timm", "test") for need in project["optional-dependencies"][extra]]
    return [need for need in [*project["dependencies"], *extras] if not need.startswith(project["name"])]


def base_in(folder: Path) -> Path:
    """An environment with torch and `needs`, made where it is not there yet."""
    if not (folder / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *TORCH, *TOOLS, *needs()], check=True)
        (folder / ".ready").touch()
    return folder


def built(env: Environment, pattern: str) -> Path:
    return next((env.sources / "dist").glob(pattern))


def from_pip(env: Environment) -> None:
    env.pip("install", "-v", ".")


def editable(env: Environment) -> None:
    env.pip("install", "-v", "-e", ".")


def from_wheel(env: Environment) -> None:
    env.pip("wheel", "-v", "--no-deps", "-w", "dist", ".")
    env.pip("install", built(env, "*.whl"))


def from_build(env: Environment) -> None:
    """Isolated as it is, it sees the torch of the environment that is activated."""
    env.variables["VIRTUAL_ENV"] = str(env.folder / "env")
    env.python("-m", "build")
    env.pip("install", built(env, "*.whl"))


def from_build_here(env: Environment) -> None:
    env.pip("install", "setuptools>=77")
    env.python("-m", "build", "--no-isolation")
    env.pip("install", built(env, "*.whl"))


def from_sdist(env: Environment) -> None:
    env.python("-m", "build", "--sdist")
    env.pip("install", "-v", built(env, "*.tar.gz"))


def by_make(env: Environment) -> None:
    env.make(env.folder / "env" / ".ready" if "SGL_FAST_NO_EXT" in env.variables else "environment")


def without_compiler(env: Environment) -> None:
    env.variables["CXX"] = "no-such-compiler"
    env.pip("install", "-v", ".")


def without_torch(env: Environment) -> None:
    """The build sees no torch; the installation brings it."""
    env.pip("install", "-v", "--no-deps", ".")
    must = subprocess.run(
        [env.folder / "env" / "bin" / "python", "-m", "pip", "wheel", "--no-deps", "-w", "dist", "."],
        cwd=env.sources,
        env={**env.variables, "SGL_FAST_EXT": "1", "SGL_FAST_NO_EXT": ""},
        capture_output=True,
        text=True,
    )
    if must.returncode == 0:
        raise SystemExit("SGL_FAST_EXT=1 without torch: built, and should have been refused")
    link(packages_of(env.base), packages_of(env.folder / "env"))


WAYS: dict[str, tuple[Callable[[Environment], None], bool]] = {  # and whether the extension is there
    "pip install .": (from_pip, True),
    "pip install -e .": (editable, True),
    "pip wheel .": (from_wheel, True),
    "python -m build": (from_build, True),
    "python -m build --no-isolation": (from_build_here, True),
    "pip install SDIST": (from_sdist, True),
    "make": (by_make, True),
    "without a compiler": (without_compiler, False),
    "without torch": (without_torch, False),
}


ALONE = (by_make, without_torch)  # nothing is linked before
EDITABLE = (editable, by_make)


def blocks(env: Environment, install: Callable[[Environment], None]) -> None:
    """The tests of BLOCKS, which find the sources' package only where that is the one installed."""
    if install not in EDITABLE:
        shutil.rmtree(env.sources / "sgl_fast")
    env.python("-m", "pytest", "-p", "no:benchmark", *(f"tests/{name}" for name in BLOCKS))


def tried(name: str, base: Path, pure: bool, readme: bool, folder: Path) -> str:
    """A line on it; SystemExit where something is not as it should be."""
    install, extension = WAYS[name]
    env = Environment(folder, base, install not in ALONE, pure)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    search = "-m", "sgl_fast.search", *SMALL.split(), "--out", "run"
    steps: dict[str, Callable[[], object]] = {
        "install": lambda: install(env),
        "doctor": lambda: env.python("-m", "sgl_fast.doctor", where=elsewhere),
        "search": lambda: env.python(*search, where=elsewhere),
        "blocks": lambda: blocks(env, install),
    }
    if readme and install is by_make:
        steps |= {"make search": lambda: env.make("search"), "make test": lambda: env.make("test")}
    took = {what: seconds(step) for what, step in steps.items()}
    backend = json.loads((elsewhere / "run" / "config.json").read_text())["run"]["backend"]
    if backend.startswith("cpu (") != (extension and not pure):
        raise SystemExit(f"{name}: computed by {backend}\n{env.said[-4000:]}")
    warnings = len({line.strip() for line in env.said.splitlines() if WARNING in line})
    if warnings != (0 if extension or pure else 1):
        raise SystemExit(f"{name}: {warnings} warnings that the extension is not there\n{env.said[-4000:]}")
    return f"{name:32}{backend:36}{', '.join(f'{what} {time:.0f} s' for what, time in took.items())}"


def seconds(step: Callable[[], object]) -> float:
    begin = time.monotonic()
    step()
    return time.monotonic() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", nargs="*", default=[*WAYS], choices=[*WAYS], metavar="NAME", help=", ".join(WAYS))
    parser.add_argument("--pure", action="store_true", help="compile nothing")
    parser.add_argument("--readme", action="store_true", help="make search and make test, too, after the way of make")
    text = "an environment with torch [%(default)s]"
    parser.add_argument("--base", type=Path, default=ROOT / "build" / "installs", help=text)
    args = parser.parse_args()
    if args.readme and (args.pure or "make" not in args.way):
        parser.error("--readme: need the way of make, and no --pure")
    base = base_in(args.base)
    for name in args.way:
        with tempfile.TemporaryDirectory(prefix="installs-") as folder:
            print(tried(name, base, args.pure, args.readme, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
