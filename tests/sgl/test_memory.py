"""How much memory there is for activations."""

from __future__ import annotations

import pytest
import torch

from sgl_fast.sgl.memory import free_budget


def test_a_gpus_free_memory_is_what_it_has_once_the_dead_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that was dropped leaves cached blocks; blocks of a graph's own pool are nobody else's."""
    cached = [6e9]
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: cached.clear())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (9e9 - sum(cached), 16e9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5e9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1e9)
    assert free_budget("cuda:0", share=0.5) == 4.5e9
    assert free_budget("cpu") is None
