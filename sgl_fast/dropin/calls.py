"""Why the original must answer a call: of what the caller has entered, and of the call's own tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as torch_module
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from .arguments import Reading, get
from .borrow import GLOBAL_HOOKS
from .plan import Plan

_PLAIN_TENSORS = (Tensor, nn.Parameter)


def surroundings() -> str | None:
    """What stands around the call that has to see the model's own operations."""
    if torch._C._functorch.maybe_current_level() is not None:
        return "inside a transform of torch.func"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    if modes := _get_current_dispatch_mode_stack():
        return f"inside {type(modes[-1]).__name__}"
    others = [mode for mode in _get_current_function_mode_stack() if not isinstance(mode, DeviceContext)]
    if others:
        return f"inside {type(others[-1]).__name__}"
    if any(getattr(torch_module, name) for name in GLOBAL_HOOKS):
        return "hooks on all modules (torch.nn.modules.module)"
    return None


def unplain(values: Iterable[Any]) -> str | None:
    """A tensor that holds no numbers of its own: a subclass of torch's, or one on the meta device."""
    for t in values:
        if isinstance(t, Tensor) and (type(t) not in _PLAIN_TENSORS or t.is_meta):
            return "tensors without values (meta)" if t.is_meta else f"a {type(t).__name__} among its tensors"
    return None


def misfit(plan: Plan, reading: Reading, arguments: Mapping[str, Any], training: set[bool]) -> str | None:
    """Why no fused cell can take a call that is understood.

    training   of the modules whose code asks for it, or for norms and dropout alone where none does
    """
    s0, s1 = (get(arguments, path) for path in reading.states)
    if not all(isinstance(s, Tensor) and s.dim() == 4 for s in (s0, s1)):
        return "states that are no (N, C, H, W)"
    if torch.is_autocast_enabled(s1.device.type):
        return "autocast"
    parameters = plan.parameters()
    if odd := unplain(parameters):
        return odd
    tensors = [s0, s1, *parameters]
    kinds: list[set[Any]] = [{t.device for t in tensors}, {t.dtype for t in tensors}]
    if max(map(len, kinds)) > 1:
        return f"states and weights of several devices or dtypes: {', '.join(sorted(map(str, kinds[0] | kinds[1])))}"
    if len({norm.training for norm in plan.norms}) > 1:
        return "some of its batch norms train, others do not"
    if len({(n.track_running_stats, n._buffers["running_mean"] is None) for n in plan.norms}) > 1:
        return "batch norms with and without running statistics"
    if training - {norm.training for norm in plan.norms}:
        return "modules that ask whether they train, beside batch norms in the other mode"
    fixed = plan.tracked and not plan.norms[0].training  # statistics, so that biases count
    if fixed and plan.biased and torch.is_grad_enabled() and any(p.requires_grad for p in parameters):
        return "gradients in evaluation mode through convolutions with a bias"
    rates = {skip.p if skip is not None and skip.training else 0.0 for skip in plan.skips}
    if len(rates) > 1 or 1.0 in rates:
        return f"dropout of its skips: {sorted(rates)}"
    if plan.norms and plan.norms[0].training and s1[:, 0].numel() <= (4 if plan.cell.kind == "reduce" else 1):
        return "one value a channel"
    factor = 2 if plan.cell.shrink0 else 1
    even = plan.cell.kind == "normal" or not (s1.shape[2] % 2 or s1.shape[3] % 2)
    fit = bool(plan.preprocess) or s0.shape[2:] == torch.Size(factor * n for n in s1.shape[2:])
    return None if even and fit else f"sizes {tuple(s0.shape[2:])} and {tuple(s1.shape[2:])} of its states"
