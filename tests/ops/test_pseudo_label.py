"""Pseudo-labels and cross-entropies: every backend against autograd and the library in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from trials import close, fresh, threads

from sgl_fast.backends.choice import compiled
from sgl_fast.ops import pseudo_label
from sgl_fast.ops.pseudo_label import cross_entropy, pseudo_label_vjp, pseudo_labels

DTYPES = {"reference": (torch.float64, torch.float32), "cpu": (torch.float32,), "triton": (torch.float32,)}
SIZES = [(2, 50, 10), (3, 5, 100), (1, 1, 1), (1, 7, 1), (4, 1, 1000)]


def sizes() -> list[tuple[int, int, int]]:
    draw = fresh()
    return SIZES + [(draw.randint(1, 5), draw.randint(1, 60), draw.randint(1, 150)) for _ in range(5)]


def logits(*size: int) -> Tensor:
    """Far from uniform, float64 but exact in float32."""
    return (6 * torch.randn(*size)).double()


def test_pseudo_labels(backend: str) -> None:
    for size in sizes():
        x = logits(*size)
        p = F.softmax(x, -1)
        others = torch.stack(
            [sum((p[j] for j in range(len(p)) if j != k), torch.zeros(size[1:])) for k in range(len(p))]
        )
        for dtype in DTYPES[backend]:
            close(pseudo_labels(x.to(dtype), backend=backend), (p, others.double()))


def test_cross_entropy_is_the_librarys(backend: str) -> None:
    for size in sizes():
        x = logits(*size).requires_grad_()
        targets = torch.rand(*size).double() * 2
        want = torch.stack([F.cross_entropy(a, t) for a, t in zip(x, targets, strict=True)])
        (grad,) = torch.autograd.grad(0.3 * want.sum(), x)
        for dtype in DTYPES[backend]:
            got = cross_entropy(x.detach().to(dtype), targets.to(dtype), 0.3, backend)
            if size[2] == 1:  # the loss is 0, and so is its gradient
                assert all(not t.any() for t in got)
            else:
                close(got, (want.detach(), x.detach().log_softmax(-1), grad))


def test_the_cotangent_is_that_of_the_losses(backend: str) -> None:
    for size in sizes():
        x, tau = logits(*size).requires_grad_(), logits(*size)
        p = x.softmax(-1)
        pairs = ((j, k) for j in range(len(p)) for k in range(len(p)) if j != k)
        loss = sum((-(p[j] * tau[k]).sum(-1).mean() for j, k in pairs), 0 * x.sum())
        (want,) = torch.autograd.grad(loss, x)
        for dtype in DTYPES[backend]:
            got = pseudo_label_vjp(p.detach().to(dtype), tau.to(dtype), backend)
            if size[0] == 1 or size[2] == 1:
                assert not got.any()
            else:  # a certain class: what is left of the difference of two numbers as large as tau
                close(got, want, least=float((p.detach() * tau).abs().max()) / size[1])


def test_extreme_logits(backend: str) -> None:
    """Certain, impossible and broken classes; the row beside a broken one is not touched."""
    inf, nan = float("inf"), float("nan")
    x = torch.tensor(
        [[[1e4, 0.0, -1e4], [-inf, 0.0, -88.0], [80.0, -70.0, 0.0]], [[nan, 0.0, 1.0], [inf, 0.0, 0.0], [0.0] * 3]]
    )
    p, _ = pseudo_labels(x, backend)
    close(p[0], x[0].double().softmax(-1))
    assert p[1, :2].isnan().all() and not p[1, 2].isnan().any()
    loss, log_probs, grad = cross_entropy(x, torch.full_like(x, 1 / 3), 1.0, backend)
    assert loss[0] == inf and loss[1].isnan()
    close(log_probs[0, ::2], x[0, ::2].double().log_softmax(-1))
    assert log_probs[0, 1, 0] == -inf and not grad[0].isnan().any()


def test_the_sum_of_cross_entropies_is_one(backend: str) -> None:
    """Against the sum of the targets: K - 1 teachers cost one."""
    fresh()
    x, t = logits(4, 3, 6).float(), torch.rand(4, 3, 6)
    losses = [cross_entropy(x[:1], t[k : k + 1], backend=backend)[0] for k in range(4)]
    torch.testing.assert_close(cross_entropy(x[:1], t.sum(0, keepdim=True), backend=backend)[0], sum(losses))


def test_inputs_need_not_be_contiguous(backend: str) -> None:
    fresh()
    x, t = logits(3, 8, 20).float(), torch.rand(3, 8, 20)
    wide, wide_t = (torch.stack([a, a], 3)[..., 0] for a in (x, t))
    for op, inputs, strided in ((cross_entropy, (x, t), (wide, wide_t)), (pseudo_label_vjp, (t, x), (wide_t, wide))):
        torch.testing.assert_close(op(*inputs, backend=backend), op(*strided, backend=backend))


@pytest.mark.parametrize("count", [2, 3])
def test_threads_do_not_matter(backend: str, count: int) -> None:
    if backend == "reference":
        pytest.skip("the library's sums may depend on its threads")
    fresh()
    x, t = logits(3, 40, 1001).float(), torch.rand(3, 40, 1001)

    def all_of_them() -> list[Tensor]:
        return [*pseudo_labels(x, backend), *cross_entropy(x, t, 0.7, backend), pseudo_label_vjp(t, x, backend)]

    once = all_of_them()
    with threads(count):
        assert all(torch.equal(a, b) for a, b in zip(once, all_of_them(), strict=True))


def test_errors_say_what_is_needed() -> None:
    x = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match=r"need teachers of three dimensions, none empty; got \(3, 4\)"):
        pseudo_labels(x[0])
    with pytest.raises(ValueError, match=r"none empty; got \(2, 0, 4\)"):
        cross_entropy(x[:, :0], x[:, :0])
    with pytest.raises(ValueError, match=r"need targets \(2, 3, 4\) torch.float32, as logits; got \(2, 3, 3\)"):
        cross_entropy(x, x[..., 1:])
    with pytest.raises(ValueError, match="need tau .*; got .* torch.float64"):
        pseudo_label_vjp(x, x.double())


def operators() -> dict[str, tuple[object, tuple[object, ...]]]:
    x, t = torch.randn(2, 3, 5), torch.rand(2, 3, 5)
    return {
        "pseudo_labels": (pseudo_label._pseudo_labels.compiled, (x,)),
        "cross_entropy": (pseudo_label._cross_entropy.compiled, (x, t, 0.5)),
        "pseudo_label_vjp": (pseudo_label._pseudo_label_vjp.compiled, (x, t)),
    }


@pytest.mark.usefixtures("extension")
@pytest.mark.parametrize("name", operators())
def test_operators_are_registered_as_torch_wants(name: str) -> None:
    operator, inputs = operators()[name]
    torch.library.opcheck(operator, inputs)  # type: ignore[arg-type]


@pytest.mark.usefixtures("extension")
def test_operators_guard_their_memory() -> None:
    """A call past the checks of the module is an error, not a read beyond a tensor."""
    x = torch.zeros(2, 3, 4)
    for bad in (x[:1], x.double(), x[0]):
        with pytest.raises(RuntimeError, match=r"of size \[2, 3, 4\], Float on cpu"):
            compiled().cross_entropy(x, bad, 1.0)


@pytest.mark.usefixtures("extension")
def test_traced() -> None:
    def step(x: Tensor) -> tuple[Tensor, ...]:
        _, targets = pseudo_labels(x)
        return cross_entropy(2 * x, targets, 0.5)

    x = torch.randn(2, 4, 6)
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert all(torch.equal(a, b) for a, b in zip(compiled(x), step(x), strict=True))
