"""The leaves of a module's tree, one letter each, never told by class or attribute names.

d depthwise, p pointwise, n batch norm, m max pool, a average pool, i identity, o dropout, z zeros,
b a border of zeros at the lower right, u anything else without tensors, ? with
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

LETTERS = {nn.BatchNorm2d: "n", nn.MaxPool2d: "m", nn.AvgPool2d: "a", nn.Identity: "i", nn.Dropout: "o"}


def leaves_of(module: nn.Module) -> Iterator[nn.Module]:
    """Modules without children, or with tensors of their own, in the order of the tree; activations are left out."""
    children = list(module.children())
    owns = any(t is not None for t in (*module._parameters.values(), *module._buffers.values()))
    if owns or (not children and not isinstance(module, nn.Sequential)):
        if type(module) is not nn.ReLU:
            yield module
        return
    for child in children:
        yield from leaves_of(child)


def letter(leaf: nn.Module) -> str:
    kind = type(leaf)
    if isinstance(leaf, nn.Conv2d) and kind is nn.Conv2d:
        if leaf.kernel_size == (1, 1):
            return "p" if leaf.groups == 1 else "?"
        return "d" if leaf.groups == leaf.in_channels == leaf.out_channels else "?"
    if kind in LETTERS:
        return LETTERS[kind]
    if isinstance(leaf, nn.ConstantPad2d) and kind in (nn.ConstantPad2d, nn.ZeroPad2d):
        return "b" if (leaf.padding, leaf.value) == ((0, 1, 0, 1), 0) else "u"
    if has_tensors(leaf):
        return "?"
    return "u" if kind.__module__.startswith("torch.") else behaviour(leaf)


@torch.no_grad()
def behaviour(leaf: nn.Module) -> str:
    """A leaf that is no layer of torch.nn is told by what it does to numbers."""
    x = torch.linspace(-1, 1, 128, device="cpu").view(2, 4, 4, 4)
    try:
        out = leaf(x.clone())
    except Exception:  # whatever a stranger's forward raises on a plain image batch, it is no candidate
        return "u"
    if not isinstance(out, torch.Tensor) or out.dim() != 4:
        return "u"
    return "i" if out.shape == x.shape and torch.equal(out, x) else "u" if out.any() else "z"


def has_tensors(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())


def describe(leaves: list[nn.Module]) -> str:
    """Type names of the leaves, for a message."""
    return " + ".join(type(m).__name__ for m in leaves) or "an empty module"
