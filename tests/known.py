"""The known answers of `tests/known_answers`, and the integer noise that makes their inputs (README there)."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sgl_fast.reference.cell import Entry
from sgl_fast.spaces import Space
from sgl_fast.spaces.arch import Arch

FOLDER = Path(__file__).parent / "known_answers"
X, COTANGENT, S0, S1 = 900001, 900002, 900004, 900005


@cache
def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def u(shape: tuple[int, ...], t: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """The noise tensor number t, values in [-1, 1]."""
    i = torch.arange(math.prod(shape), dtype=torch.int64)
    h = (1103 * i * i + 7919 * i + 3571 * t * t + 104729 * t + 12345) % 65521
    return (2 * h.double() / 65520 - 1).reshape(shape).to(dtype)


def weight(entry: Entry, t: int) -> Tensor:
    """Parameter tensor number t, by the kind that its name and shape tell."""
    noise = u(entry.shape, t)
    if len(entry.shape) > 1:
        return math.sqrt(6 / math.prod(entry.shape[1:])) * noise
    return 1 + 0.25 * noise if entry.name.endswith(".weight") else 0.1 * noise


def weights(entries: tuple[Entry, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    """(P,), all parameter tensors in canonical order."""
    return torch.cat([weight(e, t).flatten() for t, e in enumerate(entries)]).to(dtype)


def arch(space: Space, dtype: torch.dtype = torch.float64) -> Arch:
    """One learner's alphas and betas."""
    E, O = space.edges, space.ops_per_edge
    tensors = [0.5 * u((1, E, O), 910001, dtype), 0.5 * u((1, E, O), 910002, dtype)]
    if space.edge_norm:
        tensors += [0.5 * u((1, E), 910003, dtype), 0.5 * u((1, E), 910004, dtype)]
    return Arch(*tensors)


def close(got: Any, want: Any, rtol: float = 1e-8) -> None:
    """Equal to rtol, with an absolute floor of 1e-2 * rtol times the largest entry."""
    got, want = torch.as_tensor(got, dtype=torch.float64), torch.as_tensor(want, dtype=torch.float64)
    assert got.shape == want.shape, f"shape {tuple(got.shape)}, known {tuple(want.shape)}"
    floor = 1e-2 * rtol * max(want.abs().max().item(), 1e-8)
    torch.testing.assert_close(got, want, rtol=rtol, atol=floor)


def close_summary(got: Tensor, want: dict[str, Any], rtol: float = 1e-8) -> None:
    """First values, sum, sum of absolute values, sum of squares."""
    close(got.flatten()[: len(want["first"])], want["first"], rtol)
    scale = max(want["abs_sum"], 1e-8)
    assert abs(got.sum().item() - want["sum"]) <= rtol * scale
    close(got.abs().sum(), want["abs_sum"], rtol)
    close(got.square().sum(), want["sumsq"], rtol)
