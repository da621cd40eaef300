"""Derivatives of derivatives through the fused cell: those of the reference, by autograd, by torch.func; or refused."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from cells import SETTINGS, errors
from foreign_darts import Network
from networks import small
from torch import Tensor
from trials import fresh

import sgl_fast
from sgl_fast.ops import cell_gradients
from sgl_fast.ops import mixed_cell as op
from sgl_fast.ops.cell_operators import FORWARD
from sgl_fast.reference import mixed_cell as reference
from sgl_fast.reference.cell import section_of
from sgl_fast.reference.layers import PassContext, RunningStats
from sgl_fast.reference.pattern import Pattern
from sgl_fast.testing import Setting, draw_inputs

BOUND = 1e-4  # of the largest value: two derivatives of float32
KINDS = ("normal", "partial channels, reduction", "skip dropout", "auxiliary skips, reduction", "evaluation")
KINDS += ("bare pools", "bare pools, evaluation")
Cell = Callable[..., Tensor]


@pytest.fixture(autouse=True)
def told_already() -> Iterator[None]:
    """What is slow is said in one test; in the others it is no error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "second derivatives")
        warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)  # of torch's own vmap
        yield


def of_one_node(name: str, backend: str) -> Setting:
    """For Triton's interpreter: a node, one learner, few pixels."""
    setting = SETTINGS[name]
    if backend != "triton":
        return setting
    ops = (("sep_conv_3x3", "max_pool_3x3"), ("skip_connect", "avg_pool_3x3"))
    return dataclasses.replace(setting, cell=dataclasses.replace(setting.cell, nodes=1, ops=ops), V=1, N=2, H=4, W=4)


def of_cell(setting: Setting, mixed_cell: Cell, running: RunningStats) -> Callable[..., Tensor]:
    """The cell as a function of tensors alone."""
    section, context = section_of(setting.cell), (setting.training, None if setting.training else running)

    def output(*tensors: Tensor) -> Tensor:
        seeds = torch.arange(setting.V)
        five = [*tensors, None][:5] if not setting.edge_weights else tensors
        return mixed_cell(setting.cell, section, *five, PassContext(*context, None, setting.dropout, seeds), 0.7)

    return output


def derivatives(output: Callable[..., Tensor], tensors: list[Tensor], cotangents: list[Tensor]) -> list[Tensor]:
    """In every input and in the output's gradient, of sum(gradients * cotangents)."""
    grad, *directions = cotangents
    grad = grad.clone().requires_grad_()
    first = torch.autograd.grad(output(*tensors), tensors, grad, create_graph=True)
    total = sum((g * d).sum() for g, d in zip(first, directions, strict=True))
    return list(torch.autograd.grad(total, [*tensors, grad]))


@pytest.mark.parametrize("name", KINDS)
def test_second_derivatives_are_those_of_the_reference(name: str, extension: None) -> None:
    check_second(name, "cpu")


def test_second_derivatives_are_those_of_the_reference_by_triton(interpreted: None) -> None:
    check_second("skip dropout", "triton")


def check_second(name: str, fused: str) -> None:
    fresh()
    setting = of_one_node(name, fused)
    inputs = draw_inputs(setting)
    directions = [torch.randn_like(t) for t in (inputs.grad, *inputs.tensors) if t is not None]
    found = []
    for dtype, cell in ((torch.float64, reference.mixed_cell), (torch.float32, partial(op.mixed_cell, backend=fused))):
        at = inputs.at(dtype)
        tensors = [t for t in at.tensors if t is not None]
        found.append(derivatives(of_cell(setting, cell, at.running), tensors, [d.to(dtype) for d in directions]))
    want, got = found
    assert max(errors(got, want)) < BOUND


def test_hessian_of_the_alphas_through_a_supernet(extension: None) -> None:
    """And the mixed derivative in weights and alphas, the subject of every exact bilevel method."""
    fresh()
    for name in ("pc_darts", "darts_minus"):
        net = small(name)
        w64, arch64 = net.init_weights(1, dtype=torch.float64), net.init_arch(1, dtype=torch.float64)
        x64, direction = torch.randn(3, 3, 8, 8, dtype=torch.float64), torch.randn_like(w64)
        found = []
        for dtype, backend in ((torch.float64, "reference"), (torch.float32, "cpu")):
            w = w64.to(dtype).requires_grad_()
            arch = arch64.map(lambda t, dtype=dtype: t.to(dtype).requires_grad_())  # type: ignore[misc]
            loss = net(w, arch, x64.to(dtype), backend=backend).log_softmax(-1)[..., 0].sum()
            grad_w, *grad_a = torch.autograd.grad(loss, [w, *arch.tensors()], create_graph=True)
            mixed = torch.autograd.grad((grad_w * direction.to(dtype)).sum(), arch.tensors(), retain_graph=True)
            hessian = torch.autograd.grad(sum(g.square().sum() for g in grad_a), arch.tensors())
            found.append([*mixed, *hessian])
        assert max(errors(found[1], found[0])) < 1e-3, name


def test_exact_unrolled_gradient_through_an_accelerated_model(extension: None) -> None:
    """d/d alpha of the loss after a step of the weights, through `accelerate`: the original's."""
    fresh()
    x, found = torch.randn(4, 3, 16, 16), []
    for accelerated in (False, True):
        torch.manual_seed(0)
        model = Network()
        if accelerated:
            sgl_fast.accelerate(model)
            assert sgl_fast.report(model).accelerated == 3
        weights = {k: v for k, v in model.named_parameters() if "alpha" not in k}
        alphas = [v for k, v in model.named_parameters() if "alpha" in k]
        loss = model(x).square().mean()
        grads = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        moved = sum((g * v.detach()).sum() for g, v in zip(grads, weights.values(), strict=True))
        found.append(torch.autograd.grad(moved, alphas))
    assert max(errors(found[1], [g.double() for g in found[0]])) < 1e-3


def test_what_is_slow_is_said_once(extension: None) -> None:
    cell_gradients._say_slow.cache_clear()
    setting = SETTINGS["normal"]
    at = draw_inputs(setting).at(torch.float32)
    cell = of_cell(setting, partial(op.mixed_cell, backend="cpu"), at.running)
    with pytest.warns(UserWarning, match=r"a normal cell of 8 channels.*backend='reference'") as said:
        for _ in range(2):
            (g,) = torch.autograd.grad(cell(*at.tensors).square().sum(), at.tensors[:1], create_graph=True)
            g.sum().backward()
    assert len(said) == 1


def test_a_replayed_pattern_has_no_second_derivative(extension: None) -> None:
    setting = SETTINGS["normal"]
    at, pattern = draw_inputs(setting).at(torch.float32), Pattern()
    for _ in range(2):
        pattern.start()
        context = PassContext(pattern=pattern)
        out = op.mixed_cell(setting.cell, section_of(setting.cell), *at.tensors, context, backend="cpu")
        pattern.finish()
    (g,) = torch.autograd.grad(out.square().sum(), at.tensors[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="replays a pattern; backend='reference' has it"):
        torch.autograd.grad(g.sum(), at.tensors[:1])


def test_torch_func(extension: None) -> None:
    """grad, vjp, vmap, per-sample gradients and grad of grad: those of the reference; forward mode is refused."""
    fresh()
    setting = SETTINGS["partial channels"]
    at = draw_inputs(setting).at(torch.float32)
    tensors = [t.detach() for t in at.tensors if t is not None]
    batch = [torch.stack([t, 0.9 * t, t + 0.01]) for t in tensors[:3]]

    def run(backend: str) -> list[Tensor]:
        cell = of_cell(setting, partial(op.mixed_cell, backend=backend), at.running)

        def loss(*three: Tensor) -> Tensor:
            return cell(*three, *tensors[3:]).square().mean()

        grads = torch.func.grad(loss, (0, 1, 2))
        twice = torch.func.grad(lambda *three: grads(*three)[2].square().sum(), (0, 2))
        each = torch.func.vmap(grads)(*batch)
        shared = torch.func.vmap(grads, in_dims=(0, None, None))(batch[0], *tensors[1:3])
        return [*grads(*tensors[:3]), *twice(*tensors[:3]), *each, *shared]

    want, found = run("reference"), run("cpu")
    assert max(errors(found, [t.double() for t in want])) < BOUND
    cell = of_cell(setting, partial(op.mixed_cell, backend="cpu"), at.running)
    with pytest.raises(RuntimeError, match="no forward-mode derivative of sgl_fast.mixed_cell.*'reference' has it"):
        torch.func.jvp(lambda s: cell(s, *tensors[1:]), (tensors[0],), (tensors[0],))


def test_torch_func_of_a_supernet(extension: None) -> None:
    """Stem and classifier, too: gradients image by image."""
    fresh()
    net = small("pc_darts")
    w, arch, x = net.init_weights(1), net.init_arch(1), torch.randn(2, 4, 3, 8, 8)

    def each(backend: str) -> Tensor:
        def loss(w: Tensor, x: Tensor) -> Tensor:
            return net(w, arch, x, backend=backend).square().mean()

        return torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(w, x)

    assert errors([each("cpu")], [each("reference").double()])[0] < 1e-3


@pytest.mark.parametrize("which", ["compiled", "triton"])
def test_raw_operators_are_differentiable(which: str, extension: None, request: pytest.FixtureRequest) -> None:
    if which == "triton":
        request.getfixturevalue("interpreted")
    fresh()
    setting = of_one_node("normal", "triton")
    at = draw_inputs(setting).at(torch.float32)
    tensors = [t for t in at.tensors if t is not None]
    section = section_of(setting.cell)

    def raw(cell: Any, section: Any, *five: Tensor) -> Tensor:
        how = None, None, None, torch.tensor(0.7), None, "float32"
        return getattr(FORWARD, which)(op.numbers(cell), *five, *how)[0]

    def plain(cell: Any, section: Any, *five: Tensor) -> Tensor:
        return reference.mixed_cell(cell, section, *five, PassContext(), 0.7)

    found = []
    for function in (raw, plain):
        output = partial(function, setting.cell, section)
        directions = [torch.ones_like(t) for t in (at.grad, *tensors)]
        first = torch.autograd.grad(output(*tensors), tensors, at.grad)
        found.append([*first, *derivatives(output, tensors, directions)])
    assert max(errors(found[0], [t.double() for t in found[1]])) < BOUND


def test_operators_that_give_their_gradients_refuse_to_be_differentiated(extension: None) -> None:
    x = torch.randn(2, 3, 4, requires_grad=True)
    from sgl_fast.ops import flat_update, pseudo_label

    for call in (
        lambda: pseudo_label.pseudo_labels(x, backend="cpu"),
        lambda: pseudo_label.cross_entropy(x, x, backend="cpu"),
        lambda: flat_update.row_norms(x[0], backend="cpu"),
        lambda: flat_update.perturb(x[0], x[0], 0.1, backend="cpu"),
    ):
        with pytest.raises(RuntimeError, match="has no derivative: give it detached tensors"):
            call()
        with torch.no_grad():
            call()
