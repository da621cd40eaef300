"""Which precision each pass of a search has, who refuses one, and what torch's own convolutions do meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from networks import small
from torch import Tensor

from sgl_fast.backends.precision import PRECISIONS, library, why_not_precision
from sgl_fast.data.batch import Batch
from sgl_fast.sgl.config import CHOICES, Config
from sgl_fast.sgl.passes import Passes, PassOptions
from sgl_fast.sgl.search import Search


def precisions(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[list[str], set[float]]:
    """Of the forward passes of a search step, in float32 here; and the radii of its finite differences."""
    from sgl_fast.sgl import difference

    asked, radii, forward, perturb = [], set(), Passes.forward, difference.perturb

    def spy(self: Passes, rows: Any, weights: Tensor, arch: Any, options: PassOptions, **state: Any) -> Tensor:
        asked.append(options.precision)
        return forward(self, rows, weights, arch, replace(options, precision="float32"), **state)

    def spied(weights: Tensor, direction: Tensor, r: float, backend: Any) -> Any:
        radii.add(r)
        return perturb(weights, direction, r, backend)

    monkeypatch.setattr(Passes, "forward", spy)
    monkeypatch.setattr(difference, "perturb", spied)
    draw = torch.Generator().manual_seed(0)
    images, labels = torch.randn(3, 4, 3, 8, 8, generator=draw), torch.randint(5, (2, 4), generator=draw)
    config = Config.preset("pc_darts", arch_start=0, **settings)
    Search(small("pc_darts"), config).step(Batch(images[0], labels[0], images[1], images[2], labels[1]))
    return asked, radii


def test_a_search_has_its_precision_but_in_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, radii = precisions(monkeypatch, precision="tf32")
    assert asked == ["tf32"] * 4 + ["float32"] * 3 and radii == {0.001}


def test_perturbed_passes_of_frozen_follow_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With r = 0.1, unless r is given."""
    asked, radii = precisions(monkeypatch, precision="bfloat16", frozen_precision="same")
    assert asked == ["bfloat16"] * 7 and radii == {0.1}
    assert Config(frozen_precision="same").radius == 0.001 and Config(method="finite_difference").radius == 0.01
    assert Config(precision="float16", frozen_precision="same", r=0.3).radius == 0.3


def test_plain_finite_differences_are_float32() -> None:
    with pytest.raises(ValueError, match="need method frozen for frozen_precision same; got 'finite_difference'"):
        Config(method="finite_difference", precision="float16", frozen_precision="same")
    with pytest.raises(ValueError, match="need precision float32 for method exact; got 'tf32'"):
        Config(method="exact", precision="tf32")


def test_who_refuses_what(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuple(PRECISIONS) == CHOICES["precision"]
    assert why_not_precision("float16", "cuda", "cuda") is None
    assert why_not_precision("bfloat16", "triton", "cpu") is None  # interpreted
    found = why_not_precision("tf32", "cuda", "cuda")
    assert found == "need backend 'triton' for precision 'tf32'; got 'cuda'"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    for precision in ("tf32", "bfloat16"):
        found = why_not_precision(precision, "triton", "cuda:0")
        assert found == f"need a GPU of compute capability 8.0 or newer for precision '{precision}'; this one has 7.5"
    assert why_not_precision("float16", "triton", "cuda:0") is None


@pytest.mark.parametrize(("precision", "wanted"), [("float32", "ieee"), ("float16", "ieee"), ("tf32", "tf32")])
def test_convolutions_of_the_library(precision: str, wanted: str) -> None:
    """By default torch lets them take tf32, whatever a pass needs; afterwards its settings are as before."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.conv.fp32_precision, cudnn.allow_tf32
    with library(precision, torch.device("cuda")):
        assert cudnn.conv.fp32_precision == wanted
    assert (cudnn.conv.fp32_precision, cudnn.allow_tf32) == before
    with library(precision, torch.device("cpu")):
        assert cudnn.conv.fp32_precision == before[0]


def test_compiled_programs_take_settings_as_they_are() -> None:
    """A setter in a program would end it: torch.compile(fullgraph=True) refuses."""

    @torch.compile(backend="eager", fullgraph=True)
    def twice(x: torch.Tensor) -> torch.Tensor:
        with library("float32", torch.device("cuda")):
            return 2 * x

    assert twice(torch.ones(2)).tolist() == [2, 2]
