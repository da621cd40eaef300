"""The fused cell: every backend and instruction set against the reference in float64, on fresh random shapes."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import pytest
import torch
from cells import SETTINGS, cell_of, errors, tiny
from torch import Tensor
from trials import fresh, threads

from sgl_fast.backends.choice import compiled
from sgl_fast.ops import mixed_cell as op
from sgl_fast.reference import mixed_cell as reference
from sgl_fast.reference.cell import section_of
from sgl_fast.reference.layers import PassContext
from sgl_fast.testing import Setting, draw_inputs, draw_setting, run

NAMES = ("out", "s0", "s1", "weights", "op_weights", "edge_weights", "running mean", "running var")
BOUND = 2e-5  # of the largest value, where the eager float32 operation has less than half of that


def check(setting: Setting, backend: str) -> None:
    """Errors at most twice those of the eager float32 operation, for one of three draws of the inputs.

    Rounding may put a ReLU's input on the other side of its kink, whose neighbourhood then differs by more. That is
    rare and depends on the inputs; what is wrong with a kernel is wrong for each draw.
    """
    found = []
    for _ in range(3):
        said = excess(setting, backend)
        if not said:
            return
        found.append(said)
    raise AssertionError(f"{found}; {setting}")


def excess(setting: Setting, backend: str) -> str:
    """What is further from float64 than it may be; empty where nothing is."""
    inputs = draw_inputs(setting)
    want = run(setting, inputs.at(torch.float64), reference.mixed_cell)
    eager = errors(run(setting, inputs.at(torch.float32), reference.mixed_cell), want)
    found = errors(run(setting, inputs.at(torch.float32), partial(op.mixed_cell, backend=backend)), want)
    names = [n for n in NAMES if n != "edge_weights" or setting.edge_weights]
    all_three = zip(names, found, eager, strict=True)
    return ", ".join(f"{n}: error {x:.1e}, eager {y:.1e}" for n, x, y in all_three if not x <= max(BOUND, 2 * y))


@pytest.mark.parametrize("name", SETTINGS)
def test_every_kind_of_cell(name: str, backend: str) -> None:
    fresh()
    if name == "nothing but none":
        out = run_out(SETTINGS[name], backend)
        assert not out.any()
        return
    check(tiny(SETTINGS[name], backend), backend)


def test_a_cell_without_norms(backend: str) -> None:
    """It has no statistics, so that one pixel is enough; a pixel's average and maximum are itself."""
    fresh()
    ops = (("max_pool_3x3", "avg_pool_3x3"),) * 2
    setting = Setting(cell_of(nodes=1, ops=ops, preprocess=False, pool_norm=False), 2, 1, 1, 1)
    inputs = draw_inputs(setting).at(torch.float32)
    s0, s1, weights, mixture, edges = inputs.tensors
    section = section_of(setting.cell)
    out = op.mixed_cell(setting.cell, section, s0, s1, weights, mixture, edges, PassContext(), backend=backend)
    assert section.num_statistics == 0
    torch.testing.assert_close(out, sum(edges[:, j].view(2, 1, 1, 1, 1) * s for j, s in enumerate((s0, s1))))
    (grad,) = torch.autograd.grad(out, [edges], inputs.grad)
    want = torch.stack([(inputs.grad * s).sum((1, 2, 3, 4)) for s in (s0, s1)], 1)
    torch.testing.assert_close(grad, want)


def run_out(setting: Setting, backend: str) -> Tensor:
    inputs = draw_inputs(setting).at(torch.float32)
    section = section_of(setting.cell)
    return op.mixed_cell(setting.cell, section, *inputs.tensors, PassContext(), backend=backend).detach()


def test_random_cells(backend: str) -> None:
    draw = fresh()
    for _ in range(1 if backend == "triton" else 6):
        setting = draw_setting(draw)
        while not affordable(setting, backend):
            setting = draw_setting(draw)
        check(tiny(setting, backend), backend)


def affordable(s: Setting, backend: str) -> bool:
    """Simulated threads are slow: small cells only."""
    simulated = backend == "cpu" and compiled().isa() == "simulated"
    return not simulated or s.V * s.N * s.H * s.W * s.cell.channels * len(s.cell.ops) < 100_000


def test_wanted_gradients_do_not_depend_on_the_others(extension: None) -> None:
    """A pass for the architecture alone gives the same architecture gradients, to the bit."""
    fresh()
    for name in ("normal", "partial channels, reduction"):
        setting = SETTINGS[name]
        inputs = draw_inputs(setting).at(torch.float32)
        both = []
        for wanted in (range(5), (3, 4), (0, 3), (2,)):
            leaves = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(inputs.tensors) if t is not None]
            out = op.mixed_cell(setting.cell, section_of(setting.cell), *leaves, PassContext(), backend="cpu")
            found = torch.autograd.grad(out, [leaves[i] for i in wanted], inputs.grad)
            both.append(dict(zip(wanted, found, strict=True)))
        for part in both[1:]:
            assert all(torch.equal(both[0][i], g) for i, g in part.items())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_runs_repeat_to_the_bit(count: int, extension: None) -> None:
    draw = fresh()
    with threads(count):
        for setting in (SETTINGS["partial channels"], draw_setting(draw)):
            inputs = draw_inputs(setting)
            first, second = (
                run(setting, inputs.at(torch.float32), partial(op.mixed_cell, backend="cpu")) for _ in "ab"
            )
            assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ["partial channels", "reduction"])
@pytest.mark.parametrize("V", [1, 3])
def test_threads_change_nothing(V: int, name: str, extension: None) -> None:
    """Learners whose images several threads have, threads that have several learners, shares that are not even."""
    fresh()
    setting = dataclasses.replace(SETTINGS[name], V=V, N=19)
    inputs = draw_inputs(setting)
    found = []
    for count in (1, 2, 3, 5):
        with threads(count):
            found.append(run(setting, inputs.at(torch.float32), partial(op.mixed_cell, backend="cpu")))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_inputs_in_any_layout(backend: str) -> None:
    """Learners inside images, as the stem leaves them; an odd address; a column block; a gradient not dense."""
    fresh()
    setting = tiny(SETTINGS["normal"], backend)
    inputs = draw_inputs(setting).at(torch.float32)
    s0, s1, weights, *mixture = (t.detach() if t is not None else None for t in inputs.tensors)
    odd = torch.cat([s1.new_zeros(1), s1.flatten()])[1:].view_as(s1)
    strange = [s0.transpose(0, 1).contiguous().transpose(0, 1), odd]
    strange.append(torch.cat([weights, weights], 1)[:, weights.shape[1] :])
    results = []
    for three in ((s0, s1, weights), strange):
        leaves = [t.requires_grad_() for t in three]
        out = op.mixed_cell(setting.cell, section_of(setting.cell), *leaves, *mixture, PassContext(), backend=backend)
        grad = inputs.grad if three is not strange else inputs.grad.transpose(0, 1).contiguous().transpose(0, 1)
        results.append(torch.autograd.grad(out, leaves, grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_operators_are_registered_properly(extension: None) -> None:
    fresh()
    setting = SETTINGS["partial channels"]
    inputs = draw_inputs(setting)
    tensors = [t.float() for t in inputs.tensors if t is not None]
    cell = op.numbers(setting.cell)
    forward = (cell, *tensors, None, None, None, None, None, "float32")
    torch.library.opcheck(torch.ops.sgl_fast.mixed_cell.default, forward)
    saved = torch.ops.sgl_fast.mixed_cell(*forward)
    flags = True, False, True, False, True, "float32"
    backward = (cell, *tensors, None, *saved, inputs.grad.float(), None, None, *flags)
    torch.library.opcheck(torch.ops.sgl_fast.mixed_cell_backward.default, backward)


def test_tritons_operators_are_registered_properly(extension: None, interpreted: None) -> None:
    fresh()
    setting = dataclasses.replace(SETTINGS["partial channels"], V=1, N=2, H=2, W=2)
    cell = dataclasses.replace(setting.cell, nodes=1, ops=(("sep_conv_3x3",), ("max_pool_3x3",)))
    inputs = draw_inputs(dataclasses.replace(setting, cell=cell))
    tensors = [t.float() for t in inputs.tensors if t is not None]
    forward = (op.numbers(cell), *tensors, None, None, None, None, None, "float32")
    torch.library.opcheck(torch.ops.sgl_fast.triton_mixed_cell.default, forward)
    saved = torch.ops.sgl_fast.triton_mixed_cell(*forward)
    flags = True, False, True, False, True, "float32"
    backward = (op.numbers(cell), *tensors, None, *saved, inputs.grad.float(), None, None, *flags)
    torch.library.opcheck(torch.ops.sgl_fast.triton_mixed_cell_backward.default, backward)


def test_it_compiles_into_one_graph(extension: None) -> None:
    fresh()
    setting = SETTINGS["normal"]
    section = section_of(setting.cell)
    inputs = draw_inputs(setting).at(torch.float32)

    def loss(*tensors: Tensor) -> Tensor:
        return op.mixed_cell(setting.cell, section, *tensors, PassContext(), backend="cpu").square().sum()

    want = torch.autograd.grad(loss(*inputs.tensors), inputs.tensors)
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    found = torch.autograd.grad(compiled(*inputs.tensors), inputs.tensors)
    assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))


@pytest.mark.parametrize(
    ("precision", "able"),
    [("tf32", "'triton'"), ("float16", "'cuda' or 'triton'"), ("bfloat16", "'triton'"), ("float8", "")],
)
def test_a_precision_is_for_some_backends(precision: str, able: str, extension: None) -> None:
    setting = SETTINGS["normal"]
    inputs = draw_inputs(setting).at(torch.float32)
    want = f"need backend {able} for precision '{precision}'" if able else "need precision one of float32, tf32"
    for backend in ("reference", "cpu"):
        with pytest.raises(ValueError, match=want):
            context = PassContext(precision=precision)
            op.mixed_cell(setting.cell, section_of(setting.cell), *inputs.tensors, context, backend=backend)


@pytest.mark.parametrize("which", ["reference", "cpu", "triton"])
def test_wrong_inputs_are_named(which: str, extension: None, request: pytest.FixtureRequest) -> None:
    if which == "triton":
        request.getfixturevalue("interpreted")
    setting = SETTINGS["normal"]

    def refused(setting: Setting, changes: dict[int, Any], message: str) -> None:
        tensors = [t.float() for t in draw_inputs(setting).tensors if t is not None]
        for index, change in changes.items():
            tensors[index] = change(tensors[index])
        with pytest.raises(ValueError, match=message):
            op.mixed_cell(setting.cell, section_of(setting.cell), *tensors, PassContext(), backend=which)

    for index, name in enumerate(NAMES[1:6]):
        cut = {index: lambda t: t[:, :, :1] if t.dim() == 5 else t[..., :1]}
        refused(setting, cut, rf"need {name} \(2, .*torch.float32 on cpu; got \(2, ")
        if name != "s1":  # by which the others are told
            said = f"need.* ({name} .*|float32 tensors .*); got .*bfloat16"
            refused(setting, {index: lambda t: t.to(torch.bfloat16)}, said)
    refused(setting, {0: lambda t: t[:, :0], 1: lambda t: t[:, :0]}, r"need s1 .*, not empty.*; got \(2, 0, ")
    refused(Setting(setting.cell, 1, 1, 1, 1), {}, "more than one value a channel")
    reduction = SETTINGS["reduction"]
    refused(dataclasses.replace(reduction, V=1, N=1, H=2, W=2), {}, "more than one value a channel")
    odd = dataclasses.replace(reduction, H=6, W=5)
    refused(odd, {}, "need even H and W in a reduction cell")
