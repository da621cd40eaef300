"""CIFAR-10 and CIFAR-100 as the published searches use them."""

from __future__ import annotations

import http.client
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import reason
from ..files import alone
from .cifar_files import read
from .cifar_forms import FORMS, Form, archives
from .dataset import Dataset, Triple
from .locate import cifar_path

_OTHER = {"cifar10": "cifar100", "cifar100": "cifar10"}

_MOMENTS: dict[str, tuple[Triple, Triple]] = {
    "cifar10": ((0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}


def open_cifar(name: str, folder: Path, external: bool, download: bool) -> Dataset:
    """The first half of the training file is train, the second val, in the file's order.

    external   the unlabelled images are the other CIFAR's training images, as in the paper; else the training images
    download   let torchvision fetch what is missing
    """
    form, path = _locate(name, folder, download)
    other = _locate_other(name, folder, download) if external else None
    images, labels = (content := read(form, path)).train
    half = len(labels) // 2
    train = images[:half], labels[:half]
    mean, std = _MOMENTS[name]
    return Dataset(
        name=name,
        classes=content.classes,
        train=train,
        val=(images[half:], labels[half:]),
        test=content.test,
        unlabeled=read(*other).train[0] if other else train[0],
        mean=mean,
        std=std,
        source=f"{path}, unlabelled images from {other[1]}" if other else str(path),
    )


def _locate(name: str, folder: Path, download: bool) -> tuple[Form, Path]:
    found = cifar_path(name, folder)
    if found is None and download:
        with alone(folder / f".{name}.lock"):  # processes of one run, or runs that begin together
            found = cifar_path(name, folder) or _download(name, folder)
    if found is None:
        remedy = "--download fetches it, --root or SGL_FAST_DATA says where it is"
        raise ValueError(f"{name}: {folder} has no {archives(name)}; {remedy}")
    return found


def _locate_other(name: str, folder: Path, download: bool) -> tuple[Form, Path]:
    try:
        return _locate(_OTHER[name], folder, download)
    except ValueError as error:
        hint = f'its images are the unlabelled ones of {name}; unlabeled="train" uses the training images instead'
        raise ValueError(f"{error}; {hint}") from None


def _download(name: str, folder: Path) -> tuple[Form, Path] | None:
    from torchvision import datasets
    from torchvision.datasets.utils import download_url

    url = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name].url
    form = next(form for form in FORMS[name] if url.endswith(form.archive))
    try:
        # Half an archive would be taken for the data set: it gets its name when it is whole.
        with TemporaryDirectory(prefix=".download.", dir=folder) as place:
            download_url(url, place, form.archive, form.md5)
            os.replace(Path(place, form.archive), folder / form.archive)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise ValueError(f"download: {name} from {url} failed ({reason(error)})") from None
    return cifar_path(name, folder)
