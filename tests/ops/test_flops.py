"""torch's FlopCounterMode: fused operators count what plain PyTorch does in their place, exactly."""

from __future__ import annotations

import copy
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from foreign_check import images
from foreign_darts import Network
from networks import draws, small
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry
from trials import fresh

import sgl_fast
from sgl_fast import ops
from sgl_fast.nets.supernet import Supernet
from sgl_fast.ops.mixed_cell import mixed_cell
from sgl_fast.reference.cell import section_of
from sgl_fast.reference.layers import PassContext
from sgl_fast.testing import Setting, draw_inputs, draw_setting

EVERYTHING = "weights arch images"
CASES = [  # space, virtual learners, whether they share images, what wants a gradient
    ("darts", 1, False, EVERYTHING),
    ("darts", 2, True, "weights arch"),
    ("darts_minus", 2, False, "arch"),
    ("p_darts", 2, False, "weights"),
    ("pc_darts", 1, False, "arch images"),
    ("pc_darts", 2, False, "weights arch"),
    ("pc_darts_imagenet", 2, False, "weights arch"),
]
NONE = {
    "augment",
    "cross_entropy",
    "dropout_masks",
    "perturb",
    "pseudo_labels",
    "central_difference",
    "row_norms",
    "sgd",
}
UNCOUNTED = {*NONE, "pseudo_label_vjp"}  # no product and no convolution in their reference


def flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def counts(net: Supernet, V: int, shared: bool, wanted: str, backend: str) -> tuple[int, int]:
    """Of a forward pass and of its backward."""
    weights, arch, x = draws(net, V)
    weights, arch, x = weights.float(), arch.map(lambda t: t.float()), x.float()[0 if shared else slice(None)]
    given = {"weights": [weights], "arch": arch.tensors(), "images": [x]}
    for name in wanted.split():
        for t in given[name]:
            t.requires_grad_()
    logits: list[Tensor] = []
    forward = flops(lambda: logits.append(net(weights, arch, x, backend=backend)))
    return forward, flops(lambda: logits[0].square().sum().backward())


@pytest.mark.parametrize(("space", "V", "shared", "wanted"), CASES)
def test_a_supernet(space: str, V: int, shared: bool, wanted: str, extension: None) -> None:
    case = small(space), V, shared, wanted
    want = counts(*case, "reference")
    assert counts(*case, "cpu") == want and min(want) > 0


def test_random_cells(extension: None) -> None:
    """Alone, where their inputs may want no gradient and their weights do."""
    draw = fresh()
    for preprocess in (False, True) * 4:
        setting = draw_setting(draw)
        setting = replace(setting, cell=replace(setting.cell, preprocess=preprocess), H=4, W=8)
        tensors = draw_inputs(setting).at(torch.float32).tensors
        for t in tensors[:3]:
            assert t is not None
            t.requires_grad_(draw.random() < 0.4)

        def count(backend: str, setting: Setting = setting, tensors: list[Tensor | None] = tensors) -> tuple[int, int]:
            cell, out = setting.cell, []
            arguments = cell, section_of(cell), *tensors, PassContext(dropout_seeds=torch.arange(setting.V))
            forward = flops(lambda: out.append(mixed_cell(*arguments, backend=backend)))
            return forward, flops(lambda: out[0].sum().backward())

        assert count("cpu") == count("reference"), (setting, [t is not None and t.requires_grad for t in tensors])


def test_tensors_without_values_count_as_much(extension: None) -> None:
    """Triton's operators take them, too."""
    case = small("pc_darts", nodes=1), 2, False, EVERYTHING
    want = counts(*case, "reference")
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert [counts(*case, backend) for backend in ("cpu", "triton")] == [want, want]


@pytest.mark.parametrize("k", [1, 4])
def test_an_accelerated_model(k: int, extension: None) -> None:
    torch.manual_seed(3)
    model = Network(C=4, k=k)
    fast = sgl_fast.accelerate(copy.deepcopy(model))
    assert sgl_fast.report(fast).accelerated == 3

    def count(model: nn.Module) -> tuple[int, ...]:
        """Of a pass, of its backward, and of the backward alone of a pass that was made before."""
        logits = [model(images(4))]
        backward = flops(lambda: logits[0].square().sum().backward())
        return flops(lambda: logits.append(model(images(4)))), flops(lambda: logits[1].sum().backward()), backward

    assert count(fast) == count(model)


def test_every_operator_counts_or_has_nothing_to_count(extension: None) -> None:
    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"sgl_fast.ops.{module.name}")
    names = {name.partition("::")[2] for name in torch._C._dispatch_get_all_op_names() if name.startswith("sgl_fast::")}
    assert {"mixed_cell", "triton_mixed_cell", "convolution"} <= names
    for name in names - UNCOUNTED - {f"triton_{name}" for name in UNCOUNTED}:
        assert getattr(torch.ops.sgl_fast, name) in flop_registry, name
