"""The build: what a wheel and an sdist carry, errors in one line, the kernels under the sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a build reads."""
    for name in SOURCES:
        shutil.copy(ROOT / name, tmp_path)
    for name in ("sgl_fast", "csrc", "kernels"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return tmp_path


def setup(tree: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", "--quiet", *command],
        cwd=tree,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_pure_python(tree: Path) -> None:
    done = setup(tree, "bdist_wheel", SGL_FAST_NO_EXT="1")
    assert done.returncode == 0, done.stderr
    (wheel,) = (tree / "dist").iterdir()
    assert wheel.name.endswith("py3-none-any.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    suffixes = ".py", ".json", ".cu", ".cuh"
    files = (
        path for top in ("sgl_fast", "sgl_fast/kernels", "sgl_fast/cuda_code") for path in (ROOT / top).rglob("*.*")
    )
    here = {str(path.relative_to(ROOT)) for path in files if path.suffix in suffixes}
    assert here <= names
    assert not any(name.endswith(".so") or name.startswith("csrc") for name in names)


def test_the_sdist_carries_every_source(tree: Path) -> None:
    done = setup(tree, "sdist", SGL_FAST_NO_EXT="1")
    assert done.returncode == 0, done.stderr
    (archive,) = (tree / "dist").iterdir()
    with tarfile.open(archive) as sources:
        names = {name.partition("/")[2] for name in sources.getnames()}
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*.*")} <= names


def test_a_missing_torch_is_named_in_one_line(tree: Path) -> None:
    program = (
        "import sys, runpy; sys.modules['torch'] = None; sys.argv = ['setup.py', 'build']; runpy.run_path('setup.py')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tree, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("need torch to build the extension: install it and pass --no-build-isolation")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_a_failing_compile_fails_the_build(tree: Path) -> None:
    for source in (tree / "csrc").rglob("*.cpp"):
        source.write_text("#error planted here\n")
    done = setup(tree, "build_ext", "--inplace")
    assert done.returncode != 0 and "planted here" in done.stdout + done.stderr
    assert not list(tree.rglob("*.so"))


@pytest.mark.skipif(not (shutil.which("make") and shutil.which("g++")), reason="needs make and g++")
def test_kernels_under_the_sanitizers(tree: Path) -> None:
    shutil.copy(ROOT / "Makefile", tree)
    done = subprocess.run(
        ["make", "-j2", "sanitize", f"RUN={sys.executable}"], cwd=tree, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed: plain") == len(list((ROOT / "csrc" / "tests").glob("*.cpp")))


def test_the_sources_need_no_installation() -> None:
    """sgl_fast.kernels is found at the top of the tree, by an interpreter that knows of no installed package."""
    check = "import sys; sys.path.insert(0, '.'); import sgl_fast.kernels as p; print(p.__file__)"
    done = subprocess.run([sys.executable, "-S", "-c", check], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert Path(done.stdout.strip()).resolve() == ROOT / "kernels" / "__init__.py", done.stderr
