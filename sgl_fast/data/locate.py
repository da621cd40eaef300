"""Which data sets there are and which can be found. No torch here: command lines ask before they load it."""

from __future__ import annotations

import os
from pathlib import Path

from ..files import user_path
from .cifar_forms import FORMS, Form
from .idx import find_idx

DATASETS = ("auto", "embedded", "fashion_mnist", "cifar10", "cifar100", "imagenet", "folder:PATH")
PYTHON = "python:"  # of the name of a data set that a caller from Python has
FROM_PYTHON = "these images came from Python: sgl_fast.run_search and run_evaluation take them as dataset"
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

_IDX_STEMS = tuple(f"{s}-{k}-ubyte" for s in ("train", "t10k") for k in ("images-idx3", "labels-idx1"))


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder that data sets are looked for in: `root`, else $SGL_FAST_DATA, else data/."""
    return user_path(root if root is not None else os.environ.get("SGL_FAST_DATA") or "data")


def check_name(name: str) -> None:
    """Raise a ValueError that lists the names where `name` is none of them."""
    if name not in DATASETS[:-1] and not (name.startswith(("folder:", PYTHON)) and name != "folder:"):
        raise ValueError(f"unknown data set {name!r}; there are {', '.join(DATASETS)}")


def find(name: str, root: str | os.PathLike[str] | None = None) -> bool:
    """Whether the files of a data set are there; cheap, nothing is opened."""
    check_name(name)
    folder = data_root(root)
    if name.startswith(PYTHON):
        return False
    if name.startswith("folder:"):
        return os.path.isdir(user_path(name.removeprefix("folder:")))
    if name == "imagenet":
        return imagenet_folder(folder) is not None
    if name == "fashion_mnist":
        return fashion_mnist_folder(folder) is not None
    return name not in FORMS or cifar_path(name, folder) is not None


def choose(name: str, root: str | os.PathLike[str] | None = None) -> str:
    """What "auto" stands for: CIFAR-10 if it is found, else the full Fashion-MNIST, else the embedded subset."""
    check_name(name)
    if name != "auto":
        return name
    return next(n for n in ("cifar10", "fashion_mnist", "embedded") if find(n, root))


def cifar_path(name: str, folder: Path) -> tuple[Form, Path] | None:
    """The archive or extracted folder of "cifar10" or "cifar100" that is read, None where there is none.

    The pickle-free form first; of each form the archive, whose md5 can be checked, before its extracted folder.
    """
    places = ((form, folder / file) for form in FORMS[name] for file in (form.archive, form.folder))
    return next(((form, path) for form, path in places if os.path.exists(path)), None)


def imagenet_folder(folder: Path) -> Path | None:
    """The folder that holds train/ and val/: `folder` itself or imagenet/ in it."""
    places = (folder, folder / "imagenet")
    return next((c for c in places if os.path.isdir(c / "train") and os.path.isdir(c / "val")), None)


def fashion_mnist_folder(folder: Path) -> Path | None:
    """The first folder that holds the four IDX files: under `folder`, else where Debian's package puts them."""
    candidates = (folder, folder / "fashion-mnist", folder / "FashionMNIST" / "raw", DEBIAN_FASHION_MNIST)
    return next((c for c in candidates if all(find_idx(c, stem) for stem in _IDX_STEMS)), None)
