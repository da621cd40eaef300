"""S1 to S4: their operations; noise, which is a function of seeds, on every backend and in every pass of a step."""

from __future__ import annotations

import pytest
import torch
from networks import F64, batch, draws, small

from sgl_fast.nets.supernet import Supernet
from sgl_fast.ops.cell_numbers import described, numbers
from sgl_fast.reference.cell import Cell
from sgl_fast.reference.dropout import mixed
from sgl_fast.reference.noise import BLOCK, noise
from sgl_fast.run.validate import validate
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.hypergradient import hypergradient
from sgl_fast.sgl.search import Search
from sgl_fast.spaces import KINDS, space
from sgl_fast.spaces.robust_darts import S1

WORD = 2**32 - 1


def test_operations_of_each_edge() -> None:
    """Counts over the 14 edges of each cell of S1, taken from the authors' table, and its ends."""
    counts = {
        "normal": {"skip_connect": 12, "max_pool_3x3": 2, "sep_conv_3x3": 4, "dil_conv_3x3": 6, "dil_conv_5x5": 4},
        "reduce": {
            "max_pool_3x3": 8,
            "avg_pool_3x3": 6,
            "skip_connect": 6,
            "dil_conv_5x5": 5,
            "dil_conv_3x3": 2,
            "sep_conv_3x3": 1,
        },
    }
    for kind in KINDS:
        edges = space("s1").ops(kind)
        assert edges == tuple(map(tuple, S1[kind])) and {len(ops) for ops in edges} == {2}
        every = [op for ops in edges for op in ops]
        assert {op: every.count(op) for op in every} == counts[kind]
        assert space("s1", nodes=2).ops(kind) == edges[:5]
    assert space("s2").ops("reduce")[13] == ("skip_connect", "sep_conv_3x3")
    assert space("s3").ops("normal")[0] == ("none", "skip_connect", "sep_conv_3x3")
    assert space("s4").ops("normal")[0] == ("noise", "sep_conv_3x3")
    with pytest.raises(ValueError, match="at most 4 nodes in s1; got 5"):
        space("s1", nodes=5)


def test_noise_is_standard_normal_and_a_function_of_its_seed() -> None:
    seeds = torch.tensor([3, 2**61 + 5])
    z = torch.stack([noise(seeds, number, (8, 4, 16, 16)) for number in (1, 2, 7)])
    assert z.shape == (3, 2, 8, 4, 16, 16) and torch.equal(z[1, 1:], noise(seeds[1:], 2, (8, 4, 16, 16)))
    rows = z.double().flatten(2).flatten(0, 1)  # six of 8,192 numbers
    moments = [(rows**power).mean(1) for power in (1, 2, 3, 4)]
    for found, want, deviation in zip(moments, (0, 1, 0, 3), (1, 2**0.5, 15**0.5, 96**0.5), strict=True):
        assert (found - want).abs().max() < 5 * deviation / 8192**0.5
    assert (torch.corrcoef(rows) - torch.eye(6)).abs().max() < 5 / 8192**0.5
    assert (rows[:, 1:] * rows[:, :-1]).mean(1).abs().max() < 5 / 8192**0.5


def test_words_wrap() -> None:
    """The mixing of int32 words against the same in int64, where nothing wraps."""
    x = torch.randint(2**32, (1000,))
    want = (x ^ (x >> 16)) * 0x7FEB352D & WORD
    want = (want ^ (want >> 15)) * 0x846CA68B & WORD
    assert torch.equal(mixed(x.int()).long() & WORD, want ^ (want >> 16))


@pytest.mark.parametrize("size", [(1, 1, 1, 1), (1, 3, 5, 7), (2, 2, 2, BLOCK)])
def test_sizes_of_noise(size: tuple[int, ...]) -> None:
    z = noise(torch.tensor([1, 2, 3]), 0, size)
    assert z.shape == (3, *size) and z.isfinite().all() and len(z.unique()) > 0.9 * z.numel()


def test_every_backend_has_the_noise_of_the_reference(backend: str) -> None:
    net = small("s4")
    weights, arch, images = draws(net, 2)
    want = net(weights, arch, images, backend="reference", dropout_seeds=[7, 8])
    single = weights.float(), arch.map(lambda t: t.float()), images.float()
    got = net(*single, backend=backend, dropout_seeds=[7, 8])
    assert (got - want).abs().max() < 1e-4 * want.abs().max()
    assert (net(*single, backend=backend, dropout_seeds=[7, 9]) - want)[1].abs().max() > 1e-2 * want.abs().max()


def test_noise_on_its_own() -> None:
    """With noise as the only operation, images reach the logits through nothing: those of all images agree."""
    net = small("darts", ops=["noise"])
    weights, arch, images = draws(net, 1)
    a, b = (net(weights, arch, x, dropout_seeds=[5]) for x in (images, images.flip(1)))
    assert torch.equal(a, b) and a.std() > 0


def test_perturbed_passes_have_the_noise_of_the_step() -> None:
    net = small("s4")
    w, arch, _ = draws(net, 2)
    v = net.init_weights(2, dtype=F64)
    data = batch(0).to(dtype=F64)
    found, exact = (
        hypergradient(net, w, v, arch, data, 0.1, 0.1, method=method, generator=torch.Generator().manual_seed(0)).flat()
        for method in ("frozen", "exact")
    )
    assert (found - exact).norm() < 1e-3 * exact.norm()


@pytest.mark.parametrize("schedule", ["joint", "released", "separate"])
def test_a_search_is_decided_by_its_seed(schedule: str) -> None:
    def searched(**changes: object) -> tuple[torch.Tensor, object]:
        settings = {"order": 1, "epochs": 2, "steps_per_epoch": 1, "schedule": schedule, "lr": 0.05, **changes}
        search = Search(small("s4"), Config(**settings))
        for step in range(2):
            search.step(batch(step))
        x, y = batch(9).x_val, batch(9).y_val
        return search.w, validate(search, [(x, y)])

    (first, says), (second, says_too), (other, _) = searched(), searched(chunk=1), searched(seed=1)
    assert torch.allclose(first, second, atol=1e-5) and not torch.allclose(first, other, atol=1e-3)
    assert says["validation_loss"] == pytest.approx(says_too["validation_loss"], rel=1e-3)


def test_raw_operators_refuse_noise() -> None:
    cell = Cell(0, "normal", False, 4, 4, 4, 1, (("noise",),) * 2, 1, False)
    with pytest.raises(ValueError, match="need a cell of operations that are fused; got ..noise'"):
        described(numbers(cell))
    assert Supernet(space("s4", channels=4, layers=3, nodes=1)).noisy


def test_p_darts_takes_noise() -> None:
    ops = space("p_darts", channels=4, ops=["noise", "sep_conv_3x3", "none"]).ops("normal")[0]
    assert ops == ("none", "sep_conv_3x3", "noise")
