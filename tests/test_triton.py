"""Triton's kernels, interpreted: they stay inside their tensors, each of which lies between bands of NaN; float16."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conftest import why_not_interpreted
from test_mixed_cell import SETTINGS, errors, tiny
from torch import Tensor
from trials import fresh

from bench.random_cells import draw_inputs, run
from sgl_fast.layout import section_of
from sgl_fast.ops import mixed_cell as op
from sgl_fast.pattern import Pattern
from sgl_fast.walk import Mode

BAND = 512  # numbers
made: list[tuple[Tensor, int]] = []


def guarded(size: Any, dtype: torch.dtype) -> Tensor:
    """A tensor inside a band of NaN, or of 255, that starts with such numbers."""
    count = math.prod(size)
    band = torch.full((count + 2 * BAND,), math.nan if dtype.is_floating_point else 255, dtype=dtype)
    made.append((band, count))
    return band[BAND : BAND + count].view(tuple(size))


@pytest.fixture
def bands(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All that the kernels' launches allocate lies between bands, which are as they were in the end."""
    if reason := why_not_interpreted():
        pytest.skip(reason)

    def empty(self: Tensor, *size: Any, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
        whole = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        return guarded(whole, dtype or self.dtype)

    made.clear()
    monkeypatch.setattr(Tensor, "new_empty", empty)
    monkeypatch.setattr(Tensor, "new_zeros", lambda *a, **k: empty(*a, **k).zero_())
    yield
    for band, count in made:
        for end in (band[:BAND], band[BAND + count :]):
            assert end.isnan().all() if band.dtype.is_floating_point else (end == 255).all()


@pytest.mark.parametrize("name", ["partial channels, reduction", "after a reduction"])
def test_kernels_stay_inside_their_tensors(name: str, bands: None) -> None:
    """What they read beyond would make NaN, what they wrote beyond is found."""
    fresh()
    setting = tiny(SETTINGS[name], "triton")
    inputs = draw_inputs(setting)
    want = run(setting, inputs.at(torch.float64), op.reference.mixed_cell)

    def kernels(cell: Any, section: Any, *tensors: Any, **how: Any) -> Tensor:
        inside = [guarded(t.shape, t.dtype).copy_(t) if isinstance(t, Tensor) else t for t in tensors]
        return op.mixed_cell(cell, section, *inside, backend="triton", **how)

    found = run(setting, inputs.at(torch.float32), kernels)
    assert len(made) > 10 and max(errors(found, want)) < 1e-3


def test_float16_between_forward_and_backward() -> None:
    """What it changes is of float16's precision; gradients stay float32."""
    if reason := why_not_interpreted():
        pytest.skip(reason)
    fresh()
    setting = dataclasses.replace(tiny(SETTINGS["states given"], "triton"), V=1)
    inputs, section = draw_inputs(setting).at(torch.float32), section_of(setting.cell)
    leaves = [t for t in inputs.tensors if t is not None]
    found = []
    for half in (False, True):
        pattern = found[0][0] if found else Pattern()
        pattern.start()
        out = op.mixed_cell(
            setting.cell, section, *inputs.tensors, Mode(True, None, pattern, half=half), backend="triton"
        )
        pattern.finish()
        found.append((pattern, torch.autograd.grad(out, leaves, inputs.grad)))
    off = [((a - b).norm() / b.norm()).item() for a, b in zip(found[1][1], found[0][1], strict=True)]
    assert 1e-5 < max(off) < 2e-2 and all(g.dtype == torch.float32 for g in found[1][1])
