"""How much memory there is for activations."""

from __future__ import annotations

import pytest
import torch
from networks import small
from torch import Tensor

from sgl_fast.backends.choice import use_backend
from sgl_fast.sgl import memory
from sgl_fast.sgl.memory import chunk_for, free_budget, scratch_bytes


def test_a_gpus_free_memory_is_what_it_has_once_the_dead_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that was dropped leaves cached blocks; blocks of a graph's own pool are nobody else's."""
    cached = [6e9]
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: cached.clear())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (9e9 - sum(cached), 16e9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5e9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1e9)
    assert free_budget("cuda:0", share=0.5) == 4.5e9
    assert free_budget("cpu") is None


@pytest.mark.parametrize("name", ["pc_darts", "darts", "pc_darts_imagenet"])
def test_scratch_is_what_a_backward_allocates(name: str, interpreted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Triton's plans for every cell, as a pass makes them: none of their kernels runs."""
    from sgl_fast.kernels.cell_backward import Backward
    from sgl_fast.kernels.launch import LaunchPlan

    found, made = [0], Tensor.new_empty

    def run(self: LaunchPlan, like: Tensor, values: object) -> None:
        if isinstance(self, Backward):
            found.append(4 * self.buffers["scratch"])

    monkeypatch.setattr(LaunchPlan, "run", run)
    monkeypatch.setattr(Tensor, "new_empty", lambda self, *size, **how: made(self, *size, **how).zero_())
    net, side = small(name), 64 if "imagenet" in name else 8
    weights, arch = net.init_weights(1).requires_grad_(), net.init_arch(1)
    with use_backend("triton"):
        net(weights, arch, torch.zeros(3, 3, side, side)).sum().backward()
        assert scratch_bytes(net, 3, side, side) == max(found) > 0
    with use_backend("reference"):
        assert scratch_bytes(net, 3, side, side) == 0


def test_a_chunk_has_room_for_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "saved_bytes", lambda *_: 300)
    monkeypatch.setattr(memory, "scratch_bytes", lambda *_: 100)
    net = small("darts")
    assert chunk_for(1199, net, 4, 8, 8) == 2 and chunk_for(1200, net, 4, 8, 8) == 3
    with pytest.raises(ValueError, match="--memory: need at least 4e-07 GB"):
        chunk_for(399, net, 4, 8, 8)
