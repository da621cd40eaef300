"""torch Datasets of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sgl_fast.data import from_torch, room


class Pairs:
    """A map-style Dataset over a list."""

    def __init__(self, pairs: list[tuple[Any, int]], classes: list[str] | None = None) -> None:
        self.pairs = pairs
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.pairs[index]


def test_torch_datasets_of_every_kind_of_image() -> None:
    value = 51
    kinds = [
        Image.new("L", (6, 4), value),
        Image.new("RGB", (6, 4), (value,) * 3),
        torch.full((4, 6), value, dtype=torch.uint8),
        torch.full((1, 4, 6), value / 255),
        torch.full((3, 4, 6), value / 255, dtype=torch.float64),
    ]
    pairs = [(kind, label) for label in range(2) for kind in kinds]
    data = from_torch(Pairs(pairs, ["cat", "dog"]))
    assert [len(y) for _, y in (data.train, data.val, data.test)] == [4, 4, 2] and data.classes == ("cat", "dog")
    for images in (data.train[0], data.val[0], data.test[0]):
        assert images.shape[1:] == (3, 4, 6) and images.unique().tolist() == [value]
    resized = from_torch(Pairs(pairs), image_size=8)
    assert resized.image_size == (8, 8) and resized.val[0].unique().tolist() == [value] and resized.num_classes == 2
    halves = from_torch(Pairs(pairs), test=Pairs(pairs[:2]), unlabeled=Pairs(pairs[:3]))
    assert len(halves.train[1]) == 4 and len(halves.test[1]) == 2 and len(halves.unlabeled) == 3
    whole = from_torch(Pairs(pairs), Pairs(pairs[:6]), Pairs(pairs[:2]))
    assert [len(y) for _, y in (whole.train, whole.val, whole.test)] == [10, 6, 2]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((3, 4, 4), 1.5), r"train\[1\]: need floating-point pixels from 0 to 1, not normalised; got 1.5"),
        (torch.full((3, 4, 4), float("nan")), "from 0 to 1"),
        (torch.zeros(3, 4, 4, dtype=torch.int32), "train.1.: need uint8, uint16, bool or .* got int32 from 0 to 0"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), "need a tensor .H, W. .*C 1 or 3; got .4, 4, 3. torch.uint8"),
        (np.zeros((3, 4, 4)), "need an array .H, W. or .H, W, C.*; got .3, 4, 4. float64"),
        (torch.zeros(3, 0, 4), "got .3, 0, 4."),
        ([[0]], "need a PIL image, a tensor or an array; got list"),
        (Image.fromarray(np.full((4, 4), 2.0, np.float32)), "mode F: need .* got 2 to 2"),
        (torch.zeros(3, 5, 4, dtype=torch.uint8), "image_size"),
    ],
)
def test_torch_datasets_that_do_not_fit(image: Any, message: str) -> None:
    good = torch.zeros(3, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=message):
        from_torch(Pairs([(good, 0), (image, 1)]))
    with pytest.raises(ValueError, match="need test where val is given"):
        from_torch(Pairs([(good, 0)]), val=Pairs([(good, 0)]))
    with pytest.raises(ValueError, match="empty"):
        from_torch(Pairs([]))


def test_what_would_fill_the_memory_is_said_at_the_first_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """At their size in memory: smaller ones fit."""
    monkeypatch.setattr(room, "free_memory", lambda: 2 * 100 * 3 * 4 * 4)
    images = [(torch.full((3, 8, 8), 9, dtype=torch.uint8), i % 2) for i in range(100)]
    with pytest.raises(ValueError, match=r"^train: 100 images of 8x8 pixels would fill the memory; a smaller image_s"):
        from_torch(Pairs(images[:1] + [(None, 0)] * 99))
    assert from_torch(Pairs(images), image_size=4).image_size == (4, 4)


IMAGE = torch.zeros(3, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize(
    "label", [1.7, 1.0, None, "1", b"1", True, np.True_, torch.tensor(True), torch.tensor(1.0), np.float32(1), [1], -1]
)
@pytest.mark.parametrize("role", ["train", "val", "test"])
def test_labels_that_are_no_class_indices_are_named_by_role_and_position(label: Any, role: str) -> None:
    parts = {name: Pairs([(IMAGE, 0), (IMAGE, 1)]) for name in ("train", "val", "test")}
    parts[role].pairs[1] = (IMAGE, label)
    with pytest.raises(ValueError, match=rf"^{role}\[1\]: need a label that is a whole number from 0 to \d+; got "):
        from_torch(**parts)


@pytest.mark.parametrize(
    "label", [1, np.uint8(1), np.int64(1), np.array(1), np.array([1]), torch.tensor(1), IMAGE.new_ones(1)]
)
def test_whole_numbers_of_every_library_are_labels(label: Any) -> None:
    pairs = Pairs([(IMAGE, 0), (IMAGE, label)])
    data = from_torch(pairs, pairs, pairs, unlabeled=Pairs([(IMAGE, None), (IMAGE, "?")]))  # type: ignore[list-item]
    assert data.train[1].tolist() == [0, 1] and data.train[1].dtype == torch.int64 and len(data.unlabeled) == 2


def test_labels_are_held_against_the_names_of_the_classes() -> None:
    pairs = Pairs([(IMAGE, 0), (IMAGE, 2)], ["cat", "dog"])
    with pytest.raises(ValueError, match=r"^train\[1\]: need a label that is a whole number from 0 to 1; got 2$"):
        from_torch(pairs, pairs, pairs)
    with pytest.raises(ValueError, match=r"^train\[1\]: .* got 1099511627776$"):
        from_torch(Pairs([(IMAGE, 0), (IMAGE, 2**40)]))


def test_a_class_without_images_is_said() -> None:
    pairs = Pairs([(IMAGE, label) for label in (1, 2, 1, 2)])
    assert "3 classes (no training image of 0), 4x4" in from_torch(pairs, pairs, pairs).note
    named = Pairs(pairs.pairs, ["cat", "dog", "cow", "a", "b", "c"])
    assert "6 classes (no training image of cat, a, b and 1 more)" in from_torch(named, named, named).note
    full = Pairs([(IMAGE, label) for label in (0, 1)])
    assert "2 classes, 4x4" in from_torch(full, full, full).note


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([IMAGE], r"train\[0\]: need a pair \(image, label\); got Tensor"),
        ([(IMAGE, 0, 1)], r"train\[0\]: need a pair \(image, label\); got 3 of them"),
        (iter([]), "train: need a map-style Dataset, with a length; got list_iterator"),
    ],
)
def test_what_is_no_dataset_of_pairs(items: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        from_torch(items)
