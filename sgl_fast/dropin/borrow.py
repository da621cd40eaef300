"""A module's tensors and switches exchanged for a while, so that trying it out leaves no trace."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def no_trace(device: torch.device) -> Iterator[None]:
    """The random state is put back; gradients on, inference mode and autocast off.

    One thread: the tensors of a trial are so small that handing them out takes longer than computing them.
    """
    threads = torch.get_num_threads()
    devices = [device] if device.type == "cuda" else []
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, threads)
        torch.set_num_threads(1)
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        yield


@contextmanager
def borrowed(module: nn.Module, training: bool, make: Copy) -> Iterator[dict[str, Tensor]]:
    """Copies stand in for all parameters and buffers; no dropout, no hooks. Yields the copies by name."""
    places = [
        (table, key, tensor, f"{name}.{key}" if name else key)
        for name, m in module.named_modules()
        for table in (m._parameters, m._buffers)
        for key, tensor in table.items()
        if tensor is not None
    ]
    flags = [(m, m.training) for m in module.modules()]
    drops = [(m, m.p) for m in module.modules() if isinstance(m, nn.Dropout)]
    hooks = [(m, name, getattr(m, name)) for m in module.modules() for name in HOOKS if getattr(m, name)]
    copies: dict[int, Tensor] = {}
    given: dict[str, Tensor] = {}
    try:
        for table, key, tensor, name in places:
            if id(tensor) not in copies:
                given[name] = copies[id(tensor)] = make(name, tensor)
            table[key] = copies[id(tensor)]
        for m, _ in flags:
            m.training = training
        for m, _ in drops:
            m.p = 0.0
        for m, name, table in hooks:
            m.__dict__[name] = type(table)()
        yield given
    finally:
        for table, key, tensor, _ in places:
            table[key] = tensor
        for m, flag in flags:
            m.training = flag
        for m, p in drops:
            m.p = p
        for m, name, table in hooks:
            m.__dict__[name] = table


class Copy:
    """Makes the stand-ins: of the same numbers, or of random ones in the range of a fresh network.

    dtype       of floating-point tensors; None to keep it
    generator   of the random numbers, drawn in float32
    """

    def __init__(self, dtype: torch.dtype | None = None, generator: torch.Generator | None = None) -> None:
        self.dtype, self.generator = dtype, generator

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        copy = tensor.detach().clone()
        if not copy.is_floating_point():
            return copy
        if self.generator is not None:
            draw = torch.randn(copy.shape, generator=self.generator, dtype=torch.float32)
            fan_in = math.prod(copy.shape[1:]) or 1
            copy = (draw.abs() + 0.5 if name.endswith("running_var") else draw * fan_in**-0.5).to(copy.device)
        copy = copy.to(self.dtype or tensor.dtype)
        return nn.Parameter(copy) if isinstance(tensor, nn.Parameter) else copy
