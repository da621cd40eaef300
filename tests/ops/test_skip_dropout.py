"""P-DARTS's dropout on the stride-1 skips: masks that a seed determines, at the rate, off in evaluation."""

from __future__ import annotations

import math
from typing import Any

import known
import pytest
import torch
from cells import cell_of
from networks import F64, draws, small
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from trials import fresh, threads

from sgl_fast.backends.choice import compiled
from sgl_fast.ops import skip_dropout
from sgl_fast.ops.mixed_cell import mixed_cell
from sgl_fast.ops.skip_dropout import dropout_masks
from sgl_fast.reference import dropout as reference_dropout
from sgl_fast.reference.cell import section_of
from sgl_fast.reference.layers import LayerCursor, PassContext, unfold
from sgl_fast.reference.mixed_cell import apply_op
from sgl_fast.sgl.passes import Passes, PassOptions
from sgl_fast.sgl.virtual_learners import VirtualLearners
from sgl_fast.testing import Setting, draw_inputs


class Dropout:
    """A small net with dropout on its skips, at fixed weights."""

    def __init__(self, V: int = 3) -> None:
        self.net = small("p_darts")
        self.weights, self.arch, self.images = draws(self.net, V)

    def __call__(self, rows: list[int] | None = None, rate: float = 0.4, **options: Any) -> Tensor:
        rows = list(range(len(self.arch))) if rows is None else rows
        return self.net(self.weights[rows], self.arch.rows(rows), self.images[rows], skip_dropout=rate, **options)


def test_dropout_repeats_with_its_seeds_however_learners_are_chunked() -> None:
    net = Dropout()
    whole = net(dropout_seeds=[11, 12, 13])
    assert torch.equal(whole, net(dropout_seeds=[11, 12, 13]))
    chunks = [net([0], dropout_seeds=[11]), net([1, 2], dropout_seeds=[12, 13])]
    known.close(torch.cat(chunks), whole)
    known.close(net([2, 0], dropout_seeds=[13, 11]), whole[[2, 0]])
    assert torch.equal(whole, net(dropout_seeds=torch.tensor([11, 12, 13])))
    other = net(dropout_seeds=[11, 12, 14])
    known.close(other[:2], whole[:2])
    assert (other[2] - whole[2]).abs().max() > 1e-3


def test_dropout_draws_from_the_generator() -> None:
    net = Dropout()
    generator = torch.Generator().manual_seed(3)
    first, second = (net(generator=generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, net(generator=torch.Generator().manual_seed(3)))


def test_dropout_is_off_at_rate_zero_and_in_evaluation() -> None:
    net = Dropout()
    assert torch.equal(net(rate=0.0, dropout_seeds=[1, 2, 3]), net.net(net.weights, net.arch, net.images))
    evaluation = {"training": False, "running": net.net.init_running(3, F64)}
    assert torch.equal(net(rate=0.9, **evaluation), net(rate=0.0, **evaluation))


def test_numbers_on_the_device_are_those_of_the_host(backend: str) -> None:
    """Rate and beta of a cell, to the bit, of its output and gradients; what is written to them later counts."""
    cell = cell_of(channels=4, nodes=1, ops=(("skip_connect", "none"),) * 2, aux_skip=True, preprocess=False)
    setting, section = Setting(cell, 2, 2, 4, 4, edge_weights=False), section_of(cell)
    inputs = draw_inputs(setting).at(F64 if backend == "reference" else torch.float32)
    given = [t for t in inputs.tensors if t is not None]

    def results(rate: float | Tensor, beta: float | Tensor) -> list[Tensor]:
        context = PassContext(dropout=rate, dropout_seeds=torch.arange(2))
        out = mixed_cell(cell, section, *inputs.tensors, context, beta, backend)  # type: ignore[arg-type]
        return [out, *torch.autograd.grad(out, given, inputs.grad, materialize_grads=True)]

    seen, rate, beta = [], torch.zeros((), dtype=F64), torch.ones((), dtype=given[0].dtype)
    for numbers in ((0.3, 0.9), (0.9, 0.9), (0.9, 0.2)):
        rate.fill_(numbers[0])
        beta.fill_(numbers[1])
        seen.append(results(rate, beta))
        assert all(map(torch.equal, seen[-1], results(*numbers)))
    assert not any(torch.equal(a[0], b[0]) for a, b in zip(seen, seen[1:], strict=False))


def test_dropout_zeroes_skips_at_the_rate_and_keeps_their_mean() -> None:
    net, context = small("p_darts"), PassContext(dropout=0.3, dropout_seeds=torch.tensor([5, 6]))
    stem = net.sections.stem
    cursor = LayerCursor(stem, net.init_weights(2, dtype=F64)[:, : stem.num_weights], context)
    x = torch.ones(64, 2 * 4, 16, 16, dtype=F64)
    out = apply_op(cursor, "skip_connect", x, x, 1)
    assert sorted(out.unique().tolist()) == [0.0, pytest.approx(1 / 0.7)]
    for half in out.split(4, dim=1):
        assert half.mean().item() == pytest.approx(1, abs=0.02)  # 65,536 draws: standard deviation 0.0026
    assert not torch.equal(*out.split(4, dim=1))


def drawn(context: PassContext, count: int, size: tuple[int, ...], backend: str | None) -> torch.Tensor:
    seeds, first = context.next_masks(count)
    return dropout_masks(seeds, count, first, size, context.rate, backend)


@pytest.mark.parametrize("backend", ["reference", None])
def test_every_skip_of_a_pass_has_a_mask_of_its_own(backend: str | None) -> None:
    stem, seeds, size = small("p_darts").sections.stem, torch.arange(3), (2, 4, 8, 8)
    context = PassContext(dropout=0.5, dropout_seeds=seeds)
    cursor = LayerCursor(stem, torch.zeros(3, stem.num_weights, dtype=F64), context)
    one_by_one = [unfold(cursor.dropout(torch.ones(2, 3 * 4, 8, 8, dtype=F64)), 3) > 0 for _ in range(2)]
    masks = torch.cat([torch.stack(one_by_one), drawn(context, 2, size, backend)])
    assert torch.equal(masks, drawn(PassContext(dropout=0.5, dropout_seeds=seeds), 4, size, backend))
    assert len(masks.flatten(1).unique(dim=0)) == 4


def test_a_tensor_of_seeds_is_not_read() -> None:
    """It goes on as it is: a read would make the host wait for the device."""

    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    net, names, seeds = Dropout(), list[str](), torch.tensor([11, 12, 13])
    with Calls():
        net(dropout_seeds=seeds)
    assert "_local_scalar_dense" not in names and "bitwise_xor" in names


ENDS = [0, 1, -1, 2**62, 2**63 - 1, -(2**63)]


def words(seed: int, number: int, count: int) -> list[int]:
    """The first words of a mask, in Python's integers."""

    def mixed(x: int) -> int:
        x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
        x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
        return x ^ (x >> 16)

    high, low = divmod(seed % 2**64, 2**32)
    start = mixed(low ^ mixed((high + 0x9E3779B9) % 2**32))
    b = high ^ mixed((start + number) % 2**32)
    a = start ^ mixed((b + 0x9E3779B9) % 2**32)
    return [mixed((mixed(i ^ a) + b) % 2**32) for i in range(count)]


def test_the_reference_in_integers() -> None:
    """Pinned, too: a run that resumes has the masks it began with."""
    got = reference_dropout.dropout_masks(torch.tensor(ENDS), 2, 3, [2, 3, 1, 50], torch.tensor(5_000_000))
    want = [[[w >> 8 >= 5_000_000 for w in words(seed, m, 300)] for seed in ENDS] for m in (3, 4)]
    assert got.flatten(2).tolist() == want
    assert words(12345678901234567, 1, 2) == [3299892884, 880736016]


def test_every_backend_has_the_bits_of_the_reference(backend: str) -> None:
    draw = fresh()
    seeds = torch.tensor([*ENDS, draw.randrange(2**62)])
    sizes = [
        (1, 1, 1, 1),
        (2, 4, 16, 16),
        (1, 1, 1, 4097),
        (3, 5, 7, 9),
        (draw.randint(1, 9), 3, 8, draw.randint(1, 9)),
    ]
    for size in sizes:
        for rate in (0.0, draw.random(), 1.0):
            first, masks = draw.randint(0, 100), draw.randint(1, 3)
            got = dropout_masks(seeds, masks, first, size, rate, backend)
            want = dropout_masks(seeds, masks, first, size, rate, "reference")
            assert got.shape == (masks, 7, *size) and got.dtype == torch.bool and torch.equal(got, want)
            assert (got.all() or rate > 0) and (not got.any() or rate < 1)


def test_masks_depend_on_seed_and_number_alone(backend: str) -> None:
    seeds, size = torch.tensor([5, 6, 7, 8]), (2, 2, 4, 6)
    whole = dropout_masks(seeds, 4, 0, size, 0.5, backend)
    assert torch.equal(whole[:, [3, 1]], dropout_masks(seeds[[3, 1]], 4, 0, size, 0.5, backend))
    assert torch.equal(whole[2:], dropout_masks(seeds, 2, 2, size, 0.5, backend))
    assert torch.equal(whole, dropout_masks(torch.stack([seeds, seeds], 1)[:, 0], 4, 0, size, 0.5, backend))
    assert len(whole.flatten(0, 1).flatten(1).unique(dim=0)) == 16


@pytest.mark.parametrize("spread", [1, 2**20, 2**32, 2**40 + 1])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.7])
def test_masks_are_independent_draws(rate: float, spread: int) -> None:
    """Means, their variance, and products of neighbours: of seeds, of masks, of positions; all within 5 sigma."""
    V, M, size = 64, 6, (2, 4, 16, 16)
    seeds = 12345 + spread * torch.arange(V)
    x = (dropout_masks(seeds, M, 0, size, rate, "reference").flatten(2).double() - (1 - rate)) / math.sqrt(
        rate * (1 - rate)
    )
    count, P = x.numel(), x.shape[2]
    sums = x.sum(2) / math.sqrt(P)
    products = {"mean": x, "variance of the sums": (sums.square() - 1) / math.sqrt(2)}
    products |= {f"seeds {d} apart": x[:, d:] * x[:, :-d] for d in (1, 2, 8)}
    products |= {f"masks {d} apart": x[d:] * x[:-d] for d in (1, 2)}
    products |= {"next seed, mask before": x[1:, :-1] * x[:-1, 1:]}
    products |= {f"positions {d} apart": x[..., d:] * x[..., :-d] for d in (1, 2, 3, 4, 16, 64, 256, 1024)}
    products |= {f"positions that differ by bit {b}": x * x[..., torch.arange(P) ^ (1 << b)] for b in range(11)}
    for what, values in products.items():
        pairs = values.numel() / (2 if "bit" in what else 1)  # each is there twice
        assert abs(values.mean().item()) * math.sqrt(pairs) < 5, what
    assert count == V * M * P


def test_threads_do_not_matter(backend: str) -> None:
    once = dropout_masks(torch.arange(3), 2, 0, (4, 8, 33, 33), 0.4, backend)
    with threads(3):
        assert torch.equal(once, dropout_masks(torch.arange(3), 2, 0, (4, 8, 33, 33), 0.4, backend))


def test_errors_say_what_is_needed() -> None:
    seeds = torch.arange(2)
    with pytest.raises(ValueError, match=r"need seeds \(V\), not empty, torch.int64; got \(2,\) torch.float32"):
        dropout_masks(seeds.float(), 1, 0, (1, 1, 1, 1), 0.5)
    for masks, size in ((0, (1, 1, 1, 1)), (1, (1, 1, 1)), (1, (1, 0, 1, 1)), (1, (2**10, 2**10, 2**10, 2))):
        with pytest.raises(ValueError, match=r"need one mask or more \(N, C, H, W\), below 2\^31 numbers; got"):
            dropout_masks(seeds, masks, 0, size, 0.5)
    with pytest.raises(ValueError, match="need a rate from 0 to 1; got 1.5"):
        dropout_masks(seeds, 1, 0, (1, 1, 1, 1), 1.5)
    with pytest.raises(ValueError, match=r"need a threshold \(\) torch.int32 on cpu; got \(\) torch.int64 on cpu"):
        skip_dropout._dropout_masks.compiled(seeds, 1, 0, [1, 1, 1, 1], torch.tensor(1))
    with pytest.raises(ValueError, match="need dropout_seeds where there is dropout or noise; got None"):
        PassContext(dropout=0.5).dropout_masks(1, (1, 1, 1, 1))


@pytest.mark.usefixtures("extension")
def test_the_operator_is_registered_as_torch_wants() -> None:
    torch.library.opcheck(
        skip_dropout._dropout_masks.compiled, (torch.arange(2), 3, 1, [1, 2, 3, 4], torch.tensor(2**23).int())
    )


@pytest.mark.usefixtures("extension")
def test_the_operator_guards_its_memory() -> None:
    seeds, one = torch.arange(2), torch.tensor(1).int()
    sizes = [1, 1, 1, 1], [1, 1, 1], [1, 1, 1, -1]
    for bad in ((seeds.int(), 1, 0, sizes[0], one), *((seeds, 1, 0, size, one) for size in sizes[1:])):
        with pytest.raises(RuntimeError, match="need"):
            compiled().dropout_masks(*bad)
    for threshold in (one.long(), one.view(1)):
        bad = seeds, 1, 0, sizes[0], threshold
        with pytest.raises(RuntimeError, match="need"):
            compiled().dropout_masks(*bad)


@pytest.mark.usefixtures("extension")
def test_traced() -> None:
    def step(seeds: Tensor) -> Tensor:
        return dropout_masks(seeds + 1, 2, 0, (1, 2, 3, 4), 0.5).float().mean()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(torch.arange(5)), step(torch.arange(5)))


def test_a_pass_of_a_search_with_dropout_and_no_seeds_is_refused() -> None:
    """It would draw its masks from a generator that no seed decides."""
    net = small("p_darts")
    weights, arch, images = draws(net, 2)
    passes = Passes(net, arch, None, PassOptions(skip_dropout=0.3))
    rows = VirtualLearners(range(2), weights, images, torch.ones(2, 3, 5, dtype=F64))
    for run in (lambda: passes.gradients(rows, weights=True), lambda: passes.linearize(rows)):
        with pytest.raises(ValueError, match="need seeds for a pass with dropout"):
            run()
    passes.evaluate(rows, net.init_running(2, F64))
