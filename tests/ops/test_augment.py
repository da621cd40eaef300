"""The fused augmentation: every backend has the bits of the reference, which has those of the steps one by one."""

from __future__ import annotations

import importlib

import pytest
import torch
from augmentations import MEAN, STD, inputs
from trials import fresh, threads

from sgl_fast.backends.choice import compiled
from sgl_fast.data.augment import normalize
from sgl_fast.ops import augment as op
from sgl_fast.ops.augment import augment
from sgl_fast.reference import augment as reference_augment

SIZES = [(1, 1, 1, 0, 0), (7, 8, 8, 4, 0), (5, 16, 12, 0, 5), (3, 33, 32, 4, 16), (2, 5, 40, 1, 100)]


def sizes() -> list[tuple[int, ...]]:
    """N, H, W, crop, cutout"""
    random = fresh()
    return [*SIZES, (*(random.randint(1, 20) for _ in range(3)), random.randint(0, 5), random.randint(0, 9))]


def test_every_backend_has_the_bits_of_the_reference(backend: str) -> None:
    for N, H, W, crop, cutout in sizes():
        given = inputs(N, H, W, crop)
        got = augment(*given, crop, cutout, backend)
        assert got.shape == (N, 3, H, W) and got.dtype == torch.float32
        assert torch.equal(got, augment(*given, crop, cutout, "reference"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_reference_is_its_steps(dtype: torch.dtype) -> None:
    for N, H, W, crop, cutout in sizes():
        images, draws, values = inputs(N, H, W, crop, dtype)
        index, dy, dx, flip, cy, cx = draws.unbind(1)
        x = normalize(reference_augment.crop_flip(images[index], dy, dx, flip, crop), MEAN, STD, dtype)
        want = reference_augment.cutout(x, cy, cx, cutout) if cutout else x
        assert torch.equal(augment(images, draws, values, crop, cutout), want)


def test_every_draw_of_a_small_image(backend: str) -> None:
    """All windows, both ways round, against a picture that is padded, cut and turned by hand."""
    images, values = torch.arange(1, 13, dtype=torch.uint8).view(1, 1, 3, 4), torch.arange(256.0).view(1, 256)
    draws = torch.cartesian_prod(*(torch.arange(n) for n in (1, 3, 3, 2, 3, 4)))
    got = augment(images, draws, values, 1, 2, backend)
    padded = torch.nn.functional.pad(images[0, 0].float(), (1, 1, 1, 1))
    for (_, dy, dx, flip, cy, cx), one in zip(draws.tolist(), got, strict=True):
        window = padded[dy : dy + 3, dx : dx + 4].clone()
        window = window.flip(1) if flip else window
        window[max(cy - 1, 0) : cy + 1, max(cx - 1, 0) : cx + 1] = 0
        assert torch.equal(one[0], window)


def test_strides_and_threads_do_not_matter(backend: str) -> None:
    fresh()
    images, draws, values = inputs(40, 32, 32, 4)
    once = augment(images, draws, values, 4, 8, backend)
    grey = images[:, :1].expand(-1, 3, -1, -1)
    assert torch.equal(augment(grey, draws, values, 4, 8, backend), augment(grey.clone(), draws, values, 4, 8, backend))
    strided = [torch.stack([t, t], -1)[..., 0] for t in (images, draws, values)]
    with threads(3):
        assert torch.equal(once, augment(*strided, 4, 8, backend))


def test_errors_say_what_is_needed() -> None:
    images, draws, values = inputs(2, 4, 4, 1)
    with pytest.raises(ValueError, match=r"need images \(M, C, H, W\), not empty, torch.uint8; got .* torch.float32"):
        augment(images.float(), draws, values)
    for bad in (draws[:, 1:], draws.int(), draws[:0]):
        with pytest.raises(ValueError, match=r"need draws \(N, 6\), not empty, torch.int64; got "):
            augment(images, bad, values)
    for worse in (values[:2], values.int()):
        with pytest.raises(ValueError, match=r"need levels \(3, 256\), floating point; got "):
            augment(images, draws, worse)
    with pytest.raises(ValueError, match="need crop and cutout of at least 0; got -1, 0"):
        augment(images, draws, values, -1)
    limits = (("index", 10), ("dy", 5), ("dx", -1), ("flip", 2), ("cy", 2**40), ("cx", -(2**20)))
    for column, (name, value) in enumerate(limits):
        wrong = draws.clone()
        wrong[1, column] = value
        with pytest.raises(ValueError, match=f"need draws with .*{name}.* {value}"):
            augment(images, wrong, values, 2)


def test_an_image_of_no_index_is_nan(backend: str) -> None:
    """Where draws lie on a device nobody can look at them: what is drawn wrongly shows, and is read from nowhere."""
    if backend == "reference":
        pytest.skip("torch's own indexing")
    images, draws, values = inputs(2, 4, 4, 1)
    right, wrong = draws.clone(), draws.clone()
    wrong[1, 0] = 2**40
    kernel = importlib.import_module("sgl_fast.kernels.augment") if backend == "triton" else compiled()
    found, want = (kernel.augment(images, table, values, 1, 2) for table in (wrong, right))
    assert found[1].isnan().all()
    assert torch.equal(found[0], want[0])


@pytest.mark.usefixtures("extension")
def test_the_operator_is_registered_as_torch_wants() -> None:
    torch.library.opcheck(op._augment.compiled, (*inputs(3, 5, 4, 2), 2, 3))


@pytest.mark.usefixtures("extension")
def test_the_operator_guards_its_memory() -> None:
    images, draws, values = inputs(2, 4, 4, 1)
    for bad in ((images.int(), draws, values), (images, draws[:, 1:], values), (images, draws, values[:, 1:])):
        with pytest.raises(RuntimeError, match="need .* of size "):
            compiled().augment(*bad, 1, 0)
    with pytest.raises(RuntimeError, match="crop and cutout from 0 to"):
        compiled().augment(images, draws, values, -1, 0)
