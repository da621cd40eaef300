"""torch Datasets of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sgl_fast.data import from_torch


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
        (torch.zeros(3, 4, 4, dtype=torch.int32), "need uint8 or floating-point pixels; got torch.int32"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), "need a PIL image or a tensor"),
        (np.zeros((4, 4)), "got ndarray"),
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
