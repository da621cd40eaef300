"""Ops, mixed ops and cells of the reference against the known answers, float64."""

from __future__ import annotations

from typing import Any

import known
import pytest
import torch
from torch import Tensor

from sgl_fast.reference import cell as layout
from sgl_fast.reference import mixed_cell as reference
from sgl_fast.reference.layers import LayerCursor, PassContext, RunningStats, unfold
from sgl_fast.spaces import KINDS, PRIMITIVES

OPS = [e for e in known.load("ops")["entries"] if e["form"] == "search" and e["op"] in PRIMITIVES]
BLOCKS = [e for e in known.load("ops")["entries"] if e["op"].endswith("affineFalse")]


def section(write: Any, *args: Any) -> layout.Section:
    writer = layout.Writer()
    write(writer, *args)
    return writer.cut("test")


def leaf(x: Tensor) -> Tensor:
    return x.clone().requires_grad_()


def filled(part: layout.Section) -> Tensor:
    if not part.entries:
        return torch.zeros(1, 0, dtype=torch.float64, requires_grad=True)
    return leaf(known.weights(part.entries)[None])


def check_parameter_grads(part: layout.Section, grad: Tensor | None, answers: list[Any]) -> None:
    assert len(part.entries) == len(answers)
    for entry, answer in zip(part.entries, answers, strict=True):
        assert grad is not None
        got = grad[0, entry.offset : entry.offset + entry.size]
        if isinstance(answer, dict):
            assert list(entry.shape) == answer["shape"]
            known.close(got[: len(answer["grad_first"])], answer["grad_first"])
            answer = answer["grad_sumsq"]
        known.close(got.square().sum(), answer)


@pytest.mark.parametrize("answer", OPS, ids=lambda a: f"{a['op']}-{a['stride']}")
def test_op(answer: dict[str, Any]) -> None:
    part = section(layout.write_op, "op", answer["op"], 8, answer["stride"])
    weights = filled(part)
    S = part.num_statistics
    running = RunningStats(*(f(1, S, dtype=torch.float64) for f in (torch.zeros, torch.ones)))
    x = leaf(known.u((2, 8, 8, 8), known.X))

    def run(training: bool) -> Tensor:
        cursor = LayerCursor(part, weights, PassContext(training, running))
        return reference.mixed_op(cursor, [answer["op"]], x, cursor.relu(x), answer["stride"], [weights.new_ones(1)])

    out = run(training=True)
    assert list(out.shape) == answer["out_shape"]
    known.close_summary(out, answer["out"])
    if out.requires_grad:
        (out * known.u(tuple(out.shape), known.COTANGENT)).sum().backward()
        assert x.grad is not None
        known.close_summary(x.grad, answer["dx"])
        check_parameter_grads(part, weights.grad, answer["param_grads"])
    known.close_summary(run(training=False), answer["out_eval_after_one_train"])


@pytest.mark.parametrize("answer", BLOCKS, ids=lambda a: a["op"])
def test_block(answer: dict[str, Any]) -> None:
    shrink = answer["op"].startswith("Factorized")
    part = section(layout.write_factorized_reduce if shrink else layout.write_conv_norm, "block", 12, 8)
    weights, x = filled(part), leaf(known.u((2, 12, 8, 8), known.X))
    cursor = LayerCursor(part, weights, PassContext())
    out = reference.factorized_reduce(cursor, cursor.relu(x)) if shrink else reference.relu_conv_norm(cursor, x)
    known.close_summary(out, answer["out"])
    (out * known.u(tuple(out.shape), known.COTANGENT)).sum().backward()
    known.close_summary(x.grad, answer["dx"])
    check_parameter_grads(part, weights.grad, answer["param_grads"])


def test_shuffle() -> None:
    for answer in known.load("ops")["channel_shuffle"]:
        C, groups = answer["C"], answer["groups"]
        x = torch.arange(C, dtype=torch.float64).view(1, C, 1, 1).expand(1, C, 2, 2)
        split = C // groups
        out = reference.shuffle(x[:, :split], x[:, split:], 1, groups)
        assert out[0, :, 0, 0].long().tolist() == answer["out_channel_c_takes_in_channel"]


def cell_shape(answer: dict[str, Any], kind: str, ops: Any, **inputs: Any) -> layout.Cell:
    space = answer["space"]
    partial = 4 if space == "pc_darts_k4" else 2 if space == "pc_darts_imagenet_k2" else 1
    shape = {"shrink0": False, "c_prev_prev": 12, "c_prev": 20, "nodes": 4, **inputs}
    C = answer["C"]
    return layout.Cell(0, kind, channels=C, ops=ops, partial=partial, aux_skip=space == "darts_minus", **shape)


@pytest.mark.parametrize("answer", known.load("mixed_ops"), ids=lambda a: f"{a['space']}-{a['stride']}")
def test_mixed_edge(answer: dict[str, Any]) -> None:
    stride = answer["stride"]
    ops = tuple(answer.get("ops", PRIMITIVES))
    cell = cell_shape(answer, KINDS[stride - 1], (ops,))
    writer = layout.Writer()
    for op in ops:
        layout.write_op(writer, op, op, cell.channels // cell.partial, stride)
    if cell.aux_skip and stride == 2:
        layout.write_factorized_reduce(writer, "aux_skip", cell.channels, cell.channels)
    part = writer.cut("edge")
    weights, coefficients = filled(part), leaf(torch.tensor(answer["weights"], dtype=torch.float64))
    x = leaf(known.u((2, cell.channels, 8, 8), known.X))
    cursor = LayerCursor(part, weights, PassContext())
    inputs = x, cursor.relu(x)
    out = reference.mixed_edge(cursor, cell, 0, inputs, stride, coefficients.split(1), answer.get("beta", 1.0))
    known.close_summary(out, answer["out"])
    (out * known.u(tuple(out.shape), known.COTANGENT)).sum().backward()
    known.close_summary(x.grad, answer["dx"])
    known.close(coefficients.grad, answer["dweights"])
    check_parameter_grads(part, weights.grad, answer["param_grad_sumsq"])


def rule_ops(count: int) -> tuple[tuple[str, ...], ...]:
    """Edge e keeps {(e + 3j) mod 8 : j < count}."""
    return tuple(tuple(PRIMITIVES[o] for o in sorted((e + 3 * j) % 8 for j in range(count))) for e in range(14))


CELLS = known.load("cells")


@pytest.mark.parametrize(
    "answer", CELLS, ids=lambda a: f"{a['space']}{a.get('K', '')}-{a['reduction']}-{a['reduction_prev']}"
)
def test_cell(answer: dict[str, Any]) -> None:
    kind = "reduce" if answer["reduction"] else "normal"
    O = answer.get("K", 8)
    inputs = {"c_prev_prev": answer["C_prev_prev"], "c_prev": answer["C_prev"], "shrink0": answer["reduction_prev"]}
    cell = cell_shape(answer, kind, rule_ops(O), **inputs)
    part = section(layout.write_cell, cell)
    assert len(part.entries) == answer["n_param_tensors"] and part.num_weights == answer["n_params"]
    weights = filled(part)
    alphas = leaf(0.5 * known.u((1, 14, O), 910001 + answer["reduction"]))
    betas = leaf(0.5 * known.u((1, 14), 910003 + answer["reduction"])) if cell.partial > 1 else None
    s0 = leaf(known.u(tuple(answer["s0_shape"]), known.S0))
    s1 = leaf(known.u(tuple(answer["s1_shape"]), known.S1))
    edge_weights = None if betas is None else torch.cat([b.softmax(1) for b in betas.split([2, 3, 4, 5], 1)], 1)
    op_weights = alphas.softmax(-1)
    out = reference.mixed_cell(
        cell, part, s0[None], s1[None], weights, op_weights, edge_weights, PassContext(), answer.get("beta", 1.0)
    )[0]
    assert list(out.shape) == answer["out_shape"]
    known.close_summary(out, answer["out"])
    known.close(out.unflatten(1, (4, -1)).square().sum((0, 2, 3, 4)), answer["out_node_sumsq"])
    (out * known.u(tuple(out.shape), known.COTANGENT)).sum().backward()
    known.close_summary(s0.grad, answer["ds0"])
    known.close_summary(s1.grad, answer["ds1"])
    known.close(alphas.grad[0], answer["dalpha"])
    if betas is not None:
        known.close(betas.grad[0], answer["dbeta"])


@pytest.mark.parametrize("kind", KINDS)
def test_virtual_learners_do_not_mix(kind: str) -> None:
    """Three virtual learners in one call are the three of them one by one."""
    answer = {"space": "pc_darts_k4", "C": 8}
    cell = cell_shape(answer, kind, rule_ops(8))
    part = section(layout.write_cell, cell)
    draw = torch.Generator().manual_seed(5)

    def randn(*shape: int) -> Tensor:
        return torch.randn(3, *shape, generator=draw, dtype=torch.float64)

    arguments = randn(2, 12, 8, 8), randn(2, 20, 8, 8), randn(part.num_weights), randn(14, 8), randn(14)
    together = reference.mixed_cell(cell, part, *arguments, PassContext())
    for v in range(3):
        alone = reference.mixed_cell(cell, part, *(a[v : v + 1] for a in arguments), PassContext())
        known.close(together[v], alone[0].detach())


def test_unfold_inverts_fold() -> None:
    x = torch.randn(3, 2, 4, 5, 5)
    assert torch.equal(unfold(reference.fold(x), 3), x)
