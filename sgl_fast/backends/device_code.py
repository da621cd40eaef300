"""The CUDA kernels as machine code: of an archive that comes with the package, else compiled at first use and kept.

A unit is a file csrc/cuda/*.cu. What was compiled lies in SGL_FAST_CACHE, else in ~/.cache/sgl_fast; its name has
everything that it depends on, and it is written as a whole or not at all, so any number of processes may share the
folder.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from ..files import replacing, user_path
from . import nvrtc

SOURCES = Path(__file__).parent.parent / "cuda_code"
ARCHIVE = Path(__file__).parent.parent / "cubins.zip"
ARCHITECTURES = (70, 75, 80, 86, 89, 90, 100, 120)  # of the archive, and PTX of the last for what comes after


def modules(capability: int) -> list[bytes]:
    """Cubins or PTX of every unit for a GPU of this compute capability, 70 for 7.0. RuntimeError if it has none."""
    return _archived(capability) or _compiled(capability)


def why_not(capability: int) -> str | None:
    """None if `modules` has them or can compile them, else what is missing, in a line."""
    if _fitting(capability) is not None:
        return None
    reason = nvrtc.why_not_nvrtc()
    if reason is None and capability not in nvrtc.architectures():
        reason = f"NVRTC {nvrtc.version()} does not compile for compute capability {capability / 10}"
    return reason


def compiled_here(capability: int) -> tuple[int, int]:
    """Compiles what a GPU of this capability would have compiled at first use: units that it did, and those it kept.

    RuntimeError where they do not compile, OSError where they cannot be kept.
    """
    paths = [] if _fitting(capability) else [_place(unit, f"sm_{capability}") for unit in units()]
    missing = [path for path in paths if not path.exists()]
    if missing:
        _compiled(capability)
    if lost := [path for path in missing if not path.exists()]:
        raise OSError(f"cannot write {lost[0].parent} (SGL_FAST_CACHE names another folder)")
    return len(missing), len(paths) - len(missing)


def summary() -> str:
    """Where the kernels' code comes from, in a line."""
    if targets := sorted(_targets(), key=lambda target: int(target.partition("_")[2])):
        return f"in the package, for {', '.join(targets)}"
    reason = nvrtc.why_not_nvrtc()
    return reason or f"compiled at first use by NVRTC {nvrtc.version()}, kept in {cache_folder()}"


def write_archive(path: Path, architectures: tuple[int, ...] = ARCHITECTURES) -> list[tuple[str, str, str]]:
    """Compiles everything, in threads, into a zip file: TARGET/UNIT, and `digest`, of what.

    Returns unit, target and what the assembler says of its kernels. RuntimeError where something does not compile.
    """
    targets = [*(f"sm_{one}" for one in architectures), f"compute_{architectures[-1]}"]
    todo = [(unit, target) for target in targets for unit in units()]

    def compiled(one: tuple[str, str]) -> tuple[bytes, str]:
        return nvrtc.compile_code(one[0], one[1], SOURCES)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(compiled, todo))
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("digest", digest())
        for (unit, target), (code, _) in zip(todo, found, strict=True):
            archive.writestr(f"{target}/{unit}", code)
    return [(*one, said) for one, (_, said) in zip(todo, found, strict=True)]


@cache
def units() -> tuple[str, ...]:
    return tuple(sorted(path.name for path in SOURCES.glob("*.cu")))


@cache
def digest() -> str:
    """Of all device code."""
    content = hashlib.sha256()
    for path in sorted([*SOURCES.glob("*.cu"), *SOURCES.glob("*.cuh"), *SOURCES.glob("*.h")]):
        content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()[:16]


def digest_in(path: Path) -> str | None:
    """Of the device code that an archive was made of; None if there is no archive."""
    if not path.exists():
        return None
    with zipfile.ZipFile(path) as archive:
        return archive.read("digest").decode()


@cache
def _targets() -> frozenset[str]:
    """What the archive is for; nothing where it is missing, or of other sources."""
    if digest_in(ARCHIVE) != digest():
        return frozenset()
    with zipfile.ZipFile(ARCHIVE) as archive:
        return frozenset(name.partition("/")[0] for name in archive.namelist() if "/" in name)


def _fitting(capability: int) -> str | None:
    """The archive's best target for a GPU: a cubin of its generation that is not newer, else PTX that is not."""
    known = {kind: [int(t.split("_")[1]) for t in _targets() if t.startswith(kind)] for kind in ("sm", "compute")}
    cubins = [one for one in known["sm"] if one // 10 == capability // 10 and one <= capability]
    if cubins:
        return f"sm_{max(cubins)}"
    ptx = [one for one in known["compute"] if one <= capability]
    return f"compute_{max(ptx)}" if ptx else None


def _archived(capability: int) -> list[bytes] | None:
    target = _fitting(capability)
    if target is None:
        return None
    with zipfile.ZipFile(ARCHIVE) as archive:
        return [archive.read(f"{target}/{unit}") for unit in units()]


def _compiled(capability: int) -> list[bytes]:
    """Units for one GPU, by threads: the compiler runs outside of Python."""
    if reason := why_not(capability):
        raise RuntimeError(reason)
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda unit: _kept(unit, f"sm_{capability}"), units()))


def _place(unit: str, target: str) -> Path:
    return cache_folder() / f"{Path(unit).stem}-{target}-{digest()}-nvrtc{nvrtc.version()}.cubin"


def _kept(unit: str, target: str) -> bytes:
    path = _place(unit, target)
    if path.exists():
        return path.read_bytes()
    code, _ = nvrtc.compile_code(unit, target, SOURCES)
    with suppress(OSError):  # a folder that cannot be written costs the next process the same time, and no more
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(code)
    return code


def cache_folder() -> Path:
    """SGL_FAST_CACHE, else sgl_fast in XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get("SGL_FAST_CACHE")
    return user_path(named) if named else user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "sgl_fast"
