"""accelerate, restore, report: on a model that somebody already has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from ..backend import asked_for
from .arguments import OWN, bind
from .attached import Attached
from .borrow import Copy, borrowed, no_trace
from .matching import Match, cells_of
from .patched import patch, unpatch
from .report import KEPT, WAITING, CellReport, Report
from .trial import own, signature_of
from .watch import hooked

REPORT = "_sgl_fast_report"
SIDES = (32, 64, 224)
Calls = dict[str, tuple[tuple[Any, ...], dict[str, Any]]]
Model = TypeVar("Model", bound=nn.Module)


def accelerate(model: Model, backend: str | None = None, verify: bool = True, example: Sequence[Any] = ()) -> Model:
    """The same model, its cells computed by the fused operations. `report(model)` says which and why not.

    model     an eager supernet of the DARTS family: cells of two inputs over 2, 5, 9 or 14 mixed ops, P-DARTS's op
              subsets and PC-DARTS's partial channels too; told by its torch.nn modules, not by names
    backend   None for the one that `use_backend` and SGL_FAST_BACKEND choose at each call
    verify    compare every cell with the original on small random numbers, outputs, gradients and running statistics;
              one that differs is kept as it was
    example   arguments of a call of the model; without, images of 32, 64 and 224 pixels are tried, and a cell that
              they do not reach is verified at its first call

    Only `forward` of the cells changes: parameters, buffers, state_dict, optimisers, copies and pickles stay.
    A call that the fused cell cannot take is answered by the original: hooks inside a cell, autocast, a dtype or
    device that the backend lacks. TypeError unless model is an nn.Module; RuntimeError for a backend that cannot run.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"need an nn.Module; got {type(model).__name__}")
    asked_for(backend)
    restore(model)
    matches = cells_of(model)
    calls = observe(model, matches, example) if any(m.problem is None for m in matches) else {}
    cells = [install(match, backend, verify, calls) for match in matches]
    model.__dict__[REPORT] = Report(cells)
    return model


def restore(model: Model) -> Model:
    """The same model, computed as it was before `accelerate`."""
    for module in model.modules():
        unpatch(module)
        module.__dict__.pop(REPORT, None)
    return model


def report(model: nn.Module) -> Report:
    """What became of each cell of an accelerated model; prints as a table."""
    if REPORT in model.__dict__:
        return model.__dict__[REPORT]
    found = [m.__dict__[REPORT] for m in model.modules() if REPORT in m.__dict__]
    return Report([cell for one in found for cell in one])


def install(match: Match, backend: str | None, verify: bool, calls: Calls) -> CellReport:
    """Accelerates one cell, or says why not."""
    entry = CellReport(match.path or "the model itself", match.kind, KEPT)
    cell, forward = match.module, type(match.module).forward
    entry.reason = match.problem or hooked([m for m in cell.modules() if m is not cell]) or ""
    if "forward" in cell.__dict__:
        entry.reason = "a forward of its own on the instance"
    if entry.reason:
        return entry
    entry.status, entry.reason = WAITING, "verified at its first call"
    attached = Attached(match, entry, backend, verify)
    patch(cell, attached)
    if match.path in calls:
        args, kwargs = calls[match.path]
        arguments = {**bind(signature_of(forward), args, kwargs), OWN: own(match)}
        if attached.settle(forward, arguments).plan is None:
            unpatch(cell)
    return entry


def observe(model: nn.Module, matches: Sequence[Match], example: Sequence[Any]) -> Calls:
    """The arguments of each cell's first call on a trial, which leaves no trace."""
    parameter = next(model.parameters())
    conv = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    shapes = [(2, conv.in_channels, side, side) for side in SIDES]
    found: Calls = {}
    with no_trace(parameter.device), borrowed(model, False, Copy()), torch.no_grad():
        for inputs in [example] if example else ([torch.randn(s).to(parameter)] for s in shapes):
            calls, finished = attempt(model, matches, inputs)
            found = calls if len(calls) >= len(found) else found
            if finished:
                break
    return found


def attempt(model: nn.Module, matches: Sequence[Match], inputs: Sequence[Any]) -> tuple[Calls, bool]:
    calls: Calls = {}
    handles = [
        m.module.register_forward_pre_hook(
            lambda _, args, kwargs, path=m.path: calls.setdefault(path, (args, kwargs)) and None, with_kwargs=True
        )
        for m in matches
    ]
    try:
        model(*inputs)
        return calls, True
    except Exception:  # a stranger's model: what it cannot take tells nothing more
        return calls, False
    finally:
        for handle in handles:
            handle.remove()
