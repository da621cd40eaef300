"""The dense convolutions of stems and classifiers: against the library in float64, and the same bits on any threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from trials import close, fresh, threads

from sgl_fast.ops import convolution as ops
from sgl_fast.ops.convolution import convolution, linear

F32, F64 = torch.float32, torch.float64
Layer = Callable[..., Tensor]


def draw_layer() -> tuple[Layer, Layer, tuple[Tensor, ...]]:
    """A random layer by the library, by ours, and its arguments, float64 but exact in float32."""
    draw = fresh()
    V, N, ins, outs = draw.randint(1, 3), draw.randint(1, 40), draw.randint(1, 9), draw.randint(1, 20)
    if draw.random() < 0.3:
        sizes = (V, N, ins), (V, outs, ins), (V, outs)
        by_library: Layer = lambda x, w, b: torch.baddbmm(b.unsqueeze(1), x, w.transpose(1, 2))  # noqa: E731
        ours: Layer = linear
    else:
        kernel, stride, shared = draw.choice([1, 3]), draw.choice([1, 2]), draw.random() < 0.5
        groups = 1 if shared else V
        H, W = draw.randint(1, 20), draw.randint(1, 20)
        sizes = (N, groups * ins, H, W), (V * outs, ins, kernel, kernel)  # type: ignore[assignment]
        by_library = lambda x, w: F.conv2d(x, w, None, stride, kernel // 2, 1, groups)  # noqa: E731
        ours = lambda x, w: convolution(x, w, stride, groups, "cpu")  # noqa: E731
    return by_library, ours, tuple(torch.randn(size).double() for size in sizes)


def derivatives(layer: Layer, args: tuple[Tensor, ...], dtype: torch.dtype) -> list[Tensor]:
    """The output, its gradients, and the gradients of a function of those."""
    leaves = [t.to(dtype).requires_grad_() for t in args]
    out = layer(*leaves)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    first = torch.autograd.grad(out, leaves, grad, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves, allow_unused=True)  # type: ignore[arg-type]
    return [t.detach() for t in (out, *first, *second) if t is not None]


def test_values_and_two_derivatives(backend: str) -> None:
    for _ in range(8):
        by_library, ours, args = draw_layer()
        want = derivatives(by_library, args, F64)
        close(derivatives(by_library if backend == "reference" else ours, args, F32), want)


def test_the_same_bits_on_any_number_of_threads(extension: None) -> None:
    for _ in range(8):
        _, ours, args = draw_layer()
        found = []
        for count in (1, 2, 3, 7):
            with threads(count):
                found.append(derivatives(ours, args, F32))
        assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_other_dtypes_and_backends_are_the_librarys() -> None:
    x, w = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3)
    assert torch.equal(convolution(x, w, backend="reference"), F.conv2d(x, w, padding=1))
    assert convolution(x.double(), w.double()).dtype == F64


def test_operators_are_registered_as_torch_wants(extension: None) -> None:
    x, w, g = torch.randn(2, 6, 5, 4), torch.randn(8, 3, 3, 3), torch.randn(2, 8, 3, 2)
    torch.library.opcheck(ops._FORWARD, (x, w, 2, 2))
    torch.library.opcheck(ops._INPUT, (g, w, 2, 2, list(x.shape)))
    torch.library.opcheck(ops._WEIGHT, (g, x, 2, 2, list(w.shape)))


@pytest.mark.parametrize(
    ("x", "w", "stride", "groups", "said"),
    [
        ((2, 3, 4), (4, 3, 3, 3), 1, 1, "need 4 "),
        ((2, 3, 4, 4), (4, 2, 3, 3), 1, 1, "need x .N, groups . ins, H, W."),
        ((2, 3, 4, 4), (4, 3, 2, 2), 1, 1, "k odd"),
        ((2, 3, 4, 4), (4, 3, 3, 3), 3, 1, "stride 1 or 2"),
        ((2, 3, 4, 4), (4, 3, 3, 3), 1, 0, "from 1 to"),
    ],
)
def test_wrong_shapes_are_named(
    x: tuple[int, ...], w: tuple[int, ...], stride: int, groups: int, said: str, extension: None
) -> None:
    with pytest.raises(RuntimeError, match=said):
        convolution(torch.zeros(x), torch.zeros(w), stride, groups, "cpu")
    with pytest.raises(RuntimeError, match=said):
        ops._INPUT(torch.zeros(2, 4, 4, 4), torch.zeros(w), stride, groups, x)
    with pytest.raises(RuntimeError, match=said):
        ops._WEIGHT(torch.zeros(2, 4, 4, 4), torch.zeros(x), stride, groups, w)
