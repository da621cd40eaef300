"""Search checkpoints of the original codebases and their forks: weights, architectures and statistics of ours."""

from __future__ import annotations

import argparse
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import reason, told_in_one_line
from ..files import user_path
from ..reference.layers import RunningStats
from ..spaces import Space
from ..spaces.arch import FIELDS, Arch, arch_shapes
from .eager_names import flat_weights, unwrapped

PathLike = str | os.PathLike[str]
_ARCH = re.compile(r"(?:.*\.)?_?(alpha|beta)s?_(normal|reduce)(?:\.(\d+))?")  # the last: of which node
_LISTS = ("alphas", "alpha", "betas", "arch", "arch_parameters", "arch_params", "_arch_parameters")


@dataclass(frozen=True)
class SearchCheckpoint:
    """What files hold of K learners, each of them one.

    weights   (K, P), as `Supernet` takes them
    arch      raw values before any softmax; None where a file lacks some of them
    running   None where a file has no running statistics
    missing   names of what is lacking
    """

    weights: Tensor
    arch: Arch | None
    running: RunningStats | None
    missing: tuple[str, ...]


@told_in_one_line()
def load_search_checkpoint(
    path: PathLike | Sequence[PathLike], space: Space, network: str | None = None
) -> SearchCheckpoint:
    """The weights of eager supernets that other code saved, as rows of our flat weights.

    path      of one file, or one for each learner: a state_dict, or a dict that holds one beside whatever else, and
              architectures in either: alphas_normal, ..., or a list of them in that order as alphas or arch_parameters
    space     which the files are of; its sizes and operations are checked tensor by tensor
    network   the key of the state_dict where a file holds several
    Names begin with module. or not. Files are read with weights_only, so that none of their code runs. A UserWarning
    names what is missing; a file that cannot be read, or does not fit the space, is a ValueError of one line.

    >>> torch.save(model.state_dict(), file)
    >>> found = load_search_checkpoint(file, space("darts", channels=4, layers=3, nodes=2))
    >>> found.weights.shape[0], found.missing
    (1, ())
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    if not paths:
        raise ValueError("need a file, or one for each learner; got none")
    rows = [read(user_path(one), space, network) for one in paths]
    flats, means, variances, archs = zip(*rows, strict=True)
    names = arch_shapes(space)
    missing = [name for name in names if any(name not in arch for arch in archs)]
    arch = None if missing else Arch(*(torch.stack([one[name] for one in archs]) for name in names))
    running = None
    if any(mean is None for mean in means):
        missing.append("running statistics")
    else:
        running = RunningStats(torch.stack(means), torch.stack(variances))
    if missing:
        warnings.warn(f"{', '.join(map(str, paths))}: no {', '.join(missing)}", stacklevel=3)
    return SearchCheckpoint(torch.stack(flats), arch, running, tuple(missing))


def read(
    path: Any, space: Space, network: str | None
) -> tuple[Tensor, Tensor | None, Tensor | None, dict[str, Tensor]]:
    """(P,) weights, (S,) means and variances, and what there is of the architecture."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # what scripts keep beside: it runs no code
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # unpickling a foreign file may raise nearly anything
        raise ValueError(f"cannot read {path}: {unreadable(error)}") from error
    try:
        state = network_of(found, network)
        arch = {name: tensor for name, tensor in state.items() if _ARCH.fullmatch(name)}
        weights = {name: tensor for name, tensor in state.items() if name not in arch}
        flat, mean, variance = flat_weights(weights, space)
        return flat, mean, variance, fitted(dict(architectures({**found, **arch})), space, flat.dtype)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def unreadable(error: Exception) -> str:
    """Why a file was not read. PyTorch's own words tell how to run the code that is in it."""
    other = re.search(r"GLOBAL (\S+)", str(error))
    if other is not None:
        return f"it holds a {other[1]}; need tensors alone, such as a state_dict"
    return "it is no file of tensors" if "weights_only" in str(error) else reason(error)


def state_like(value: object) -> bool:
    """Whether it is a state_dict of a network: tensors by name, one of them a layer's weight."""
    if not isinstance(value, Mapping):
        return False
    return any(
        isinstance(name, str) and name.endswith(".weight") and isinstance(t, Tensor) for name, t in value.items()
    )


def network_of(found: object, network: str | None) -> dict[str, Tensor]:
    """The tensors of the network that a file holds, by their own names."""
    if not isinstance(found, Mapping):
        raise ValueError(f"need a state_dict, or a dict that holds one; got a {type(found).__name__}")
    inner = {"": found} if state_like(found) else {key: value for key, value in found.items() if state_like(value)}
    if network is not None:
        inner = {key: value for key, value in inner.items() if key == network}
    if len(inner) != 1:
        named = ", ".join(map(str, inner)) or "none"
        raise ValueError(f"need one state_dict{f' {network}' if network else ', or its key as network'}; got {named}")
    return unwrapped(next(iter(inner.values())))


def architectures(found: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    """Our names and the tensors of an architecture, of one learner, in a dict."""
    by_node: dict[str, dict[int, Tensor]] = {}
    for key, value in found.items():
        if isinstance(value, Tensor) and (match := _ARCH.fullmatch(str(key))):
            name = f"{match[1]}s_{match[2]}"
            if match[3] is None:
                yield name, value
            else:
                by_node.setdefault(name, {})[int(match[3])] = value
        elif key in _LISTS and isinstance(value, Mapping):
            letter = "beta" if key == "betas" else "alpha"
            yield from architectures({f"{letter}_{k}" if k in ("normal", "reduce") else k: v for k, v in value.items()})
        elif key in _LISTS and isinstance(value, (list, tuple)):
            yield from zip(FIELDS[2:] if key == "betas" else FIELDS, value, strict=False)
    for name, rows in by_node.items():
        alike = all(row.dim() and row.shape[1:] == rows[min(rows)].shape[1:] for row in rows.values())
        yield name, torch.cat([rows[node] for node in sorted(rows)]) if alike else rows[min(rows)]


def fitted(arch: Mapping[str, Tensor], space: Space, dtype: torch.dtype) -> dict[str, Tensor]:
    """What the space has of them. ValueError where one has another shape, or is not finite."""
    found = {name: (arch[name], shape) for name, shape in arch_shapes(space).items() if name in arch}
    for name, (tensor, shape) in found.items():
        if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape or not tensor.isfinite().all():
            got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"need {name} {shape} of finite numbers; got {got}")
    return {name: tensor.detach().to(dtype) for name, (tensor, _) in found.items()}
