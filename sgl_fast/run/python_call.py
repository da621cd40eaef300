"""Runs that begin in Python: settings, data and process as the command lines have them. No torch at import."""

from __future__ import annotations

import os
import signal
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..backends.choice import backend_kept
from ..data.locate import PYTHON
from ..errors import RunStopped, one_line
from ..files import user_path
from .options import Options

if TYPE_CHECKING:
    from ..data import Dataset

Settings = dict[str, Any]
Images = Callable[[int, int | None, str | None], "Dataset"]  # of a seed of splits, an image size, what has no labels


def as_typed(
    options: Options, flat: Callable[[Settings], Settings], settings: Mapping[str, Any], resume: bool | str, who: str
) -> tuple[Namespace, Settings]:
    """The run's own arguments, and what is said of its settings, as of a command line.

    settings  by the names of options, None for those that nobody says; config: a TOML file or a run
    resume    True, False or "auto"
    who       the function that they were given to
    """
    if resume not in (True, False, "auto"):
        raise ValueError(f"{who}: need resume True, False or 'auto'; got {resume!r:.80}")
    said = {name: _plain(value) for name, value in settings.items() if value is not None}
    file = said.pop("config", None)
    args = Namespace(**options.checked(said, who))
    args.config = None if file is None else user_path(file)
    args.print_config, args.resume = False, resume if resume == "auto" else "" if resume else None
    given = options.given(args, flat)
    if resume is True and args.out is None:
        raise ValueError(f"{who}: need out, the folder of the run to resume")
    return args, given


def _plain(value: Any) -> Any:
    """As TOML would have it: numbers of other libraries, paths and names in a row are taken, too."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple)):
        return ",".join(value) if value and all(isinstance(one, str) for one in value) else [*map(_plain, value)]
    return value.item() if getattr(value, "shape", None) == () else value


def own_data(dataset: Any, given: Settings, parts: Mapping[str, Any], who: str) -> Images | None:
    """What makes the images of a data set that came as an object; its name goes into given.

    None where they are of a data set that has a name, or of the run's.

    dataset  a name, a `data.Dataset`, a torch Dataset of (image, label), or None
    parts    val, test and unlabeled, torch Datasets or None; unlabeled may be as the option
    """
    if isinstance(parts.get("unlabeled"), (str, os.PathLike)):
        given["unlabeled"], parts = os.fspath(parts["unlabeled"]), {**parts, "unlabeled": None}
    if dataset is None or isinstance(dataset, str):
        if beside := [name for name, part in parts.items() if part is not None]:
            raise ValueError(f"{who}: {beside[0]} goes with a dataset that is an object; got dataset {dataset!r:.80}")
        if dataset is not None:
            given["data"] = dataset
        return None
    from ..data import Dataset
    from ..data.open import with_unlabeled
    from ..data.torch_dataset import from_torch

    whole = isinstance(dataset, Dataset)
    name = dataset.name if whole else type(dataset).__name__
    given["data"] = PYTHON + one_line(str(name))

    def opened(seed: int, image_size: int | None, source: str | None) -> Dataset:
        if not whole:
            made = from_torch(dataset, **parts, image_size=image_size, seed=seed, name=name)
        elif [*parts.values()] != [None] * len(parts) or image_size not in (None, *dataset.image_size):
            raise ValueError(f"{who}: a Dataset of sgl_fast has its val, test, unlabeled and image_size already")
        else:
            made = dataset
        return with_unlabeled(made, source)

    return opened


@contextmanager
def as_it_was() -> Iterator[None]:
    """Around a run: backend and determinism of the process are the caller's again, and a Ctrl-C is Python's own."""
    import torch

    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        with backend_kept():
            yield
    except RunStopped as end:
        if end.code != 128 + signal.SIGINT:
            raise
        raise KeyboardInterrupt(str(end)) from None
    finally:
        torch.use_deterministic_algorithms(deterministic)
