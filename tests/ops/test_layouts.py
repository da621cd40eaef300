"""Tensors in any layout, in every argument of every operator: the same bits as their contiguous copies."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cells import SETTINGS
from torch import Tensor
from trials import fresh

from sgl_fast.backends.choice import compiled
from sgl_fast.ops import augment, flat_update, pseudo_label, skip_dropout
from sgl_fast.ops import mixed_cell as op
from sgl_fast.ops.cell_numbers import mask_size, masks_of
from sgl_fast.ops.cell_operators import BACKWARD, FORWARD
from sgl_fast.reference.cell import section_of
from sgl_fast.reference.layers import PassContext
from sgl_fast.testing import Setting, draw_inputs


def expanded(axis: int) -> Callable[[Tensor], Tensor]:
    return lambda t: t.narrow(axis % t.dim(), 0, 1).expand_as(t) if t.dim() else t


def overlapping(t: Tensor) -> Tensor:
    """Rows that begin one element after the last one, in one memory."""
    if not t.dim():
        return t
    memory = torch.cat([t.flatten(), t.flatten()[: len(t)]])
    return memory.as_strided(t.shape, (1, *t.stride()[1:]))


def moved(t: Tensor) -> Tensor:
    """The second axis outermost in memory, as a stem leaves virtual learners."""
    return t.transpose(0, 1).contiguous().transpose(0, 1) if t.dim() > 1 else t


def channels_last(t: Tensor) -> Tensor:
    return t.transpose(2, -1).contiguous().transpose(2, -1) if t.dim() > 3 else t


def every_other(t: Tensor) -> Tensor:
    """Of a tensor of twice the width, every second column."""
    return torch.stack([t, torch.zeros_like(t)], dim=-1)[..., 0]


def odd_address(t: Tensor) -> Tensor:
    return torch.cat([t.new_zeros(1), t.flatten()])[1:].view_as(t)


def column_block(t: Tensor) -> Tensor:
    return torch.cat([t, t], dim=-1)[..., t.shape[-1] :] if t.dim() else t


LAYOUTS = {
    "expanded learners": expanded(0),
    "expanded images": expanded(1),
    "expanded pixels": expanded(-1),
    "overlapping": overlapping,
    "moved": moved,
    "channels last": channels_last,
    "every other": every_other,
    "odd address": odd_address,
    "column block": column_block,
}


def check(call: Callable[..., Any], args: list[Any], backend: str) -> None:
    """call(*args) with each tensor in each of the layouts; on slower backends at an odd address and in another one.

    Torch itself adds in an order that depends on the layout: the reference need not give the same bits.
    """
    near = {"rtol": 1e-5, "atol": 1e-5} if backend == "reference" else {"rtol": 0, "atol": 0}
    slow = backend != "cpu" or compiled().isa() == "simulated"
    for position, arg in enumerate(args):
        if not isinstance(arg, Tensor):
            continue
        for name in {"odd address", random.choice(sorted(LAYOUTS))} if slow else LAYOUTS:
            strange = LAYOUTS[name](arg)
            plain = strange.clone(memory_format=torch.contiguous_format)
            got, want = (call(*args[:position], t, *args[position + 1 :]) for t in (strange, plain))
            said = f"argument {position}, {name}"
            torch.testing.assert_close(got, want, equal_nan=True, msg=lambda m, said=said: f"{said}: {m}", **near)


def small_cell(backend: str) -> Setting:
    setting = dataclasses.replace(SETTINGS["partial channels"], dropout=0.4)
    if backend != "triton":
        return setting
    ops = (("sep_conv_3x3", "max_pool_3x3"), ("skip_connect", "avg_pool_3x3"))
    cell = dataclasses.replace(setting.cell, nodes=1, ops=ops)
    return dataclasses.replace(setting, cell=cell, N=2, H=4, W=4)


def on(operator: Any, backend: str) -> Any:
    return operator.triton if backend == "triton" else operator.compiled


def test_raw_operators_of_the_cell(backend: str) -> None:
    """Running statistics, patterns, masks and what a forward leaves, too; training and evaluation."""
    if backend == "reference":
        pytest.skip("it has no raw operator")
    fresh()
    setting = small_cell(backend)
    setting = dataclasses.replace(setting, cell=dataclasses.replace(setting.cell, pool_norm=False))
    at = draw_inputs(setting).at(torch.float32)
    inputs = [None if t is None else t.detach() for t in at.tensors]
    numbers, scalars = op.numbers(setting.cell), (torch.tensor(0.7), torch.tensor(1.25))
    masks = torch.rand(masks_of(setting.cell), setting.V, *mask_size(setting.cell, at.tensors[1])) > 0.3
    forward, backward = on(FORWARD, backend), on(BACKWARD, backend)
    running = torch.stack([at.running.var, at.running.var, at.running.var + 1], 1)  # a variance in any order
    saved = forward(numbers, *inputs, None, None, masks, *scalars, "float32")
    for args in ([None, None, masks], [running, saved[4], None]):
        check(forward, [numbers, *inputs, *args, *scalars, "float32"], backend)
    flags = True, False, True, True, True, "float32"
    check(backward, [numbers, *inputs, masks, *saved, at.grad, *scalars, *flags], backend)


@pytest.mark.parametrize("name", ["normal", "after a reduction", "states given", "partial channels, reduction"])
def test_gradients_of_states_in_any_layout(name: str, backend: str) -> None:
    """By autograd, in each input of a cell: a stem that learners share is expanded."""
    if backend == "triton" and name != "normal":
        pytest.skip("one kind is enough of the interpreter's time")
    fresh()
    setting = small_cell(backend) if backend == "triton" else SETTINGS[name]
    at = draw_inputs(setting).at(torch.float32)

    def gradients(*tensors: Tensor) -> Any:
        *five, grad = tensors
        leaves = [t.detach().requires_grad_() for t in five if t is not None]
        rest = [None] * (5 - len(leaves))
        out = op.mixed_cell(setting.cell, section_of(setting.cell), *leaves, *rest, PassContext(), backend=backend)
        return out.detach(), *torch.autograd.grad(out, leaves, grad)

    check(gradients, [*at.tensors, at.grad], backend)


def test_the_other_operators(backend: str) -> None:
    fresh()
    rows, logits = torch.randn(4, 37), torch.randn(3, 5, 7)
    draws = torch.randint(0, 2, (5, 6))
    images = torch.randint(256, (3, 3, 6, 5), dtype=torch.uint8)
    cases: list[tuple[Callable[..., Any], list[Any]]] = [
        (flat_update.row_norms, [rows]),
        (flat_update.sgd, [rows, rows + 1, rows - 1, torch.tensor(0.1), 0.9, 3e-4, 5.0]),
        (flat_update.perturb, [rows, rows + 1, 0.01]),
        (flat_update.central_difference, [rows, torch.rand(2)]),
        (pseudo_label.pseudo_labels, [logits]),
        (pseudo_label.cross_entropy, [logits, logits.softmax(-1), 0.5]),
        (pseudo_label.pseudo_label_vjp, [logits.softmax(-1), logits]),
        (augment.augment, [images, draws, torch.randn(3, 256), 1, 2]),
        (skip_dropout.dropout_masks, [torch.tensor([1, 2**40, 3]), 2, 0, (2, 3, 4, 5), 0.3]),
    ]
    for function, args in cases:
        check(lambda *given, function=function: function(*given, backend=backend), args, backend)
