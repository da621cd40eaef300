"""accelerate, restore, report: on a model that somebody already has."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from ..backends.choice import asked_for
from .attached import Attached
from .borrow import apart, borrowed
from .matching import Match, cells_of
from .patched import KEY, patch, unpatch
from .report import KEPT, WAITING, CellReport, Report
from .trial import arguments_of
from .watch import hooked

REPORT = "_sgl_fast_report"
SIDES = (32, 64, 224)
Calls = dict[str, tuple[tuple[Any, ...], dict[str, Any]]]
Model = TypeVar("Model", bound=nn.Module)


def accelerate(
    model: Model,
    backend: str | None = None,
    verify: bool = True,
    example: Sequence[Any] = (),
    *,
    method: str = "forward",
    like: nn.Module | None = None,
    strict: bool = False,
) -> Model:
    """The same model, its cells computed by the fused operations. `report(model)` says which and why not.

    model     an eager supernet of the DARTS family: cells of two inputs over 2, 5, 9 or 14 mixed ops, P-DARTS's op
              subsets and PC-DARTS's partial channels too; told by its torch.nn modules, not by names
    backend   None for the one that `use_backend` and SGL_FAST_BACKEND choose at each call
    verify    compare every cell with the original on small random numbers, outputs, gradients and running statistics;
              one that differs is kept as it was
    example   arguments of a call of the model; without, images of 32, 64 and 224 pixels are tried, and a cell that
              they do not reach is verified at its first call
    method    by which the model calls its cells
    like      an accelerated model of the same class: what was proven of its cells holds for equal ones of this one
    strict    ValueError, and the model as it was, where a cell is not accelerated

    Only the cells' method changes: parameters, buffers, state_dict, optimisers, copies and pickles stay. What a cell
    reads (attributes, globals, closures, settings of its layers) is compared at every call, and a change is verified;
    what no comparison can see is asked for after a switch of train() and eval() and at a pace. A call that the fused
    cell cannot take is answered by the original: hooks inside a cell, autocast, a dtype or device that the backend
    lacks, transforms of torch.func, modes, torch.compile. A UserWarning says that no cell is accelerated, or that one
    changed unseen. TypeError unless model is an nn.Module; RuntimeError for a backend that cannot run.

    >>> model = accelerate(model)
    >>> model(torch.rand(4, 3, 8, 8)).shape
    torch.Size([4, 10])
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"need an nn.Module; got {type(model).__name__}")
    asked_for(backend)
    restore(model)
    matches = cells_of(model, method=method)
    entries = [CellReport(m.path or "the model itself", m.kind, KEPT, unfit(m, method) or "") for m in matches]
    pairs = zip(matches, entries, strict=True)
    fit = [Attached(match, entry, backend, verify) for match, entry in pairs if not entry.reason]
    proven = {} if like is None else {path: vars(m)[KEY] for path, m in like.named_modules() if KEY in vars(m)}
    for one in fit:
        if one.match.path in proven:
            take_over(one, proven[one.match.path])
    calls = {} if all(one.outcomes for one in fit) else observe(model, matches, example, method)
    for one in fit:
        install(one, method, calls)
    found = model.__dict__[REPORT] = Report(entries)
    if strict and found.accelerated < max(len(found), 1):
        restore(model)
        raise ValueError(f"need every cell accelerated; got\n{found}")
    if all(cell.status == KEPT for cell in found):
        warnings.warn(f"nothing is accelerated\n{found}", stacklevel=2)
    return model


def restore(model: Model) -> Model:
    """The same model, computed as it was before `accelerate`.

    >>> restore(accelerate(model)) is model
    True
    """
    for module in model.modules():
        unpatch(module)
        module.__dict__.pop(REPORT, None)
    return model


def report(model: nn.Module) -> Report:
    """What became of each cell of an accelerated model; prints as a table.

    >>> [cell.status for cell in report(accelerate(model)).cells]
    ['accelerated', 'accelerated', 'accelerated']
    """
    if REPORT in model.__dict__:
        out: Report = model.__dict__[REPORT]
        return out
    found = [m.__dict__[REPORT] for m in model.modules() if REPORT in m.__dict__]
    return Report([cell for one in found for cell in one])


def unfit(match: Match, method: str) -> str | None:
    """Why a cell is kept, from its structure alone."""
    cell = match.module
    if method in cell.__dict__:
        return f"a {method} of its own on the instance"
    if not callable(getattr(type(cell), method, None)):
        return f"it has no method {method}"
    return match.problem or hooked([m for m in cell.modules() if m is not cell])


def install(attached: Attached, method: str, calls: Calls) -> None:
    """Accelerates a cell, unless its trial shows why not; waits for its first call where none is known."""
    match, entry = attached.match, attached.report
    forward = getattr(type(match.module), method)
    patch(match.module, attached, method)
    if attached.outcomes:
        return
    entry.status, entry.reason = WAITING, "verified at its first call"
    if match.path in calls:
        outcome = attached.settle(forward, arguments_of(match, forward, *calls[match.path]))
        if outcome.proof is None:
            unpatch(match.module)


def take_over(attached: Attached, other: Attached) -> None:
    """What was proven of an equal cell; nothing where this one is not equal."""
    settings = attached.watch.settings()
    for outcome in other.outcomes:
        if (proof := outcome.proof) is None or outcome.settings != settings:
            continue
        try:
            match = replace(attached.match, edges=[attached.match.edges[i] for i in proof.plan.match.order])
            plan = replace(proof.plan, match=match)
        except (ValueError, IndexError):
            continue
        if plan.cell == proof.plan.cell and match.widths == proof.plan.match.widths:
            attached.keep(replace(outcome, proof=replace(proof, plan=plan)))


def observe(model: nn.Module, matches: Sequence[Match], example: Sequence[Any], method: str) -> Calls:
    """The arguments of each cell's first call on a trial, which leaves no trace."""
    parameter = next(model.parameters())
    if parameter.is_meta:
        return {}
    conv = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    shapes = [(2, conv.in_channels, side, side) for side in SIDES]
    calls: list[Calls] = []

    def recorded(path: str, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        calls[-1].setdefault(path, (args, kwargs))
        return original(*args, **kwargs)

    def run() -> Calls:
        with borrowed(model, False), torch.no_grad():
            for m in matches:
                if method not in vars(m.module) and hasattr(m.module, method):
                    vars(m.module)[method] = partial(recorded, m.path, getattr(m.module, method))
            for inputs in [example] if example else ([torch.randn(s).to(parameter)] for s in shapes):
                calls.append({})
                try:
                    model(*inputs)
                    return calls[-1]
                except Exception:  # a stranger's model: what it cannot take tells nothing more
                    continue
        return max(reversed(calls), key=len)

    return apart(run, parameter.device)
