"""Machine code of the CUDA kernels: the archive's best target for a GPU, else what is compiled once and kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sgl_fast.backends import device_code, nvrtc


class Compiler:
    """In place of NVRTC: code that names what it is of."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, source: str, target: str, folder: Path) -> tuple[bytes, str]:
        assert (folder / source).is_file()
        self.calls.append((source, target))
        return f"{target} {source}".encode(), "said"


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Compiler]:
    """It knows sm_70 and sm_90; the archive and the cache are empty."""
    compiler = Compiler()
    monkeypatch.setattr(nvrtc, "compile_code", compiler)
    monkeypatch.setattr(nvrtc, "why_not_nvrtc", lambda: None)
    monkeypatch.setattr(nvrtc, "version", lambda: "12.9")
    monkeypatch.setattr(nvrtc, "architectures", lambda: [70, 90])
    monkeypatch.setattr(device_code, "ARCHIVE", tmp_path / "cubins.zip")
    monkeypatch.setenv("SGL_FAST_CACHE", str(tmp_path / "cache"))
    device_code._targets.cache_clear()
    yield compiler
    device_code._targets.cache_clear()


@pytest.mark.parametrize(
    ("capability", "target"), [(70, "sm_70"), (72, "sm_70"), (86, "sm_80"), (89, "sm_80"), (90, "compute_80")]
)
def test_the_archive_has_code_for_a_gpu(compiler: Compiler, capability: int, target: str) -> None:
    said = device_code.write_archive(device_code.ARCHIVE, (70, 80))
    assert len(said) == 3 * len(device_code.units()) and {line[2] for line in said} == {"said"}
    compiler.calls.clear()
    assert device_code.modules(capability) == [f"{target} {unit}".encode() for unit in device_code.units()]
    assert not compiler.calls and device_code.why_not(capability) is None


def test_code_is_compiled_once_and_kept(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    want = [f"sm_90 {unit}".encode() for unit in device_code.units()]
    assert device_code.modules(90) == want and device_code.modules(90) == want
    assert sorted(compiler.calls) == [(unit, "sm_90") for unit in device_code.units()]
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0")
    assert device_code.modules(90) == want
    assert len(compiler.calls) == 2 * len(device_code.units())


def test_a_cache_that_cannot_be_written_is_done_without(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SGL_FAST_CACHE", str(tmp_path / "file"))
    assert device_code.modules(90) == [f"sm_90 {unit}".encode() for unit in device_code.units()]


def test_caches_are_filled_without_a_gpu(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the archive has is not compiled; a folder that cannot be written is an error."""
    count = len(device_code.units())
    assert device_code.compiled_here(90) == (count, 0) and device_code.compiled_here(90) == (0, count)
    device_code._place("augment.cu", "sm_90").unlink()
    assert device_code.compiled_here(90) == (1, count - 1)
    compiler.calls.clear()
    device_code.modules(90)
    assert not compiler.calls
    (tmp_path / "file").touch()
    monkeypatch.setenv("SGL_FAST_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="SGL_FAST_CACHE names another folder"):
        device_code.compiled_here(70)
    monkeypatch.setattr(device_code, "_fitting", lambda capability: "sm_90")
    assert device_code.compiled_here(90) == (0, 0)


def test_an_archive_of_other_sources_is_left_alone(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    device_code.write_archive(device_code.ARCHIVE, (70,))
    monkeypatch.setattr(device_code, "digest", lambda: "of other sources")
    assert device_code.modules(90) == [f"sm_90 {unit}".encode() for unit in device_code.units()]
    assert "compiled at first use by NVRTC 12.9, kept in" in device_code.summary()


def test_what_cannot_be_compiled_is_said(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"NVRTC 12.9 does not compile for compute capability 8.0"):
        device_code.modules(80)
    monkeypatch.setattr(nvrtc, "why_not_nvrtc", lambda: "there is no NVRTC")
    with pytest.raises(RuntimeError, match="there is no NVRTC"):
        device_code.modules(90)
    assert device_code.summary() == "there is no NVRTC"


def test_every_unit_is_device_code() -> None:
    assert {"augment.cu", "combine.cu", "convolve.cu", "dgrad.cu", "wgrad.cu"} <= set(device_code.units())
