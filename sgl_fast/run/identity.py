"""What a run is: settings, software and data that its numbers come from, in config.json and in every checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Dataset
    from ..data.dataset import Images

FORMAT = 1  # of config.json and checkpoint.pt; it rises when an older version could not read them
RUN = "run"  # the key that holds the identity
SHORTER = "shorter"  # there, what `settings` was before the run grew; its older checkpoints have it
SOFTWARE = ("sgl_fast", "torch", "backend")  # what the last digits may depend on


def identity(config: Mapping[str, Any], dataset: Dataset, backend: str) -> dict[str, Any]:
    """Of a run with this config.json. backend: what computes, and on what."""
    import torch

    software = {
        "sgl_fast": __version__,
        "torch": str(torch.__version__),
        "backend": backend,
        "threads": torch.get_num_threads(),
    }
    run = config.get(RUN)
    grown = {SHORTER: run[SHORTER]} if isinstance(run, dict) and SHORTER in run else {}
    return {"format": FORMAT, "settings": _settings(config), **grown, **software, "data": _data(dataset)}


def computes(backend: str, device: str) -> str:
    """A backend, and what its numbers depend on here: torch's convolutions add in another order on more threads."""
    import torch

    from ..backends.choice import compiled

    if torch.device(device).type == "cuda":
        return f"{backend} on {torch.cuda.get_device_name(device)}"
    return f"cpu ({compiled().isa()})" if backend == "cpu" else f"{backend} on {torch.get_num_threads()} CPU threads"


def differences(then: Any, now: Mapping[str, Any]) -> list[str]:
    """What of the software differs, a line each. ValueError where the settings or the data are others.

    then   the identity that a file holds; what it lacks, a later version added, and is not compared
    """
    if then is None:
        return ["does not say what it is of: an earlier version wrote it"]
    if not isinstance(then, dict) or type(then.get("format")) is not int or not isinstance(then.get("data"), dict):
        raise ValueError(f"{RUN!r} is not what a run writes")
    if then["format"] > FORMAT:
        raise ValueError(
            f"format {then['format']} of sgl_fast {then.get('sgl_fast')}; this version reads up to {FORMAT}"
        )
    if then.get("settings") not in (now["settings"], *now.get(SHORTER, ())):
        raise ValueError("not of these settings: config.json was changed, or this is of another run")
    for name, value in now["data"].items():
        if then["data"].get(name, value) != value:
            raise ValueError(f"the data are others; {name} was {then['data'][name]}, is {value}")
    changed = [name for name in SOFTWARE if then.get(name, now[name]) != now[name]]
    return [f"{name} was {then[name]}, is {now[name]}: the last digits may differ" for name in changed]


def _settings(config: Mapping[str, Any]) -> str:
    plain = json.dumps({name: value for name, value in config.items() if name != RUN}, sort_keys=True)
    return _digest([plain.encode()])


def _data(dataset: Dataset) -> dict[str, Any]:
    labels = {role: getattr(dataset, role)[1] for role in ("train", "val", "test")}
    images = {role: getattr(dataset, role)[0] for role in labels} | {"unlabeled": dataset.unlabeled}
    return {
        "name": dataset.name,
        "classes": dataset.num_classes,
        "size": list(dataset.image_size),
        "images": {role: len(x) for role, x in images.items()},
        "labels": _digest(_bytes(t) for t in labels.values()),
        "split": _digest(_which(x, dataset.files.get(role)) for role, x in images.items()),
    }


def _which(images: Images, files: Sequence[Path] | None) -> bytes:
    """Which images, in which order: every eighth pixel of every eighth row. Of a folder, which may be in memory today
    and read as it is needed tomorrow, names and lengths of files; of ImageNet names.
    """
    from torch import Tensor

    if files is not None:
        return _lines(f"{_name(path)} {path.stat().st_size}" for path in files)
    if isinstance(images, Tensor):
        return _bytes(images[:, :, ::8, ::8])
    return _lines(map(_name, images.paths))


def _name(path: Path) -> str:
    return "/".join(path.parts[-2:])


def _lines(lines: Iterable[str]) -> bytes:
    return "\n".join(lines).encode(errors="surrogateescape")


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()[:16]
