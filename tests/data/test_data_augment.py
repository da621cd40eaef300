"""Per-image augmentation against pictures worked out by hand and against one image at a time."""

from __future__ import annotations

import torch

from sgl_fast.data.augment import draw, levels, normalize, table
from sgl_fast.ops.augment import augment
from sgl_fast.reference.augment import crop_flip, cutout

MEAN, STD = (0.5, 0.25, 0.125), (0.5, 0.25, 2.0)


def pictures(count: int = 6, size: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def augmented(
    images: torch.Tensor, generator: torch.Generator, crop: int = 4, flip: bool = True, cutout_side: int = 0
) -> torch.Tensor:
    """All of the images, by draws of the generator."""
    draws = table(torch.arange(len(images)), draw(len(images), *images.shape[2:], crop, generator), flip)
    return augment(images, draws, levels(MEAN, STD, torch.float32, images.device), crop, cutout_side)


def ints(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def test_crop_at_an_offset() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    centred = crop_flip(image, ints(1), ints(1), ints(0), crop=1)
    assert torch.equal(centred, image)
    up_left = crop_flip(image, ints(0), ints(0), ints(0), crop=1)[0, 0]
    assert up_left.tolist() == [[0, 0, 0], [0, 1, 2], [0, 4, 5]]
    down = crop_flip(image, ints(2), ints(1), ints(0), crop=1)[0, 0]
    assert down.tolist() == [[4, 5, 6], [7, 8, 9], [0, 0, 0]]


def test_flip_mirrors_the_cropped_window() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    assert crop_flip(image, ints(0), ints(0), ints(1), crop=0)[0, 0].tolist() == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    assert crop_flip(image, ints(0), ints(0), ints(1), crop=1)[0, 0].tolist() == [[0, 0, 0], [2, 1, 0], [5, 4, 0]]


def test_a_batch_equals_its_images_one_by_one() -> None:
    images = pictures(count=16)[:, :, :, :6]
    dy, dx, flip, _, _ = draw(16, 8, 6, 4, torch.Generator().manual_seed(3))
    together = crop_flip(images, dy, dx, flip, crop=4)
    for n in range(16):
        padded = torch.nn.functional.pad(images[n], (4, 4, 4, 4))
        window = padded[:, dy[n] : dy[n] + 8, dx[n] : dx[n] + 6]
        assert torch.equal(together[n], window.flip(2) if flip[n] else window)


def test_every_image_draws_for_itself_and_covers_the_range() -> None:
    draws = draw(2000, 32, 32, 4, torch.Generator().manual_seed(0))
    for values, count in zip(draws, (9, 9, 2, 32, 32), strict=True):
        assert values.unique().tolist() == list(range(count))
    same = pictures(1).expand(32, -1, -1, -1)
    out = augmented(same, torch.Generator().manual_seed(0))
    assert len(out.flatten(1).unique(dim=0)) > 20


def test_normalize_and_the_padding_is_black_before_it() -> None:
    images = pictures()
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = normalize(images, MEAN, STD, dtype)
        mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (MEAN, STD))
        want = (images.double() / 255 - mean) / std
        assert x.dtype == dtype
        torch.testing.assert_close(x, want.to(dtype), rtol=0, atol=2 * float(torch.finfo(dtype).eps))
    black = augmented(images * 0, torch.Generator())
    assert torch.equal(black[:, :, 0, 0].unique(dim=0), torch.tensor([[-1.0, -1.0, -0.0625]]))


def test_cutout_zeroes_a_square_and_is_clipped_at_the_borders() -> None:
    x = torch.ones(4, 2, 8, 8)
    out = cutout(x, ints(4, 0, 7, 0), ints(4, 0, 7, 7), side=4)
    holes = [[(y, c) for y in range(8) for c in range(8) if out[n, 0, y, c] == 0] for n in range(4)]
    assert holes[0] == [(y, c) for y in range(2, 6) for c in range(2, 6)]
    assert holes[1] == [(y, c) for y in range(2) for c in range(2)]
    assert holes[2] == [(y, c) for y in range(5, 8) for c in range(5, 8)]
    assert holes[3] == [(y, c) for y in range(2) for c in range(5, 8)]
    assert torch.equal(out[:, 0], out[:, 1]) and float(x.min()) == 1


def test_cutout_comes_after_normalisation_and_leaves_the_crops_alone() -> None:
    images = pictures(8, 16)
    plain = augmented(images, torch.Generator().manual_seed(5))
    holed = augmented(images, torch.Generator().manual_seed(5), cutout_side=8)
    changed = plain != holed
    assert changed.flatten(1).any(1).all() and float(holed[changed].abs().max()) == 0


def test_options_switch_off() -> None:
    images = pictures()
    still = augmented(images, torch.Generator(), crop=0, flip=False)
    assert torch.equal(still, normalize(images, MEAN, STD))
    cropped = augmented(images, torch.Generator().manual_seed(1), flip=False)
    draws = draw(6, 8, 8, 4, torch.Generator().manual_seed(1))
    assert draws.flip.any()
    assert torch.equal(cropped, normalize(crop_flip(images, draws.dy, draws.dx, draws.flip * 0, 4), MEAN, STD))
    flipped = augmented(images, torch.Generator(), crop=0)
    mirrored = normalize(images.flip(3), MEAN, STD)
    kinds = {(torch.equal(a, b), torch.equal(a, c)) for a, b, c in zip(flipped, still, mirrored, strict=True)}
    assert kinds == {(True, False), (False, True)}
