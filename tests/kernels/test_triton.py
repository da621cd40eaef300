"""Triton's kernels, interpreted: they stay inside their tensors, each lying between bands of NaN; precisions."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from cells import SETTINGS, Setting, errors, tiny
from torch import Tensor
from trials import fresh

from sgl_fast.kernels.configurations import DOTS, INTERPRETED, KERNELS, Tiles, assumed
from sgl_fast.ops import mixed_cell as op
from sgl_fast.reference.cell import section_of
from sgl_fast.reference.layers import PassContext
from sgl_fast.reference.pattern import Pattern
from sgl_fast.testing import draw_inputs, run

pytestmark = pytest.mark.usefixtures("interpreted")
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

    def kernels(cell: Any, section: Any, *tensors: Any, **how: Any) -> Tensor:
        inside = [guarded(t.shape, t.dtype).copy_(t) if isinstance(t, Tensor) else t for t in tensors]
        return op.mixed_cell(cell, section, *inside, backend="triton", **how)

    def error() -> float:
        inputs = draw_inputs(setting)
        want = run(setting, inputs.at(torch.float64), op.reference.mixed_cell)
        return max(errors(run(setting, inputs.at(torch.float32), kernels), want))

    assert any(error() < 1e-3 for _ in range(3))  # rounding may put a ReLU's input past its kink, but not in each draw
    assert len(made) > 10


def one_node(name: str, H: int, W: int, *ops: tuple[str, str]) -> Setting:
    """The setting of that name with one learner, two images and one node, whose edges have these operations."""
    fresh()
    setting = dataclasses.replace(SETTINGS[name], V=1, N=2, H=H, W=W)
    return dataclasses.replace(setting, cell=dataclasses.replace(setting.cell, nodes=1, ops=ops))


def small_cell() -> tuple[Setting, list[Tensor | None], Tensor]:
    """A setting of one learner, its inputs and a cotangent."""
    edges = ("sep_conv_3x3", "max_pool_3x3"), ("skip_connect", "avg_pool_3x3")
    setting = one_node("partial channels", 4, 4, *edges)
    inputs = draw_inputs(setting).at(torch.float32)
    return setting, inputs.tensors, inputs.grad


def passed(setting: Setting, tensors: list[Tensor | None], grad: Tensor, **how: Any) -> list[Tensor]:
    """Output and gradients of a pass."""
    out = op.mixed_cell(setting.cell, section_of(setting.cell), *tensors, PassContext(**how), backend="triton")  # type: ignore[misc]
    return [out.detach(), *torch.autograd.grad(out, [t for t in tensors if t is not None], grad)]


@pytest.mark.parametrize(("precision", "least", "most"), [("float16", 1e-5, 2e-2), ("bfloat16", 1e-4, 1e-1)])
def test_less_between_forward_and_backward(precision: str, least: float, most: float) -> None:
    """What it changes is of that precision; gradients stay float32."""
    cell, pattern = small_cell(), Pattern()
    found = []
    for one in ("float32", precision):
        pattern.start()
        found.append(passed(*cell, pattern=pattern, precision=one))
        pattern.finish()
    off = [((a - b).norm() / b.norm()).item() for a, b in zip(found[1], found[0], strict=True)]
    assert least < max(off) < most and all(g.dtype == torch.float32 for g in found[1])


def test_nothing_is_reckoned_with_memory_that_none_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large numbers there would overflow, which is a warning, so an error."""
    empty = Tensor.new_empty

    def large(self: Tensor, *size: Any, **how: Any) -> Tensor:
        made = empty(self, *size, **how)
        return made.fill_(3e38 if made.dtype == torch.float32 else 255)

    monkeypatch.setattr(Tensor, "new_empty", large)
    between = ("max_pool_3x3", "sep_conv_3x3"), ("dil_conv_3x3", "sep_conv_3x3")  # hidden norms among a node's
    setting = one_node("partial channels", 4, 4, *between)
    inputs = draw_inputs(setting).at(torch.float32)
    assert all(t.isfinite().all() for t in passed(setting, inputs.tensors, inputs.grad))


def test_float16_ends_at_its_largest_number() -> None:
    """Results of a thousand times its range, before their norms."""
    setting, tensors, grad = small_cell()
    weights = tensors[2]
    assert weights is not None
    tensors[2] = (weights.detach() * 1e4).requires_grad_()
    assert all(t.isfinite().all() for t in passed(setting, tensors, grad, precision="float16"))


def test_products_of_tf32_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """By every launch of both directions that has such products; one for tf32, else three."""
    from sgl_fast.kernels.cell import dot_precision
    from sgl_fast.kernels.cell_backward import Backward
    from sgl_fast.kernels.cell_forward import Forward
    from sgl_fast.kernels.launch import LaunchPlan

    plans, run = [], LaunchPlan.run
    monkeypatch.setattr(LaunchPlan, "run", lambda self, *args: plans.append(self) or run(self, *args))
    passed(*small_cell(), precision="tf32")
    assert {type(plan) for plan in plans} == {Forward, Backward}
    for plan in plans:
        tiles = [launch.constant["TILE"] for launch in plan.launches if "TILE" in launch.constant]
        assert {tile.products for tile in tiles} == {"tf32"}
    device = torch.device("cpu")
    assert (dot_precision("tf32", device), dot_precision("float32", device)) == ("tf32", "tf32x3")


def test_tiles_change_no_number() -> None:
    """But for the order of sums: other sizes, the last tile of each kind not full."""
    setting, tensors, grad = small_cell()
    want, pattern = passed(setting, tensors, grad), Pattern()
    pattern.start()
    with assumed(INTERPRETED, {name: Tiles(*(16, 16) if name in DOTS else (8, 8), 1) for name in KERNELS}):
        found = passed(setting, tensors, grad, pattern=pattern)
    for a, b in zip(found, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * b.abs().max().item())


def test_codes_of_pools_whose_last_byte_is_half_full() -> None:
    """Pools of three pixels, recorded and replayed, against the reference."""
    edges = ("max_pool_3x3", "skip_connect"), ("max_pool_3x3", "sep_conv_3x3")
    setting = one_node("partial channels, reduction", 2, 6, *edges)
    inputs = draw_inputs(setting)
    want = run(setting, inputs.at(torch.float64), op.reference.mixed_cell)
    found = run(setting, inputs.at(torch.float32), functools.partial(op.mixed_cell, backend="triton"))
    assert max(errors(found, want)) < 1e-3


@pytest.mark.parametrize("name", ["normal", "partial channels, reduction", "after a reduction"])
def test_patterns_are_those_of_the_compiled_kernels(name: str, extension: None) -> None:
    """One records, the other replays: the same bytes, and the passes of a pattern of its own."""
    fresh()
    setting = dataclasses.replace(tiny(SETTINGS[name], "triton"), replay=False, W=6 if "reduction" in name else 9)
    inputs = draw_inputs(setting).at(torch.float32)
    tensors = [None if t is None else t.detach() for t in inputs.tensors]
    moved = [tensors[0] * 1.3 + 0.1, tensors[1] * 1.3 + 0.1, *tensors[2:]]
    section, kinks, found = section_of(setting.cell), [], []

    def run_with(pattern: Pattern, given: list[Tensor | None], backend: str) -> Tensor:
        pattern.start()
        out = op.mixed_cell(setting.cell, section, *given, PassContext(pattern=pattern), backend=backend)
        pattern.finish()
        return out

    for recorder, replayer in (("cpu", "triton"), ("triton", "cpu")):
        pattern = Pattern()
        run_with(pattern, tensors, recorder)
        kinks.append(pattern.kinks[0])
        found.append([run_with(pattern, moved, backend) for backend in (recorder, replayer)])
    assert torch.equal(*kinks)
    for own, others in found:
        torch.testing.assert_close(others, own, rtol=1e-4, atol=1e-4)
    assert (found[0][0] - run_with(Pattern(), moved, "cpu")).abs().max() > 1e-3, "the pattern made a difference"
