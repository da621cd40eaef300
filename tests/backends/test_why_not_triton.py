"""What Triton misses, of which GPU."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from sgl_fast.backends import reasons
from sgl_fast.backends.choice import choose, why_not
from sgl_fast.backends.triton import interpreted


def test_what_triton_misses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (why_not("triton") is None) == (interpreted() or torch.cuda.is_available())
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    if not torch.cuda.is_available():
        assert str(why_not("triton")).startswith("backend 'triton' needs an NVIDIA GPU and its driver")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    assert "needs a GPU of compute capability 7.0 or newer; this one has 6.1" in str(why_not("triton"))
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "needs a torch with CUDA" in str(why_not("triton"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "triton, which is not installed: pip install triton" in str(why_not("triton"))


def test_gpus_of_one_machine_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of a device is answered for it, whichever is torch's current one."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device: (9, 0) if str(device) == "cuda:1" else (6, 1)
    )
    monkeypatch.setattr(reasons, "known", {"triton's driver": None})
    assert why_not("triton", "cuda:1") is None
    assert choose("triton", torch.device("cuda", 1)) == "triton"
    for device in ("cuda:0", None):
        assert "this one has 6.1" in str(why_not("triton", device))
    with pytest.raises(RuntimeError, match="this one has 6.1"):
        choose("triton", "cuda:0")


def test_triton_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for once, whichever the GPU."""
    pytest.importorskip("triton")
    asked: list[int] = []

    def refuse() -> None:
        asked.append(1)
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr("triton.runtime.driver", SimpleNamespace(active=SimpleNamespace(get_current_target=refuse)))
    monkeypatch.setattr(reasons, "known", {})
    for device in (None, "cuda:1"):
        said = why_not("triton", device)
        assert said is not None and "python3-dev); RuntimeError: Failed to find C compiler." in said
        assert "\n" not in said and len(asked) == 1
