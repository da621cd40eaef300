"""NVRTC, CUDA's run-time compiler, by its C interface: device code in, a cubin or PTX out, without GPU or toolkit."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def why_not_nvrtc() -> str | None:
    """None if NVRTC can be loaded, else what is missing."""
    try:
        _library()
    except OSError as error:
        return str(error)
    return None


def version() -> str:
    major, minor = ctypes.c_int(), ctypes.c_int()
    _do("Version", ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def architectures() -> list[int]:
    """What this NVRTC compiles for: 70 for sm_70."""
    count = ctypes.c_int()
    _do("GetNumSupportedArchs", ctypes.byref(count))
    found = (ctypes.c_int * count.value)()
    _do("GetSupportedArchs", found)
    return list(found)


def compile_code(source: str, target: str, folder: Path) -> tuple[bytes, str]:
    """The code of one file of a folder, and what the assembler says of its kernels.

    source   its name
    target   sm_70 for a cubin, compute_70 for PTX
    RuntimeError with the compiler's words where it does not compile.
    """
    program = ctypes.c_void_p()
    text = (folder / source).read_bytes()
    _do("CreateProgram", ctypes.byref(program), text, source.encode(), 0, None, None)
    options = [f"--gpu-architecture={target}", "-std=c++17", "-default-device", "-lineinfo", f"-I{folder}"]
    if target.startswith("sm_"):
        options.append("--ptxas-options=-v")
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    try:
        failed = _library().nvrtcCompileProgram(program, len(options), array)
        said = _get("ProgramLog", program).rstrip(b"\0").decode(errors="replace")
        if failed:
            raise RuntimeError(f"{source} does not compile for {target}: {said}")
        return _get("CUBIN" if target.startswith("sm_") else "PTX", program), said
    finally:
        _do("DestroyProgram", ctypes.byref(program))


def _get(what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _do(f"Get{what}Size", program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    _do(f"Get{what}", program, buffer)
    return buffer.raw


def _do(name: str, *arguments: object) -> None:
    error = getattr(_library(), f"nvrtc{name}")(*arguments)
    if error:
        raise RuntimeError(f"nvrtc{name} failed: error {error}")


@cache
def _library() -> ctypes.CDLL:
    """OSError where there is none."""
    for path in _candidates():
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise OSError("there is no NVRTC: pip install nvidia-cuda-nvrtc-cu12")


def _candidates() -> Iterator[str]:
    """SGL_FAST_NVRTC; those of the nvidia packages that torch with CUDA brings; the system's."""
    if named := os.environ.get("SGL_FAST_NVRTC"):
        yield named
    for folder in sys.path:
        found = sorted(Path(folder or ".").glob("nvidia/*/lib/libnvrtc.so.*"), reverse=True)
        yield from (str(path) for path in found if "builtins" not in path.name)
    yield from filter(None, [ctypes.util.find_library("nvrtc")])
