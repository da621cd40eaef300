"""What the tests of the data sources share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sgl_fast.data import open_dataset


def refused(*args: Any, **kwargs: Any) -> str:
    """The one line that opening it ends with."""
    with pytest.raises(ValueError) as caught:
        open_dataset(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def paint(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
