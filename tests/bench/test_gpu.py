"""The backends of a GPU, where there is one: the numbers of the float64 reference, and twice the same bits."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import pytest
import torch
from augmentations import inputs as augmentation
from networks import draws, gradients, small
from torch import Tensor

import sgl_fast
from sgl_fast.backends.choice import use_backend
from sgl_fast.backends.precision import why_not_precision
from sgl_fast.data.fashion_mnist import embedded
from sgl_fast.data.loader import Feed
from sgl_fast.ops import flat_update, pseudo_label
from sgl_fast.ops.augment import augment
from sgl_fast.ops.skip_dropout import dropout_masks
from sgl_fast.reference.pattern import Pattern
from sgl_fast.spaces import SPACES

DEVICE = "cuda"
ERRORS = {"float32": 1e-3, "tf32": 2e-2, "float16": 2e-2, "bfloat16": 1e-1}
# Every space, and every precision with and without partial channels: Triton compiles for each.
CASES = [(name, "float32") for name in SPACES]
CASES += [(name, precision) for name in ("darts", "pc_darts") for precision in ERRORS if precision != "float32"]
SIZES: dict[str, Any] = {"channels": 16, "layers": 4, "nodes": 3}


@pytest.fixture(params=["cuda", "triton"])
def gpu(request: pytest.FixtureRequest) -> str:
    """Each backend of a GPU that runs here."""
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    if reason := sgl_fast.why_not(request.param):
        pytest.skip(reason)
    return str(request.param)


def on_device(tensors: tuple[Any, ...]) -> list[Any]:
    """Float32, on the GPU."""
    weights, arch, images = tensors
    moved = arch.map(lambda t: t.to(DEVICE).float())
    return [weights.to(DEVICE).float(), moved, images.to(DEVICE).float()]


def off(found: list[Tensor], want: list[Tensor]) -> float:
    pairs = zip(found, want, strict=True)
    return max(((a.double().cpu() - b.double().cpu()).norm() / b.norm().clamp(min=1e-12)).item() for a, b in pairs)


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_supernets(name: str, precision: str, gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)  # of the stem's weights, whose bits are compared
    if reason := why_not_precision(precision, gpu, DEVICE):
        pytest.skip(reason)
    net = small(name, **SIZES)
    inputs = draws(net, 2)
    with use_backend("reference"):
        want = gradients(net, *inputs)
    pattern = Pattern()
    with use_backend(gpu):
        net(*on_device(inputs), pattern=pattern)
        first, second = (gradients(net, *on_device(inputs), pattern=pattern, precision=precision) for _ in "ab")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert off(first, want) < ERRORS[precision]


def test_flat_updates(gpu: str) -> None:
    w, g, b = torch.randn(3, 2, 40_001, dtype=torch.float64)
    inputs = [t.to(DEVICE, torch.float32) for t in (w, g, b)]
    settings = (0.1, 0.9, 3e-4, 5.0)
    want = [*flat_update.sgd(w, g, b, *settings, backend="reference"), *flat_update.perturb(w, g, 0.1, "reference")]
    found = [*flat_update.sgd(*inputs, *settings, backend=gpu), *flat_update.perturb(*inputs[:2], 0.1, gpu)]
    assert off(found, want) < 1e-6


def test_pseudo_labels(gpu: str) -> None:
    teachers, logits = torch.randn(2, 3, 50, 100, dtype=torch.float64)
    results = []
    for backend, device, dtype in (("reference", "cpu", torch.float64), (gpu, DEVICE, torch.float32)):
        p, targets = pseudo_label.pseudo_labels(teachers.to(device, dtype), backend)
        entropies = pseudo_label.cross_entropy(logits.to(device, dtype), targets, 1.0, backend)
        results.append([p, targets, *entropies, pseudo_label.pseudo_label_vjp(p, entropies[1], backend)])
    assert off(results[1], results[0]) < 1e-6


def test_augmented_batches(gpu: str) -> None:
    for size in ((50, 32, 32, 4), (3, 5, 7, 1)):
        given = augmentation(*size)
        want = augment(*given, size[-1], 5, "reference")
        for backend in (gpu, "reference"):
            got = augment(*(t.to(DEVICE) for t in given), size[-1], 5, backend)
            assert torch.equal(got.cpu(), want)


def test_a_feed_on_the_gpu_has_the_batches_of_the_cpu(gpu: str) -> None:
    dataset = embedded()
    feeds = [Feed(dataset, 8, seed=0, device=device, learners=2, cutout=16) for device in ("cpu", DEVICE)]
    want = feeds[0].batch(3)
    with use_backend(gpu):
        got = feeds[1].batch(3)
    assert all(torch.equal(getattr(got, f.name).cpu(), getattr(want, f.name)) for f in dataclasses.fields(want))


def test_dropout_masks(gpu: str) -> None:
    for size in ((4, 16, 32, 32), (3, 5, 7, 9)):
        seeds = torch.tensor([0, -1, 2**62, 12345678901234567])
        want = dropout_masks(seeds, 3, 5, size, 0.4)
        for backend in (gpu, "reference"):
            assert torch.equal(dropout_masks(seeds.to(DEVICE), 3, 5, size, 0.4, backend).cpu(), want)


def test_a_search_step_changes_the_architecture(gpu: str) -> None:
    net = small("pc_darts", **SIZES)
    config = sgl_fast.Config.preset("pc_darts", learners=2, arch_start=0, pretrain_epochs=0)
    search = sgl_fast.Search(net, config, device=DEVICE)
    before = search.arch.flat().clone()
    images = torch.randn(3, 4, 3, 16, 16, device=DEVICE)
    labels = torch.randint(5, (2, 4), device=DEVICE)
    with use_backend(gpu):
        record = search.step(sgl_fast.Batch(images[0], labels[0], images[1], images[2], labels[1]))
    assert all(value == value for value in record.values())
    assert not torch.equal(search.arch.flat(), before)


@pytest.mark.parametrize("name", ["pc_darts", "p_darts"])
def test_a_graph_gives_the_numbers_of_launches(gpu: str, name: str) -> None:
    """And a loss that is not finite is found one step late, with the state as it was."""
    net = small(name, **SIZES)
    config = sgl_fast.Config.preset(name, learners=2, arch_start=0, skip_dropout=0.3 * (name == "p_darts"))
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(5, 3, 4, 3, 16, 16, generator=draw).to(DEVICE)
    labels = torch.randint(5, (5, 2, 4), generator=draw).to(DEVICE)
    batches = [sgl_fast.Batch(x[0], y[0], x[1], x[2], y[1]) for x, y in zip(images, labels, strict=True)]
    launched, graphed = (sgl_fast.Search(net, config, DEVICE, graph=graph) for graph in (False, True))
    with use_backend(gpu):
        for batch in batches:
            want, got = launched.step(batch), graphed.step(batch)
            assert got["train_loss"] == pytest.approx(want["train_loss"], rel=1e-4)
        assert off(graphed.tensors(), launched.tensors()) < 1e-3
        batches[0].x_val[:] = float("nan")
        kept = [t.clone() for t in graphed.tensors()]
        graphed.step(batches[0])
        with pytest.raises(FloatingPointError, match="step 5: val_loss of learner 0"):
            graphed.step(batches[1])
    assert all(torch.equal(a, b) for a, b in zip(kept, graphed.tensors(), strict=True)) and graphed.steps == 5


def test_a_replayed_step_waits_for_nothing(gpu: str) -> None:
    search = sgl_fast.Search(small("pc_darts", **SIZES), device=DEVICE, graph=True)
    images, labels = torch.randn(3, 4, 3, 16, 16, device=DEVICE), torch.randint(5, (2, 4), device=DEVICE)
    batch = sgl_fast.Batch(images[0], labels[0], images[1], images[2], labels[1])
    with use_backend(gpu):
        for _ in range(3):
            search.step(batch)
        search.synchronize()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the mode itself is announced as a prototype
            try:
                torch.cuda.set_sync_debug_mode("error")
                search.step(batch)
            finally:
                torch.cuda.set_sync_debug_mode("default")
