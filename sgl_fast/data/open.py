"""A data set by its name."""

from __future__ import annotations

from .dataset import Dataset
from .fashion_mnist import embedded, full
from .locate import check_name, choose, data_root, fashion_mnist_folder


def open_dataset(
    name: str,
    root: str | None = None,
    unlabeled: str | None = None,
    image_size: int | None = None,
    seed: int = 0,
    download: bool = False,
) -> Dataset:
    """The data set `name`, one of `locate.DATASETS`, split and checked; a ValueError of one line where it can't be."""
    check_name(name)
    name = choose(name, root)
    if name == "embedded":
        return embedded()
    if name == "fashion_mnist":
        folder = fashion_mnist_folder(data_root(root))
        assert folder
        return full(folder, seed)
    raise ValueError(f"{name} cannot be read yet")
