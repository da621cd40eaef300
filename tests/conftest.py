"""Shared settings and fixtures: one thread, so that parallel test processes do not fight over the cores."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No data set of this machine takes part."""
    from sgl_fast.data import locate

    monkeypatch.setattr(locate, "DEBIAN_FASHION_MNIST", tmp_path / "not-installed")
    monkeypatch.delenv("SGL_FAST_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def extension() -> None:
    """Skips where the extension is not built."""
    from sgl_fast.backend import why_not

    if reason := why_not("cpu"):
        pytest.skip(reason)


@pytest.fixture(params=["reference", "plain", "avx2", "avx512"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each backend of this machine; "cpu" comes once for each of its instruction sets."""
    if request.param == "reference":
        return "reference"
    from sgl_fast.backend import compiled

    request.getfixturevalue("extension")
    monkeypatch.setenv("SGL_FAST_ISA", request.param)
    try:
        compiled().isa()
    except RuntimeError as error:
        pytest.skip(str(error))
    return "cpu"
