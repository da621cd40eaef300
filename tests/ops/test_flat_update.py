"""Flat updates: every backend against torch.optim, clip_grad_norm_ and float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from trials import close, fresh, threads

from sgl_fast.backends.choice import compiled
from sgl_fast.ops import flat_update
from sgl_fast.ops.flat_update import central_difference, perturb, row_norms, sgd
from sgl_fast.reference import flat as reference_flat

DTYPES = {"reference": (torch.float64, torch.float32), "cpu": (torch.float32,), "triton": (torch.float32,)}
SIZES = [(1, 1), (2, 15), (3, 8192), (2, 8193), (1, 40_001)]  # around the lanes, a block and the share of a thread


def sizes() -> list[tuple[int, int]]:
    draw = fresh()
    return SIZES + [(draw.randint(1, 4), draw.randint(1, 30_000)) for _ in range(3)]


def rows(*size: int) -> Tensor:
    """Rows of very different norms, float64 but exact in float32."""
    return (torch.randn(*size) * torch.logspace(-3, 2, size[0])[:, None]).double()


def test_sgd_is_the_librarys(backend: str) -> None:
    """Three steps, each learner by its own torch.optim.SGD and its own clipping."""
    for K, P in sizes():
        w, buffer = rows(K, P), torch.zeros(K, P, dtype=torch.float64)
        params = [torch.nn.Parameter(row.clone()) for row in w]
        optimisers = [torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=3e-2) for p in params]
        states = {dtype: (w.to(dtype), buffer.to(dtype)) for dtype in DTYPES[backend]}
        for _ in range(3):
            grad = rows(K, P)
            for parameter, g, optimiser in zip(params, grad, optimisers, strict=True):
                parameter.grad = g.clone()
                torch.nn.utils.clip_grad_norm_([parameter], 0.5)
                optimiser.step()
            for dtype, state in states.items():
                *new, norms = sgd(state[0], grad.to(dtype), state[1], 0.1, 0.9, 3e-2, 0.5, backend)
                states[dtype] = (new[0], new[1])
                close(norms, grad.norm(dim=1))
        want = torch.stack([p.detach() for p in params])
        for state in states.values():
            close(state[0], want, least=w.abs().max().item())


def test_sgd_without_a_limit(backend: str) -> None:
    fresh()
    w, g, b = (rows(2, 100) for _ in range(3))
    for dtype in DTYPES[backend]:
        new, buffer, _ = sgd(w.to(dtype), g.to(dtype), b.to(dtype), 0.2, 0.5, 0.0, 0.0, backend)
        close((new, buffer), (w - 0.2 * (0.5 * b + g), 0.5 * b + g))


def test_broken_gradients_are_seen(backend: str) -> None:
    """One NaN spoils the row that has it, and its norm, alone."""
    g = torch.ones(2, 9000)
    g[1, 8500] = float("nan")
    new, _, norms = sgd(torch.ones(2, 9000), g, torch.zeros(2, 9000), 0.1, 0.9, 0.0, 5.0, backend)
    assert norms[1].isnan() and new[1].isnan().all() and new[0].isfinite().all()


def test_norms(backend: str) -> None:
    for size in sizes():
        x = rows(*size)
        for dtype in DTYPES[backend]:
            close(row_norms(x.to(dtype), backend), x.norm(dim=1))


def test_perturbed_weights(backend: str) -> None:
    for K, P in sizes():
        w, v = rows(K, P), rows(K, P)
        v[0] = 0
        eps = 0.01 / v.norm(dim=1)
        eps[0] = 0
        want = torch.cat([w + eps[:, None] * v, w - eps[:, None] * v])
        for dtype in DTYPES[backend]:
            both, got = perturb(w.to(dtype), v.to(dtype), 0.01, backend)
            close(both, want)
            assert got[0] == 0
            if K > 1:
                close(got[1:], eps[1:])


def test_central_differences(backend: str) -> None:
    draw = fresh()
    for shape in ((3,), (4, 5), (draw.randint(1, 50), draw.randint(1, 50))):
        both, eps = torch.randn(6, *shape).double(), torch.tensor([0.5, 0.0, 1e-3], dtype=torch.float64)
        want = (both[:3] - both[3:]) / torch.tensor([1.0, 1.0, 2e-3], dtype=torch.float64).view(3, *[1] * len(shape))
        for dtype in DTYPES[backend]:
            close(central_difference(both.to(dtype), eps.to(dtype), backend), want)


CALLS: dict[str, Callable[..., Any]] = {
    "row_norms": lambda w, g, b, backend: row_norms(w, backend),
    "sgd": lambda w, g, b, backend: sgd(w, g, b, 0.1, 0.9, 3e-4, 5.0, backend),
    "perturb": lambda w, g, b, backend: perturb(w, g, 0.01, backend),
    "central_difference": lambda w, g, b, backend: central_difference(w, g[: len(w) // 2, 0].contiguous(), backend),
}


@pytest.mark.parametrize("name", CALLS)
def test_threads_and_strides_do_not_matter(backend: str, name: str) -> None:
    if backend == "reference":
        pytest.skip("the library's sums may depend on its threads")
    fresh()
    inputs = [rows(4, 50_001).float() for _ in range(3)]
    once = CALLS[name](*inputs, backend)
    once = [once] if isinstance(once, Tensor) else once
    strided = [torch.stack([x, x], 2)[..., 0] for x in inputs]
    for count, given in ((2, inputs), (3, inputs), (1, strided)):
        with threads(count):
            again = CALLS[name](*given, backend)
        again = [again] if isinstance(again, Tensor) else again
        assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


def test_errors_say_what_is_needed() -> None:
    x = torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"need rows \(K, P\), not empty; got \(3,\)"):
        row_norms(x[0])
    with pytest.raises(ValueError, match=r"need grad \(4, 3\) torch.float32, as weights; got \(4, 2\)"):
        sgd(x, x[:, 1:], x, 0.1, 0.9, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"need lr \(\) torch.float32, as weights; got \(2,\)"):
        sgd(x, x, x, torch.ones(2), 0.9, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"need rows of floating point; got \(4, 3\) torch.int64"):
        row_norms(x.long())
    with pytest.raises(ValueError, match="need direction .*; got .* torch.float64"):
        perturb(x, x.double(), 0.1)
    for both, eps in ((x, x[0]), (x[:3], x[0, :1]), (x, x[0, :2].double())):
        with pytest.raises(ValueError, match=r"need both \(2K, \.\.\.\) and eps \(K\) of one dtype"):
            central_difference(both, eps)


def operators() -> dict[str, tuple[object, tuple[object, ...]]]:
    x = torch.randn(4, 7)
    return {
        "row_norms": (flat_update._row_norms.compiled, (x,)),
        "sgd": (flat_update._sgd.compiled, (x, x, x, torch.tensor(0.1), 0.9, 3e-4, 5.0)),
        "perturb": (flat_update._perturb.compiled, (x, x, 0.1)),
        "central_difference": (flat_update._central_difference.compiled, (x, torch.rand(2))),
    }


@pytest.mark.usefixtures("extension")
@pytest.mark.parametrize("name", operators())
def test_operators_are_registered_as_torch_wants(name: str) -> None:
    operator, inputs = operators()[name]
    torch.library.opcheck(operator, inputs)  # type: ignore[arg-type]


@pytest.mark.usefixtures("extension")
def test_operators_guard_their_memory() -> None:
    """A call past the checks of the module is an error, not a read beyond a tensor."""
    x = torch.zeros(4, 3)
    for call in (
        lambda: compiled().sgd(x, x, x[:2], torch.tensor(0.1), 0.9, 0.0, 0.0),
        lambda: compiled().sgd(x, x, x, torch.ones(2), 0.9, 0.0, 0.0),
        lambda: compiled().perturb(x, x[:, :2], 0.1),
        lambda: compiled().central_difference(x, x[0]),
    ):
        with pytest.raises(RuntimeError, match="need .* of size .*, Float on cpu"):
            call()


@pytest.mark.usefixtures("extension")
def test_traced() -> None:
    def step(w: Tensor, g: Tensor) -> tuple[Tensor, ...]:
        both, eps = perturb(w, g, 0.01)
        return (*sgd(w, g, w, 0.1, 0.9, 3e-4, 5.0), central_difference(both, eps))

    w, g = torch.randn(2, 30), torch.randn(2, 30)
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert all(torch.equal(a, b) for a, b in zip(compiled(w, g), step(w, g), strict=True))


def test_clipping_leaves_short_rows() -> None:
    x = torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=torch.float64)
    got = reference_flat.clipped(x, 1.0)
    torch.testing.assert_close(got, torch.tensor([[0.6, 0.8], [0.3, 0.4]], dtype=torch.float64), atol=1e-6, rtol=0)
    assert reference_flat.clipped(x, 0) is x


HUGE = torch.finfo(torch.float32).max


def directions(P: int) -> dict[str, Tensor]:
    """float32 rows that float32's arithmetic does not survive."""
    x = torch.randn(P)
    with_nan, with_inf = x.clone(), x.clone()
    with_nan[P // 2], with_inf[P // 3] = float("nan"), float("inf")
    return {
        "zero": torch.zeros(P),
        "least": torch.full((P,), 1e-45),
        "denormal": torch.full((P,), 1e-39),
        "squares vanish": 1e-30 * x,
        "squares overflow": 1e30 * x,
        "norm overflows": HUGE * x.sign(),
        "nan": with_nan,
        "inf": with_inf,
    }


def test_directions_that_are_no_numbers_or_hardly(backend: str) -> None:
    """One rule: eps 0 where float32 cannot hold twice r / norm, NaN where it cannot hold the norm; else no loss."""
    fresh()
    P, r = 5000, 0.01
    rows_of = directions(P)
    v, w = torch.stack(list(rows_of.values())), torch.randn(len(rows_of), P)
    norm = v.double().norm(dim=1)
    want = torch.where(2 * r / norm > HUGE, 0.0, r / norm).masked_fill(~(norm <= HUGE), float("nan"))
    assert (want == 0).tolist() == [name in ("zero", "least") for name in rows_of]
    assert want.isnan().tolist() == [name in ("norm overflows", "nan", "inf") for name in rows_of]
    both, eps = perturb(w, v, r, backend)
    torch.testing.assert_close(eps.double(), want, rtol=1e-6, atol=0, equal_nan=True)
    step = want[:, None] * v.double()
    torch.testing.assert_close(both.double(), torch.cat([w + step, w - step]), rtol=1e-6, atol=1e-7, equal_nan=True)
    slope = central_difference(both, eps, backend)
    assert torch.equal(slope.isnan().all(1), want.isnan()) and torch.equal(slope.isnan().any(1), want.isnan())
    assert not slope[want == 0].any()
    spoilt = both.clone()
    spoilt[0, 7] = float("nan")
    assert central_difference(spoilt, eps, backend)[0].isnan().nonzero().tolist() == [[7]]
