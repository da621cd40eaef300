"""Spaces of any operations: every subset and order, in every space, on every backend."""

from __future__ import annotations

import random

import pytest
import torch
from networks import draws
from torch import Tensor

from sgl_fast.nets.supernet import Supernet
from sgl_fast.spaces import CODES, KINDS, OPERATIONS, SPACES, Space, space

SIZES = {"channels": 4, "layers": 3, "nodes": 2, "num_classes": 5}
F64 = torch.float64
FUSED = [op for op, row in OPERATIONS.items() if not row.noise]


def drawn_ops(name: str) -> list[str]:
    seed = random.randrange(2**32)
    print(f"{name}: seed {seed}")
    draw = random.Random(seed)
    return draw.sample(FUSED, draw.randint(1, len(FUSED)))


def inputs(net: Supernet, seed: int = 0) -> tuple[Tensor, ...]:
    weights, arch, images = draws(net, 2, seed)
    return weights, *arch.tensors(), images


def results(net: Supernet, tensors: tuple[Tensor, ...], backend: str, dtype: torch.dtype) -> list[Tensor]:
    """Logits, and the gradients of one number of them in weights and architecture."""
    weights, *arch, images = (t.detach().to(dtype).requires_grad_() for t in tensors)
    made = net.init_arch(2).unflatten(arch)
    logits = net(weights, made, images, backend=backend)
    return [logits, *torch.autograd.grad(logits.sin().sum(), [weights, *arch], materialize_grads=True)]


def agrees(net: Supernet, backend: str, seed: int) -> bool:
    tensors = inputs(net, seed)
    wanted, found = results(net, tensors, "reference", F64), results(net, tensors, backend, torch.float32)
    off = [(got - want).abs().max() / want.abs().max().clamp(min=1e-6) for want, got in zip(wanted, found, strict=True)]
    return max(off).item() < 2e-3


def test_large_kernels_are_the_reference(backend: str, extension: None) -> None:
    """Windows that reach further than a small plane is wide, at both strides, beside smaller ones."""
    net = Supernet(space("darts", **SIZES, ops=["dil_conv_7x7", "sep_conv_3x3", "sep_conv_7x7", "max_pool_3x3"]))
    assert any(agrees(net, backend, seed) for seed in range(3))


@pytest.mark.parametrize("name", SPACES)
def test_a_subset_in_any_order_is_the_reference(name: str, backend: str, extension: None) -> None:
    """Of three draws one, since in float32 an element within rounding of a kink may fall on its other side."""
    net = Supernet(space(name, **SIZES, ops=drawn_ops(name)))
    assert any(agrees(net, backend, seed) for seed in range(3))


@pytest.mark.parametrize("name", [name for name in SPACES if name != "p_darts"])
def test_the_order_of_operations_is_one_of_columns(name: str) -> None:
    """The same weights by name and the same alphas by operation give the same logits."""
    ops = drawn_ops(name)
    given, sorted_ = (Supernet(space(name, **SIZES, ops=order)) for order in (ops, sorted(ops, key=CODES.index)))
    assert given.space.ops("normal")[0] == tuple(ops)
    weights, *arch, images = inputs(given)
    by_name = {e.name: weights[:, e.offset : e.offset + e.size] for e in given.layout}
    moved = torch.cat([by_name[e.name] for e in sorted_.layout], dim=1)
    columns = [ops.index(op) for op in sorted_.space.ops("normal")[0]]
    alphas = [t[..., columns] if t.dim() == 3 else t for t in arch]
    a, b = (
        results(net, tensors, "reference", F64)[0]
        for net, tensors in ((given, (weights, *arch, images)), (sorted_, (moved, *alphas, images)))
    )
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_operations_edge_by_edge() -> None:
    edges = {kind: [[7, "none"], ["skip_connect", 1]] for kind in KINDS}
    made = space("darts", nodes=1, edge_ops=edges)
    assert made.ops("reduce") == (("dil_conv_5x5", "none"), ("skip_connect", "max_pool_3x3"))
    assert space("p_darts", nodes=1, ops=["skip_connect", "none"]).ops("normal") == (("none", "skip_connect"),) * 2


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"ops": []}, "at least one, on every edge"),
        ({"ops": ["none", "none"]}, "names an op twice"),
        ({"ops": ["conv"]}, f"ops names an unknown op 'conv'; the ops are none, .* or 0 to {len(CODES) - 1}"),
        ({"ops": "none"}, "ops needs a list of ops; got 'none'"),
        ({"ops": ["none"], "edge_ops": {}}, "need ops or edge_ops; got both"),
    ],
)
def test_bad_operations_are_named(sizes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        space("darts", **sizes)


def test_a_space_that_nobody_checked_names_its_bad_operations() -> None:
    good, bad = (("none", "noise"),) * 2, (("none", "noise"), ("none", "bogus"))
    assert Space("darts", 4, 3, 1, 5, good, good).ops_per_edge == 2
    with pytest.raises(
        ValueError, match="edge 1 of the reduce cell names an unknown op 'bogus'; the ops are none, max_"
    ):
        Space("darts", 4, 3, 1, 5, good, bad)
