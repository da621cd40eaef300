"""Names, options, and which data set auto is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sources import refused
from torch import Tensor

from sgl_fast.data import DATASETS, choose, dataset, find, locate, open_dataset
from sgl_fast.data.dataset import Dataset

pytestmark = pytest.mark.usefixtures("nothing_installed")

ROOT = Path(__file__).parents[2]


def touch_fashion(folder: Path) -> Path:
    """Four files of the right names: enough to be found."""
    folder.mkdir(parents=True)
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{stem}-ubyte.gz").touch()
    return folder


def test_auto_takes_the_best_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("auto", tmp_path) == "embedded" and open_dataset("auto", str(tmp_path)).name == "embedded"
    monkeypatch.setattr(locate, "DEBIAN_FASHION_MNIST", touch_fashion(tmp_path / "debian"))
    assert choose("auto", tmp_path) == "fashion_mnist"
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert choose("auto", tmp_path) == "cifar10" and choose("embedded", tmp_path) == "embedded"


def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch_fashion(tmp_path / "there")
    assert not find("fashion_mnist")
    monkeypatch.setenv("SGL_FAST_DATA", str(tmp_path / "there"))
    assert find("fashion_mnist") and not find("fashion_mnist", tmp_path)
    (tmp_path / "data").mkdir()
    monkeypatch.delenv("SGL_FAST_DATA")
    (tmp_path / "there").rename(tmp_path / "data" / "fashion-mnist")
    assert find("fashion_mnist")


@pytest.mark.parametrize("name", ["mnist", "", "folder:", "folder"])
def test_unknown_names_list_the_known_ones(name: str) -> None:
    assert all(known in refused(name) for known in DATASETS)


def test_options_that_do_not_fit_are_named(tmp_path: Path) -> None:
    assert "image_size: embedded takes 32 or 16" in refused("embedded", image_size=64)
    assert "unlabeled" in refused("embedded", unlabeled=str(tmp_path / "nowhere"))
    assert "unlabeled" in refused("embedded", unlabeled=str(tmp_path))
    assert "imagenet" in refused("imagenet", str(tmp_path))


def test_unlabeled_images_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "more" / "deep" / "er").mkdir(parents=True)
    Image.new("RGB", (50, 40), (1, 2, 3)).save(tmp_path / "more" / "a.png")
    Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / "more" / "deep" / "er" / "b.JPG")
    (tmp_path / "more" / "readme.txt").write_text("no image")
    data = open_dataset("embedded", unlabeled=str(tmp_path / "more"))
    assert data.unlabeled.shape == (2, 3, 32, 32) and "2 unlabelled" in data.note
    assert open_dataset("embedded", unlabeled="train").unlabeled.shape[0] == 2000


def test_looking_for_data_loads_no_torch() -> None:
    code = "import sys; from sgl_fast.data import DATASETS, find; find('auto'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unlabeled": torch.zeros(2, 3, 4, 5, dtype=torch.uint8)}, "made unlabeled: need at least one image"),
        ({"unlabeled": torch.zeros(0, 3, 4, 4, dtype=torch.uint8)}, "made unlabeled: need at least one image"),
        ({"val": (torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]))}, "made val: need .* uint8"),
        ({"val": (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0]))}, "made val: need 2 labels"),
        ({"test": (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.tensor([2]))}, "made test: .*got 2 at image 0"),
    ],
)
def test_a_dataset_checks_itself(change: dict[str, Any], message: str) -> None:
    images, labels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1])
    parts: dict[str, Any] = {"train": (images, labels), "val": (images, labels), "test": (images, labels)}
    rest = {"unlabeled": images, "mean": (0, 0, 0), "std": (1, 1, 1), "source": "here"}
    with pytest.raises(ValueError, match=message):
        Dataset("made", ("a", "b"), **(parts | rest | change))


def test_half_of_the_side() -> None:
    """Means of 2x2 pixels, of every role, rounded to the nearest, halves up."""
    whole, half = open_dataset("embedded"), open_dataset("embedded", image_size=16)
    assert half.image_size == (16, 16) and half.source.endswith("at half the side")
    for role in ("train", "val", "test"):
        assert torch.equal(getattr(half, role)[1], getattr(whole, role)[1])
    for images, full in ((half.unlabeled, whole.unlabeled), (half.val[0], whole.val[0])):
        assert isinstance(images, Tensor) and isinstance(full, Tensor)
        means = torch.nn.functional.avg_pool2d(full[:9].double(), 2)
        assert torch.equal(images[:9].double(), (means + 0.5).floor())
    assert open_dataset("embedded", image_size=32).image_size == (32, 32)


def test_moments_are_of_all_images_or_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(256, (600, 3, 2, 2), dtype=torch.uint8)
    for most, step in ((8192, 1), (599, 2), (200, 3)):
        monkeypatch.setattr(dataset, "SAMPLED", most)
        some = images[::step].double() / 255
        for found, whole in zip(
            dataset.moments(images), (some.mean((0, 2, 3)), some.std((0, 2, 3), correction=0)), strict=True
        ):
            assert found == pytest.approx(tuple(whole.tolist()), rel=1e-12)
