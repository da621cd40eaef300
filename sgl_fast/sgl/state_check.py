"""A state that was read, beside one that is right: every name, shape and dtype, and no number that is not finite."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor


def check_like(state: Any, like: Any, place: str) -> None:
    """ValueError that names the first field in which `state` is not built as `like`, or holds what is not finite.

    Tensors, lists, dicts and numbers, nested at will; strings and numbers may have other values. place: of the state
    """
    if isinstance(like, Tensor):
        _check_tensor(state, like, place)
    elif type(state) is not type(like):
        raise ValueError(f"{place}: need a {type(like).__name__}; got {_brief(state)}")
    elif isinstance(like, dict):
        check_keys(state, like, place)
        for key, value in like.items():
            check_like(state[key], value, f"{place}.{key}")
    elif isinstance(like, list):
        if len(state) != len(like):
            raise ValueError(f"{place}: need {len(like)} entries; got {len(state)}")
        for i, value in enumerate(like):
            check_like(state[i], value, f"{place}[{i}]")


def check_keys(state: Any, names: Collection[Any], place: str) -> None:
    """ValueError unless it is a dict with these keys and no other."""
    if not isinstance(state, dict):
        raise ValueError(f"{place}: need a dict; got {_brief(state)}")
    missing, unknown = [k for k in names if k not in state], [k for k in state if k not in names]
    if missing or unknown:
        raise ValueError(f"{place} {f'lacks {missing[0]!r}' if missing else f'has an unknown {unknown[0]!r}'}")


def own(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device, contiguous, of no graph."""
    return tensor.detach().to(device, copy=True, memory_format=torch.contiguous_format)


def check_count(value: Any, most: int, place: str) -> None:
    """ValueError unless it is a whole number from 0 to `most`."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{place}: need a whole number from 0 to {most}; got {_brief(value)}")


def _check_tensor(state: Any, like: Tensor, place: str) -> None:
    if type(state) not in (Tensor, torch.nn.Parameter) or state.layout is not torch.strided or state.is_quantized:
        raise ValueError(f"{place}: need a tensor {list(like.shape)}; got {_brief(state)}")
    if state.shape != like.shape or state.dtype != like.dtype:
        raise ValueError(f"{place}: need {list(like.shape)} {like.dtype}; got {list(state.shape)} {state.dtype}")
    if not state.isfinite().all():
        raise ValueError(f"{place} is not finite")


def _brief(value: Any) -> str:
    if isinstance(value, (Tensor, dict, list)):
        return f"a {type(value).__name__}"
    return repr(value)[:60]
