"""Fashion-MNIST: the subset in the package, and small IDX files in place of the full set."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from sources import refused

from sgl_fast.data import locate, make_embedded, open_dataset
from sgl_fast.data.dataset import moments
from sgl_fast.data.fashion_mnist import MEAN, embedded

pytestmark = pytest.mark.usefixtures("nothing_installed")

DEBIAN = locate.DEBIAN_FASHION_MNIST
DIGEST = "998a9af704cbac0a0575ef510d6adc79df6f823b691c66ac2a0e1ae2b706d6a4"


def write_idx(path: Path, array: np.ndarray) -> None:
    raw = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def fashion(folder: Path, per_class: int = 12, suffix: str = "") -> np.ndarray:
    """Small IDX files of ten classes; the training images' upper left pixels are their positions."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.tile(np.arange(10, dtype=np.uint8), per_class)
    images = np.random.RandomState(0).randint(0, 256, (len(labels), 28, 28)).astype(np.uint8)
    images[:, 0, 0] = np.arange(len(labels))
    for split in ("train", "t10k"):
        write_idx(folder / f"{split}-images-idx3-ubyte{suffix}", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte{suffix}", labels)
    return images


def digest(arrays: dict[str, np.ndarray]) -> str:
    return hashlib.sha256(b"".join(arrays[key].tobytes() for key in sorted(arrays))).hexdigest()


def test_embedded_data_is_balanced_and_whole() -> None:
    data = open_dataset("embedded")
    for split, count in (("train", 200), ("val", 200), ("test", 100)):
        images, labels = getattr(data, split)
        assert torch.bincount(labels).tolist() == [count] * 10 and images.shape == (10 * count, 3, 32, 32)
    assert data.unlabeled.shape == (1000, 3, 32, 32) and data.image_size == (32, 32) and data.num_classes == 10
    images = data.train[0]
    assert int(images[:, :, :2].max()) == int(images[..., -2:].max()) == 0
    assert torch.equal(images[:, 0], images[:, 2]) and abs(moments(images[:, :, 2:30, 2:30])[0][1] - MEAN) < 0.01
    # A class at the head of a set would make `limit` a one-class run.
    assert len(data.train[1][:50].unique()) == 10
    assert "2000 train, 2000 val, 1000 unlabelled, 1000 test" in data.note and "\n" not in data.note


def test_embedded_data_is_what_its_script_makes() -> None:
    with np.load(make_embedded.EMBEDDED, allow_pickle=False) as file:
        stored = {key: file[key] for key in file.files}
    assert set(stored) == {f"{s}_{k}" for s in ("train", "val", "test") for k in ("images", "labels")} | {
        "unlabeled_images"
    }
    assert all(array.dtype == np.uint8 for array in stored.values())
    rows = np.concatenate([stored[f"{s}_images"].reshape(-1, 784) for s in ("train", "val", "unlabeled", "test")])
    assert len(np.unique(rows, axis=0)) == 6000
    assert digest(stored) == DIGEST
    if DEBIAN.is_dir():
        made = make_embedded.subset(DEBIAN)
        assert stored.keys() == made.keys() and all(np.array_equal(stored[k], made[k]) for k in made)


def test_the_script_says_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.npz"
    assert make_embedded.main(["--source", str(tmp_path), "--out", str(out)]) == 2
    assert "--source" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04 and no more", b"text"])
def test_bad_embedded_file(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(raw)
    with pytest.raises(ValueError, match="bad.npz: not the embedded data"):
        embedded(tmp_path / "bad.npz")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("below", ["", "fashion-mnist", "FashionMNIST/raw"])
def test_full_fashion_mnist_is_split_by_seed(tmp_path: Path, suffix: str, below: str) -> None:
    images = fashion(tmp_path / below, suffix=suffix)
    data = open_dataset("fashion_mnist", str(tmp_path), seed=1)
    parts = [x[:, 0, 2, 2].tolist() for x in (data.train[0], data.val[0], data.unlabeled)]
    assert [len(p) for p in parts] == [50, 50, 20] and len(set().union(*parts)) == 120
    assert data.train[1].tolist() == [p % 10 for p in parts[0]] and torch.bincount(data.val[1]).tolist() == [5] * 10
    assert torch.equal(data.test[0][:, 1, 2:30, 2:30], torch.from_numpy(images))
    other = open_dataset("fashion_mnist", str(tmp_path), seed=2)
    assert other.train[0][:, 0, 2, 2].tolist() != parts[0]
    again = open_dataset("fashion_mnist", str(tmp_path), seed=1)
    assert torch.equal(again.unlabeled, data.unlabeled)


def test_bad_idx_files(tmp_path: Path) -> None:
    fashion(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    good = path.read_bytes()
    for bad, message in (
        (good[:-1], "truncated"),
        (good + b"\0", "too long"),
        (good[:9], "truncated"),
        (b"\0\0\x0d\x03" + good[4:], "not an IDX file of 3-dimensional uint8"),
    ):
        path.write_bytes(bad)
        line = refused("fashion_mnist", str(tmp_path))
        assert message in line and path.name in line
    path.unlink()
    path.with_suffix(".gz").write_bytes(gzip.compress(good)[:-20])
    assert "cannot read it" in refused("fashion_mnist", str(tmp_path))
    write_idx(path, np.zeros((5, 28, 28), np.uint8))
    assert "not Fashion-MNIST" in refused("fashion_mnist", str(tmp_path))
    assert "no IDX files" in refused("fashion_mnist", str(tmp_path / "elsewhere"))
