"""Image folders and class-wise splits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sources import paint, refused
from torch import Tensor

from sgl_fast.data import Dataset, Feed, open_dataset, room
from sgl_fast.data import dataset as dataset_module
from sgl_fast.data.image_store import FittedStore
from sgl_fast.data.splits import split_by_class
from sgl_fast.data.whole import with_validation
from sgl_fast.errors import ImageError
from sgl_fast.run.identity import identity


def painted_folder(root: Path, per_class: int = 10, suffix: str = "png", size: tuple[int, int] = (8, 8)) -> None:
    """Three classes; red is 80 times the class, green the number of the image."""
    for label in range(3):
        for number in range(per_class):
            paint(root / f"class{label}" / f"{number:03}.{suffix}", (80 * label, number, 0), size)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_image_folder(tmp_path: Path) -> None:
    painted_folder(tmp_path / "own")
    data = open_dataset(f"folder:{tmp_path / 'own'}", seed=3)
    assert data.classes == ("class0", "class1", "class2") and data.image_size == (8, 8)
    seen = []
    for (images, labels), count in ((data.train, 4), (data.val, 4), (data.test, 2)):
        assert torch.bincount(labels).tolist() == [count] * 3
        assert (images[:, 0, 0, 0] // 80).tolist() == labels.tolist()
        seen += [(label, int(image[1, 0, 0])) for image, label in zip(images, labels.tolist(), strict=True)]
    assert len(set(seen)) == 30
    assert data.unlabeled is data.train[0] and "split by seed 3" in data.note
    mean = data.train[0].double().div(255).mean((0, 2, 3))
    std = data.train[0].double().div(255).std((0, 2, 3), correction=0)
    torch.testing.assert_close(torch.tensor(data.mean, dtype=torch.float64), mean)
    torch.testing.assert_close(torch.tensor(data.std[:2], dtype=torch.float64), std[:2])
    assert data.std[2] > 0
    Feed(data, 4, seed=0).batch(0).check()


def as_batches(data: Dataset) -> list[Tensor]:
    """All that a search and an evaluation take of it: two passes of batches of two learners, and the tests."""
    feed = Feed(data, 4, seed=7, learners=2, cutout=3)
    batches = [feed.batch(step) for step in range(2 * feed.steps_per_epoch)]
    made = [x for b in batches for x in (b.x_train, b.y_train, b.x_unlabeled, b.x_val, b.y_val)]
    whole = Feed(with_validation(data, 5), 4, seed=3)
    made += [x for step in range(4) for x in whole.labeled("train", step)]
    return made + [x for split in ("val", "test") for pair in feed.evaluation(split, 3) for x in pair]


@pytest.mark.parametrize("splits", [(), ("train", "val"), ("train", "val", "test")])
@pytest.mark.parametrize("image_size", [None, 6])
def test_batches_of_images_in_memory_and_as_needed_are_equal(
    splits: tuple[str, ...], image_size: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, and so are the moments and what a run remembers of its data. JPEG, noise, in two sizes."""
    generator = np.random.default_rng(0)
    for split in splits or ("",):
        for label in range(2):
            for number in range(10):
                path = tmp_path / "own" / split / f"class{label}" / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                size = (8, 8 if image_size is None else 11)
                Image.fromarray(generator.integers(256, size=(*size, 3), dtype=np.uint8)).save(path)
    monkeypatch.setattr(dataset_module, "SAMPLED", 5)
    whole = open_dataset("folder:own", image_size=image_size, unlabeled="own")
    monkeypatch.setattr(room, "free_memory", lambda: 20 * 3 * 36)
    lazy = open_dataset("folder:own", image_size=image_size, unlabeled="own")
    assert isinstance(whole.train[0], Tensor) and isinstance(lazy.train[0], FittedStore)
    assert isinstance(whole.unlabeled, Tensor) and isinstance(lazy.unlabeled, FittedStore)
    assert "images read as they are needed" in lazy.note and "as they are needed" not in whole.note
    pairs = zip(as_batches(whole), as_batches(lazy), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert (whole.mean, whole.std) == (lazy.mean, lazy.std)
    assert identity({}, whole, "cpu")["data"] == identity({}, lazy, "cpu")["data"]


def test_a_file_that_was_replaced_is_another_data_set(tmp_path: Path) -> None:
    painted_folder(tmp_path / "own")
    before = identity({}, open_dataset("folder:own"), "cpu")["data"]
    assert identity({}, open_dataset("folder:own"), "cpu")["data"] == before
    file = tmp_path / "own" / "class1" / "003.png"
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(file)
    assert identity({}, open_dataset("folder:own"), "cpu")["data"] != before


def test_folders_of_splits(tmp_path: Path) -> None:
    """With test/ each is used as it is, without val/ has the tests; classes that differ are named."""
    for split, count in (("train", 6), ("val", 4), ("test", 2)):
        painted_folder(tmp_path / "own" / split, per_class=count)
    data = open_dataset("folder:own")
    assert [len(y) for _, y in (data.train, data.val, data.test)] == [18, 12, 6] and data.num_classes == 3
    assert all((x[:, 0, 0, 0] // 80).tolist() == y.tolist() for x, y in (data.train, data.val, data.test))
    assert "its train/, val/ and test/" in data.note
    (tmp_path / "own" / "test" / "class1").rename(tmp_path / "own" / "test" / "class9")
    line = refused("folder:own")
    assert "the 3 classes of test/ are not the 3 of train/" in line and "class1 is in train/ alone" in line
    (tmp_path / "own" / "test").rename(tmp_path / "test")
    data = open_dataset("folder:own", seed=4)
    assert [len(y) for _, y in (data.train, data.val, data.test)] == [9, 9, 12]
    assert "train/ split in halves by seed 4, tests from val/" in data.note
    shutil.rmtree(tmp_path / "own" / "val" / "class2")
    line = refused("folder:own")
    assert "the 2 classes of val/ are not the 3 of train/" in line and "class2 is in train/ alone" in line
    (tmp_path / "own" / "val").rename(tmp_path / "own" / "validation")
    assert "train, validation are splits, no classes" in refused("folder:own")


def test_large_images_of_mixed_sizes_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their heads; a file that lies about its size, or is damaged, when a batch asks for it."""
    painted_folder(tmp_path / "own")
    monkeypatch.setattr(room, "free_memory", lambda: 0)
    data = open_dataset("folder:own")
    paint(tmp_path / "own" / "class1" / "001.png", (80, 1, 0), (20, 10))
    with pytest.raises(ImageError, match=r"001.png: 10x20 pixels, 000.png has 8x8; an image size"):
        for index in torch.arange(30).split(4):
            assert isinstance(data.train[0], FittedStore)
            data.train[0].of(data.train[0].paths + data.val[0].paths + data.test[0].paths)[index]  # type: ignore[union-attr]
    assert "001.png: 10x20 pixels, 000.png has 8x8" in refused("folder:own")
    (tmp_path / "own" / "class1" / "001.png").write_bytes(b"no image")
    assert open_dataset("folder:own").train[0].shape == (12, 3, 8, 8)


def test_what_fits_is_told_by_free_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Half of what the machine has available, or of what the job's limit leaves, where that is less."""
    free = room.free_memory()
    assert 0 < free < 1e14
    images = int(free / 2 / 3072)
    monkeypatch.setattr(room, "free_memory", lambda: free)
    assert room.fits(images, (32, 32)) and not room.fits(images + 2, (32, 32))
    monkeypatch.undo()
    texts = {
        "/proc/meminfo": ["MemTotal: 9 kB", "MemAvailable:    3000 kB"],
        "/proc/self/cgroup": ["0::/slurm/job"],
        "/sys/fs/cgroup/slurm/job/memory.max": ["1000000"],
        "/sys/fs/cgroup/slurm/job/memory.current": ["600000"],
        "/sys/fs/cgroup/slurm/job/memory.stat": ["anon 5", "inactive_file 100000"],
    }
    monkeypatch.setattr(room, "_lines", lambda path: texts.get(str(path), []))
    assert room.free_memory() == 500_000
    texts["/sys/fs/cgroup/slurm/job/memory.max"] = ["max"]
    assert room.free_memory() == 3000 * 1024


def test_image_folder_of_mixed_sizes(tmp_path: Path) -> None:
    painted_folder(tmp_path / "own", per_class=3)
    paint(tmp_path / "own" / "class1" / "001.png", (80, 1, 0), (20, 10))
    line = refused("folder:own")
    assert "001.png: 10x20 pixels, 000.png has 8x8" in line and "image_size" in line
    data = open_dataset("folder:own", image_size=16)
    assert data.train[0].shape == (3, 3, 16, 16)


def test_bad_image_folders(tmp_path: Path) -> None:
    assert "no such folder" in refused("folder:nowhere")
    painted_folder(tmp_path / "own", per_class=2)
    assert "class class0: 2 images are too few to split 40% / 40% / 20%" in refused("folder:own")
    painted_folder(tmp_path / "own", per_class=5)
    (tmp_path / "own" / "class1" / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    line = refused("folder:own")
    assert "000.png: not a readable image" in line
    (tmp_path / "own" / "class3").mkdir()
    assert "class3/ has no images" in refused("folder:own")
    (tmp_path / "one" / "single").mkdir(parents=True)
    assert "two or more folders" in refused("folder:one")


def test_grey_and_transparent_images_become_colour(tmp_path: Path) -> None:
    painted_folder(tmp_path / "own", per_class=3)
    Image.new("L", (8, 8), 7).save(tmp_path / "own" / "class0" / "000.png")
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(tmp_path / "own" / "class0" / "001.png")
    assert open_dataset("folder:own").train[0].shape == (3, 3, 8, 8)


def test_split_by_class_is_seeded_disjoint_and_mixed() -> None:
    labels = np.repeat(np.arange(3), [100, 50, 7])
    first, second = split_by_class(labels, (0.29, 0.5), 0)
    assert np.bincount(labels[first]).tolist() == [29, 14, 2] and np.bincount(labels[second]).tolist() == [50, 25, 3]
    assert not set(first) & set(second) and len(np.unique(labels[second][:20])) > 1
    assert np.array_equal(first, split_by_class(labels, (0.29, 0.5), 0)[0])
    assert not np.array_equal(first, split_by_class(labels, (0.29, 0.5), 1)[0])
    parts = split_by_class(labels, (0.4, 0.4, 0.2), 0)
    assert sorted(np.concatenate(parts)) == list(range(157))
