"""Image folders and class-wise splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sources import paint, refused

from sgl_fast.data import Feed, open_dataset
from sgl_fast.data.splits import split_by_class


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
