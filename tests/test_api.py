"""The public face: every name loads, backends are chosen or refused with a reason."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sgl_fast
from sgl_fast.backends import choice as backend


def test_every_public_name_loads() -> None:
    for name in sgl_fast.__all__:
        assert getattr(sgl_fast, name) is not None
    assert set(sgl_fast.__all__) <= set(dir(sgl_fast))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sgl_fast.nothing


def test_editors_know_every_public_name() -> None:
    """What a type checker reads is what loads."""
    tree = ast.parse(Path(str(sgl_fast.__file__)).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    read = {alias.asname: f"{node.module}.{alias.name}" for node in imports for alias in node.names}
    assert read == {name: f"{home}.{name}" for name, home in sgl_fast._HOME.items()}


def test_functions_are_not_hidden_by_modules_of_their_name() -> None:
    for name in ("space", "hypergradient", "derive", "use_backend", "why_not"):
        assert callable(getattr(sgl_fast, name))


def test_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert sgl_fast.why_not("reference") is None
    assert "unknown backend 'gpu'" in str(sgl_fast.why_not("gpu"))
    for name in ("triton", "cuda"):
        assert name in str(sgl_fast.why_not(name))
        with pytest.raises(RuntimeError, match=name):
            sgl_fast.use_backend(name)
    with sgl_fast.use_backend("reference"):
        assert backend.choose() == "reference"
    with pytest.raises(ValueError, match="unknown backend"):
        backend.choose("gpu")


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGL_FAST_BACKEND", "cuda")
    with pytest.raises(RuntimeError, match="cuda"):
        backend.choose()
    assert backend.choose("reference") == "reference"
