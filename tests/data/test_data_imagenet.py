"""The ImageNet subset and the images that are decoded when asked, from tiny files."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sources import paint, refused
from toys import CHEAP

from sgl_fast.data import Feed, decode, image_store, open_dataset
from sgl_fast.data.image_store import crop_box
from sgl_fast.data.whole import hold_out
from sgl_fast.errors import ImageError
from sgl_fast.run.recipe import Recipe
from sgl_fast.run.retrain import Retraining


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    for wnid, colour in (("n01", 40), ("n02", 200)):
        for number in range(40):
            paint(tmp_path / "imagenet" / "train" / wnid / f"{number}.JPEG", (colour, number, 0), (30, 20))
        for number in range(2):
            paint(tmp_path / "imagenet" / "val" / wnid / f"{number}.JPEG", (colour, 0, 0), (16, 24))
    return tmp_path / "imagenet"


def test_imagenet_split_is_saved_and_read_again(imagenet: Path) -> None:
    data = open_dataset("imagenet", str(imagenet), image_size=8)
    assert [len(y) for _, y in (data.train, data.val, data.test)] == [8, 2, 4] and len(data.unlabeled) == 8
    path = imagenet / "sgl_split_seed0.json"
    index = json.loads(path.read_text())
    assert index["seed"] == 0 and index["fractions"] == {"train": 0.1, "val": 0.025, "unlabeled": 0.1}
    chosen = [p for part in ("train", "val", "unlabeled") for p in index[part]]
    assert len(set(chosen)) == 18 and all((imagenet / p).is_file() for p in chosen)

    index["train"] = ["train/n02/5.JPEG", "train/n01/7.JPEG"]
    path.write_text(json.dumps(index))
    data = open_dataset("imagenet", str(imagenet.parent), image_size=8)
    assert data.train[1].tolist() == [1, 0] and len(data.train[0]) == 2
    assert json.loads(path.read_text()) == index
    other = open_dataset("imagenet", str(imagenet), image_size=8, seed=1)
    assert "sgl_split_seed1.json" in other.note and len(other.train[0]) == 8


def test_the_whole_of_imagenet_is_trained_on(imagenet: Path) -> None:
    data = open_dataset("imagenet", str(imagenet), image_size=8, whole=True)
    assert len(data.train[1]) == 80 and data.val is data.train and len(data.test[1]) == 4
    assert data.train[1].bincount().tolist() == [40, 40] and "whole" in data.note
    assert sorted(p.name for p in imagenet.iterdir()) == ["train", "val"]
    held = hold_out(data, 10)
    assert not {*held.test[0].paths} & {*held.train[0].paths} and len(held.train[0]) == 70
    retraining = Retraining(CHEAP, data, Recipe(channels=2, layers=2, epochs=1, batch_size=8))
    assert "trained on 80 images, tested on 4" in retraining.note


def test_colours_of_decoded_images_change_in_training(imagenet: Path) -> None:
    data = open_dataset("imagenet", str(imagenet), image_size=8, whole=True)
    plain, changed = (Feed(data, 8, 0, color_jitter=strength) for strength in (0.0, 0.4))
    (x, y), (other, same) = plain.labeled("train", 0), changed.labeled("train", 0)
    assert torch.equal(y, same) and not torch.equal(x, other)
    parts = [Feed(data, 8, 0, color_jitter=0.4, part=(d, 2)).labeled("train", 0)[0] for d in range(2)]
    assert torch.equal(torch.cat(parts), other)


def test_an_index_that_cannot_be_saved_is_said_and_loses_nothing(
    imagenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError("no space left on device")

    saved = open_dataset("imagenet", str(imagenet), image_size=8)
    (imagenet / "sgl_split_seed0.json").unlink()
    monkeypatch.setattr("os.replace", full)
    data = open_dataset("imagenet", str(imagenet), image_size=8)
    assert "index not saved" in data.note and "index not saved" not in saved.note
    assert torch.equal(data.train[1], saved.train[1])
    assert sorted(p.name for p in imagenet.iterdir()) == ["train", "val"]


def test_imagenet_images_are_decoded_when_asked(imagenet: Path) -> None:
    data = open_dataset("imagenet", str(imagenet), image_size=8)
    red = torch.tensor([40, 200])
    images = data.train[0][torch.tensor([3, 0, 5])]
    assert images.shape == (3, 3, 8, 8) and images.dtype == torch.uint8
    assert (images[:, 0, 4, 4] - red[data.train[1][[3, 0, 5]]]).abs().max() < 8
    feed = Feed(data, 2, seed=0)
    for step in (0, 1, 2, 5, 4, 5, 6):
        batch, fresh = feed.batch(step), Feed(data, 2, seed=0).batch(step)
        batch.check()
        assert torch.equal(batch.x_train, fresh.x_train) and torch.equal(batch.x_unlabeled, fresh.x_unlabeled)
    assert [len(y) for _, y in feed.evaluation("test", 3)] == [3, 1]
    assert open_dataset("imagenet", str(imagenet), unlabeled="train", image_size=8).unlabeled is not data.unlabeled
    lazy = open_dataset("imagenet", str(imagenet), unlabeled=str(imagenet / "val"), image_size=8).unlabeled
    assert lazy.shape == (4, 3, 8, 8) and not isinstance(lazy, torch.Tensor)


def test_an_image_that_fails_in_mid_run_is_named_and_the_step_can_be_asked_again(imagenet: Path) -> None:
    data = open_dataset("imagenet", str(imagenet), image_size=8)
    feed, want = Feed(data, 2, seed=0), Feed(data, 2, seed=0)
    whole = {path: path.read_bytes() for path in data.train[0].paths}  # type: ignore[union-attr]
    for step, spoil in ((0, lambda path: path.write_bytes(whole[path][:100])), (3, Path.unlink)):
        assert torch.equal(feed.batch(step).x_train, want.batch(step).x_train)
        feed._begun["batch"][1].result()
        for path in whole:
            spoil(path)
        feed.batch(step + 1)  # was decoded in time; the next one fails in its thread, then in this one
        for _ in range(2):
            with pytest.raises(ImageError, match=r"train/n0[12]/\d+.JPEG: not a readable image \(\w+") as caught:
                feed.batch(step + 2)
            assert "\n" not in str(caught.value)
        with pytest.raises(ImageError):
            data.train[0][torch.tensor([0])]
        for path, raw in whole.items():
            path.write_bytes(raw)
        assert torch.equal(feed.batch(step + 2).x_train, want.batch(step + 2).x_train)


TAKES: dict[str, Callable[[Feed], Iterator[Any]]] = {
    "a search's batches": lambda feed: (feed.batch(step) for step in range(9)),
    "an evaluation's batches": lambda feed: (feed.labeled("train", step) for step in range(9)),
    "test images": lambda feed: feed.evaluation("test", 1),
}


@pytest.mark.parametrize("take", TAKES.values(), ids=TAKES)
def test_the_next_batch_is_decoded_meanwhile(
    take: Callable[[Feed], Iterator[Any]], imagenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nobody asks for it, once, and by threads that stay."""
    decoded, threads = queue.Queue[Any](), set[int]()
    whole = decode.decode

    def watched(path: Path, shape: Any) -> Any:
        threads.add(threading.get_ident())
        return whole(path, shape)

    def counted(paths: Any, shapes: Any) -> Any:
        images = decode.decode_all(paths, shapes)
        decoded.put([*paths])
        return images

    monkeypatch.setattr(decode, "decode", watched)
    monkeypatch.setattr(image_store, "decode_all", counted)
    batches = take(Feed(open_dataset("imagenet", str(imagenet), image_size=8), 2, seed=0))
    roles = 3 if take is TAKES["a search's batches"] else 1
    next(batches)
    for _ in range(2 * roles):  # the first one, and one ahead
        decoded.get(timeout=60)
    for _ in range(2):
        next(batches)
    for _ in range(2 * roles):
        decoded.get(timeout=60)
    assert decoded.empty()
    assert len(threads) <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "not an index of seed 0"),
        ({"fractions": {"train": 0.5}}, "not an index of seed 0 with fractions"),
        ({"val": []}, "val is not a list of paths"),
        ({"train": ["train/n01/../../../secret.JPEG"]}, "is not train/<class>/<file>"),
        ({"train": ["train/n01/x/../../../../secret.JPEG"]}, "is not train/<class>/<file>"),
        ({"train": ["/etc/passwd"]}, "is not train/<class>/<file>"),
        ({"unlabeled": ["train/n09/1.JPEG"]}, "is not train/<class>/<file>"),
        ({"classes": None}, "is not train/<class>/<file>"),
    ],
)
def test_bad_imagenet_indices(imagenet: Path, change: dict[str, Any], message: str) -> None:
    open_dataset("imagenet", str(imagenet))
    path = imagenet / "sgl_split_seed0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    line = refused("imagenet", str(imagenet))
    assert message in line and path.name in line
    path.write_text("{")
    assert "not a readable index" in refused("imagenet", str(imagenet))


def test_random_windows_fit_and_fall_back_to_the_centre() -> None:
    generator = torch.Generator().manual_seed(0)
    areas = []
    for draws in torch.rand(200, 10, 4, generator=generator).tolist():
        left, top, right, bottom = crop_box(50, 40, draws)
        assert 0 <= left < right <= 50 and 0 <= top < bottom <= 40
        areas.append((right - left) * (bottom - top) / 2000)
        assert 0.6 < (right - left) / (bottom - top) < 1.6
    assert min(areas) < 0.15 and max(areas) > 0.85
    assert crop_box(100, 10, [[1.0, 0.5, 0.0, 0.0]]) == (43, 0, 56, 10)
    assert crop_box(64, 64, [[1.0, 0.5, 0.0, 0.0]]) == (0, 0, 64, 64)
    assert crop_box(64, 64, [[0.25 / 0.92 - 0.08 / 0.92, 0.5, 0.999, 0.5]]) == (32, 16, 64, 48)
