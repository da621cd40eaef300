"""Builds the compiled extension, for the CPU and for CUDA; it opens the CUDA driver, if any, at run time.

It is in two parts: the library of operators, sgl_fast/libsgl_fast.so, which knows torch by its stable ABI alone and no
Python, so that all Pythons and every torch from 2.10 load it; and the small module sgl_fast._C, one for each Python.

Where torch or a compiler is missing the package is pure Python, and a line says so; with SGL_FAST_EXT=1 that is an
error, with SGL_FAST_NO_EXT=1 nothing is compiled. A wheel holds the module of this Python and of the interpreters that
SGL_FAST_PYTHONS names; with SGL_FAST_WHEEL=1 it fits older systems than this one (`make wheel`). Installations and
wheels also pack the CUDA kernels' machine code where NVRTC is found; without it they are compiled at first use.
Metadata lives in pyproject.toml.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from glob import glob
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel

# Instruction sets are chosen at run time: no -march here, and no -ffast-math, which would undo NaN checks.
# -g0 undoes the -g of Python's own flags, whose debug information is 46 of 48 MB.
FLAGS = ["-O3", "-g0", "-fvisibility=hidden", "-ffp-contract=fast", "-Wno-psabi"]
OLDEST_TORCH = "-DTORCH_TARGET_VERSION=0x020a000000000000"  # 2.10: what is newer in the stable ABI is not called
LIBRARY, MODULE = "sgl_fast.libsgl_fast", "sgl_fast._C"
MODULE_SOURCE, OLDEST_SYSTEM = "csrc/module.cpp", "csrc/oldest_system.cpp"
ALL = {path for part in ("", "cpu/", "cuda/") for path in glob(f"csrc/{part}*.cpp")}
SOURCES = sorted(ALL - {MODULE_SOURCE, OLDEST_SYSTEM})  # the library's
# Of a wheel for other systems alone: it defines what compilers have in their headers.
OLDEST = [OLDEST_SYSTEM] if os.environ.get("SGL_FAST_WHEEL") == "1" else []
PYTHONS = os.environ.get("SGL_FAST_PYTHONS", "").split()
# The module finds the library by this name, beside itself.
NAMED = ["-Wl,-soname,libsgl_fast.so"] if sys.platform == "linux" else ["-Wl,-install_name,@loader_path/libsgl_fast.so"]
BESIDE = ["-Wl,-rpath,$ORIGIN"] if sys.platform == "linux" else []
COMMANDS = {"build", "build_ext", "bdist_wheel", "editable_wheel", "install", "develop"}


def why_not() -> str | None:
    """Why the extension cannot be compiled here; None if it can."""
    # A build in isolation hides the environment it is for: pip's is this Python's, that of `build` the one activated.
    active = [os.environ[name] for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    for base in [sysconfig.get_config_var("base"), *active]:
        sys.path.append(sysconfig.get_path("purelib", vars={"base": base}))
    if find_spec("torch") is None:
        return "there is no torch to compile it for: install torch first, and activate its environment"
    compiler = os.environ.get("CXX", "g++").split()[0]
    return None if shutil.which(compiler) else f"there is no C++ compiler {compiler}: install one, or name it in CXX"


def extension() -> dict[str, Any]:
    """The arguments of `setup` that build it."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # ninja of this environment
    from torch.utils import cpp_extension

    class Build(cpp_extension.BuildExtension):  # type: ignore[misc]
        def run(self) -> None:
            try:
                super().run()
                for python in PYTHONS:
                    build_module(python, Path(self.get_ext_fullpath(LIBRARY)), cpp_extension.include_paths())
            except Exception as error:
                go_on_without(f"it does not compile here ({type(error).__name__}; pip -v shows all)", error)
            if "build_ext" not in sys.argv:
                pack(Path("" if self.inplace else self.build_lib) / "sgl_fast" / "cubins.zip")

        def get_ext_filename(self, fullname: str) -> str:
            """The library's name has no Python in it."""
            plain = fullname.endswith(LIBRARY.rpartition(".")[2])
            name: str = super().get_ext_filename(fullname)
            return name.partition(".")[0] + ".so" if plain else name

        def build_extension(self, ext: Extension) -> None:
            if ext.name == MODULE:
                ext.extra_objects = [self.get_ext_fullpath(LIBRARY)]  # which is built before
            super().build_extension(ext)

    headers = {"depends": sorted(glob("csrc/**/*.h", recursive=True)), "include_dirs": cpp_extension.include_paths()}
    library = Extension(
        LIBRARY,
        sources=[*SOURCES, *OLDEST],
        extra_compile_args=[*FLAGS, OLDEST_TORCH],
        library_dirs=cpp_extension.library_paths(),
        libraries=["torch_cpu", *(["dl"] if sys.platform == "linux" else [])],
        extra_link_args=NAMED,
        **headers,
    )
    module = Extension(
        MODULE,
        sources=[MODULE_SOURCE, *OLDEST],
        extra_compile_args=FLAGS,
        extra_link_args=BESIDE,
        language="c++",
        **headers,
    )
    return {"ext_modules": [library, module], "cmdclass": {"build_ext": Build, "bdist_wheel": Wheel}}


class Wheel(bdist_wheel):
    """For the Pythons whose modules it holds, and no others."""

    def get_tag(self) -> tuple[str, str, str]:
        tag: tuple[str, str, str] = super().get_tag()
        versions = [sys.version_info[:2], *(version for version, _, _ in map(facts_of, PYTHONS))]
        held = sorted({f"cp{major}{minor}" for major, minor in versions})
        return (".".join(held), "none", tag[2]) if PYTHONS else tag


def facts_of(python: str) -> tuple[tuple[int, int], str, str]:
    """An interpreter's version, the folder of its headers, the end of its modules' names."""
    words = "*sys.version_info[:2], s.get_path('include'), s.get_config_var('EXT_SUFFIX')"
    ask = f"import sys, sysconfig as s; print({words})"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    major, minor, headers, suffix = done.stdout.split()
    return (int(major), int(minor)), headers, suffix


def build_module(python: str, library: Path, headers: list[str]) -> None:
    """sgl_fast._C of another interpreter, beside the library. CalledProcessError where it does not compile."""
    _, own, suffix = facts_of(python)
    compiler = os.environ.get("CXX", "g++").split()
    flags = [*FLAGS, "-std=c++17", "-fPIC", "-shared", *(f"-I{folder}" for folder in (own, *headers))]
    files = [MODULE_SOURCE, *OLDEST, str(library), *BESIDE, "-o", str(library.with_name(f"_C{suffix}"))]
    subprocess.run([*compiler, *flags, *files], check=True)


def go_on_without(reason: str, error: Exception | None = None) -> None:
    """A line that says what is lost; SystemExit where the extension is a must."""
    if os.environ.get("SGL_FAST_EXT") == "1":
        raise error or SystemExit(f"sgl_fast needs its extension (SGL_FAST_EXT=1), and {reason}")
    print(
        f"WARNING: sgl_fast comes without its extension, searches on a CPU take 6 to 9 times as long: {reason}",
        file=sys.stderr,
    )


def pack(path: Path) -> None:
    """The CUDA kernels of every architecture that the NVRTC at hand knows, into the package."""
    sys.path.insert(0, str(Path(__file__).parent))
    from sgl_fast.backends import device_code, nvrtc

    if nvrtc.why_not_nvrtc() is None and device_code.digest_in(path) != device_code.digest():
        known = tuple(one for one in device_code.ARCHITECTURES if one in nvrtc.architectures())
        try:
            device_code.write_archive(path, known)
        except RuntimeError as error:
            print(f"WARNING: CUDA kernels will be compiled at first use: {error}", file=sys.stderr)


def compiled() -> dict[str, Any]:
    if os.environ.get("SGL_FAST_NO_EXT") == "1" or COMMANDS.isdisjoint(sys.argv):
        return {}
    if reason := why_not():
        go_on_without(reason)
        return {}
    if unknown := [python for python in PYTHONS if not shutil.which(python)]:
        raise SystemExit(f"need interpreters in SGL_FAST_PYTHONS; there is no {unknown[0]}")
    return extension()


setup(**compiled())
