"""Images in JPEG files: decoded by threads, beside one after the other; during a step, beside before it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from sgl_fast import Batch, Config, Search, Supernet
from sgl_fast.data import Dataset, Feed
from sgl_fast.data.decode import decode, decode_all
from sgl_fast.data.image_store import WindowStore

from .interleave import Interleave, Row
from .settings import Settings
from .shapes import space_of

SIZE = 500, 375  # width and height of a file, as most of ImageNet have them
SIDE = 64  # of what is made of it


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> list[Path]:
    """Smooth images: noise would have files several times as large as photographs have."""
    folder, generator = tmp_path_factory.mktemp("jpeg"), torch.Generator().manual_seed(0)
    files = [folder / f"{number}.jpg" for number in range(settings.pick(320, 20))]
    for path in files:
        coarse = torch.randint(256, (48, 64, 3), dtype=torch.uint8, generator=generator)
        Image.fromarray(coarse.numpy()).resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=90)
    return files


def test_threads(paths: list[Path], settings: Settings, benchmark: Any) -> None:
    """As many as there are cores."""
    some = paths[: settings.pick(64, 4)]
    shapes = [lambda image: image.resize((SIDE, SIDE))] * len(some)

    def one_by_one() -> list[Tensor]:
        return [decode(path, shape) for path, shape in zip(some, shapes, strict=True)]

    assert all(map(torch.equal, decode_all(some, shapes), one_by_one()))
    row = Row("JPEG files to pixels", f"N{len(some)} {SIZE[0]}x{SIZE[1]}", "one thread")
    Interleave(benchmark, settings)(row, lambda: decode_all(some, shapes), one_by_one)


def test_ahead(paths: list[Path], settings: Settings, device: str, interleave: Interleave) -> None:
    """Small cells, of whose steps decoding is a good part; where cores are left over, the gain is at most that part."""
    space, N = space_of("pc_darts", short=True), settings.pick(16, 2)
    images, labels = WindowStore(paths, SIDE), torch.arange(len(paths)) % 10
    split, mean = (images, labels), (0.5, 0.5, 0.5)
    dataset = Dataset("jpeg", None, split, split, split, images, mean, mean, "drawn here")
    ahead, waiting = (Feed(dataset, N, 0, device) for _ in range(2))
    waiting._decoder = None  # which begins the next batch
    for step in range(3):
        assert equal(ahead.batch(step), waiting.batch(step))

    def contender(feed: Feed) -> Callable[[], Any]:
        search, steps = Search(Supernet(space), Config.preset("pc_darts", "released"), device), count()
        return lambda: search.step(feed.batch(next(steps)))

    row = Row("pc_darts step on JPEG files", f"K2 N{N} C{space.channels} L{space.layers}", "decoded before the step")
    interleave(row, contender(ahead), contender(waiting))


def equal(batch: Batch, other: Batch) -> bool:
    """To the bit."""
    return all(map(torch.equal, vars(batch).values(), vars(other).values()))
