"""The build: what a wheel and an sdist carry, errors in one line, the kernels under the sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = ("setup.py", "pyproject.toml", "MANIFEST.in", "Makefile", *(path.name for path in ROOT.glob("*.md")), "LICENSE")
FOLDERS = ("sgl_fast", "csrc", "kernels", "tests", "bench", "docs")
LINKS = ("sgl_fast", "kernels"), ("sgl_fast", "cuda_code")  # to the folders themselves
MADE = shutil.ignore_patterns("*.so", "*.zip", "__pycache__", "*.pyc")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a build reads."""
    for name in TOP:
        shutil.copy(ROOT / name, tmp_path)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=MADE)
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
    """What tests and benchmarks need, too."""
    files = (path.relative_to(tree) for folder in FOLDERS for path in (tree / folder).rglob("*") if path.is_file())
    here = {str(path) for path in files if path.parts[:2] not in LINKS}
    done = setup(tree, "sdist", SGL_FAST_EXT="1", CXX="no-such-compiler")
    assert done.returncode == 0, done.stderr
    (archive,) = (tree / "dist").iterdir()
    with tarfile.open(archive) as sources:
        names = {name.partition("/")[2] for name in sources.getnames()}
    assert here | set(TOP) <= names


WITHOUT_TORCH = """
import runpy, sys
from importlib import util
found = util.find_spec
util.find_spec = lambda name, *more: None if name == "torch" else found(name, *more)
sys.argv = ["setup.py", "--quiet", "bdist_wheel"]
runpy.run_path("setup.py")
"""


ISOLATED = """
import runpy, sys, sysconfig
sys.argv = ["setup.py", "--version"]
why_not = runpy.run_path("setup.py")["why_not"]
sys.path = [path for path in sys.path if "site-packages" not in path]
sysconfig.get_config_vars()["base"] = "/nowhere"
print(why_not())
"""


@pytest.mark.parametrize("name", ["VIRTUAL_ENV", "CONDA_PREFIX", "ANOTHER"])
def test_a_build_in_isolation_sees_the_torch_of_the_active_environment(name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    command = [sys.executable, "-c", ISOLATED]
    given = environment | {name: sys.prefix, "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=60, check=True)
    assert ("there is no torch" in done.stdout) == (name == "ANOTHER"), done.stdout


@pytest.mark.parametrize("must", ["0", "1"])
@pytest.mark.parametrize("missing", ["torch", "compiler"])
def test_what_the_extension_misses_is_named_in_one_line(missing: str, must: str, tree: Path) -> None:
    """The package is pure Python then, unless the extension is a must."""
    if missing == "torch":
        command, reason = [sys.executable, "-c", WITHOUT_TORCH], "there is no torch to compile it for"
    else:
        command, reason = [sys.executable, "setup.py", "--quiet", "bdist_wheel"], "there is no C++ compiler no-such"
    environment = os.environ | {"SGL_FAST_EXT": must} | ({"CXX": "no-such"} if missing == "compiler" else {})
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=60)
    (line,) = (line for line in done.stderr.splitlines() if "sgl_fast" in line)
    assert reason in line
    if must == "1":
        assert done.returncode == 1 and line.startswith("sgl_fast needs its extension (SGL_FAST_EXT=1), and ")
        return
    assert done.returncode == 0 and line.startswith("WARNING: sgl_fast comes without its extension, searches on a CPU")
    assert [path.name.rpartition("-py3")[2] for path in (tree / "dist").iterdir()] == ["-none-any.whl"]


@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_a_failing_compile_fails_the_build(tree: Path) -> None:
    for source in (tree / "csrc").rglob("*.cpp"):
        source.write_text("#error planted here\n")
    done = setup(tree, "build_ext", "--inplace", SGL_FAST_EXT="1")
    assert done.returncode != 0 and "planted here" in done.stdout + done.stderr
    done = setup(tree, "build_ext", "--inplace")
    assert done.returncode == 0 and "without its extension" in done.stderr and "it does not compile here" in done.stderr
    assert not list(tree.rglob("*.so"))


ANSWER = '__attribute__((visibility("default"))) int answer() { return 42; }'
MODULE = """
#include <Python.h>
int answer();
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr};
PyMODINIT_FUNC PyInit__C() {
    PyObject* made = PyModule_Create(&module);
    PyModule_AddIntConstant(made, "answer", answer());
    return made;
}
"""
ASK = "import torch, sys; sys.path.insert(0, sys.argv[1]); import _C; print(_C.answer)"


@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_a_wheel_of_several_pythons(tree: Path) -> None:
    """One library, and a module for each, which finds the library beside itself; another Python is said to be there."""
    for source in (tree / "csrc").rglob("*.cpp"):
        source.write_text("")
    (tree / "csrc" / "library.cpp").write_text(ANSWER)
    (tree / "csrc" / "module.cpp").write_text(MODULE)
    other = tree / "python3.99"
    other.write_text(f"#!/bin/sh\necho 3 99 {sysconfig.get_path('include')} .cpython-399.so\n")
    other.chmod(0o755)
    done = setup(tree, "build_ext", "bdist_wheel", SGL_FAST_EXT="1", SGL_FAST_PYTHONS=str(other))
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tree / "dist").iterdir()
    own = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert {own, "cp399"} == set(wheel.name.split("-")[2].split(".")) and wheel.name.split("-")[3] == "none"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tree / "unpacked")
    folder = tree / "unpacked" / "sgl_fast"
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert {path.name for path in folder.glob("*.so")} == {"libsgl_fast.so", f"_C{suffix}", "_C.cpython-399.so"}
    for built in (suffix, ".cpython-399.so"):
        (folder / f"_C{built}").rename(folder / "_C.so")
        (folder / f"_C{suffix}").unlink(missing_ok=True)
        done = subprocess.run([sys.executable, "-c", ASK, str(folder)], capture_output=True, text=True, timeout=120)
        assert done.stdout == "42\n", done.stderr


def test_an_interpreter_that_is_not_there_is_named(tree: Path) -> None:
    done = setup(tree, "bdist_wheel", SGL_FAST_EXT="1", SGL_FAST_PYTHONS="no-such-python")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "need interpreters in SGL_FAST_PYTHONS; there is no no-such-python"


@pytest.mark.skipif(not (shutil.which("make") and shutil.which("g++")), reason="needs make and g++")
def test_kernels_under_the_sanitizers(tree: Path) -> None:
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
