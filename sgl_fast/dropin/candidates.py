"""What a candidate operation is, read off the leaves of its tree: their types, sizes and order, never their names.

d depthwise, p pointwise, n batch norm, m max pool, a average pool, i identity, o dropout, z zeros,
b a border of zeros at the lower right, u anything else without tensors, ? with
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import nn

LETTERS = {nn.BatchNorm2d: "n", nn.MaxPool2d: "m", nn.AvgPool2d: "a", nn.Identity: "i", nn.Dropout: "o"}
MOST_LEAVES = 12


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


def describe(leaves: Iterable[nn.Module]) -> str:
    """Type names of the leaves, for a message."""
    return " + ".join(type(m).__name__ for m in leaves) or "an empty module"


@dataclass
class Candidate:
    """One operation.

    op         its primitive's name, None where nothing fits
    stride     None where nothing tells (none)
    problem    why it cannot be computed here, None if it can
    """

    leaves: list[nn.Module]
    op: str | None = None
    stride: Any = None
    problem: str | None = None

    def __post_init__(self) -> None:
        self.letters = "".join(map(letter, self.leaves))
        self.convs = [m for m in self.leaves if isinstance(m, nn.Conv2d)]
        self.norms = [m for m in self.leaves if isinstance(m, nn.BatchNorm2d)]
        self.dropout = next((m for m in self.leaves if isinstance(m, nn.Dropout)), None)

    @property
    def channels(self) -> int | None:
        """None where nothing tells (none, identity)."""
        return self.norms[0].num_features if self.norms else None

    @property
    def computes(self) -> bool:
        """Whether it is no skip."""
        return bool(set(self.letters) & set("dma"))

    def feeds(self) -> list[list[nn.Conv2d]]:
        """Of each batch norm, the convolutions between it and the one before."""
        convs = iter(self.convs)
        return [[next(convs) for letter in part if letter in "dp"] for part in self.letters.split("n")[:-1]]

    def layer_problem(self) -> str | None:
        """The first setting of a convolution or batch norm that the fused cell does not know."""
        return next(filter(None, [*map(conv_problem, self.convs), *map(norm_problem, self.norms)]), None)


def side_of(size: Any) -> Any:
    """The side of a square size; anything else as it is."""
    return size[0] if isinstance(size, tuple) and len(set(size)) == 1 else size


def unlike(layer: nn.Module, **need: Any) -> str | None:
    """The first setting that is another one than needed, of those that the layer has."""
    for name, wanted in need.items():
        if side_of(got := getattr(layer, name, wanted)) != side_of(wanted):
            return f"{name} {got} of a {type(layer).__name__}; need {wanted}"
    return None


def conv_problem(conv: nn.Conv2d) -> str | None:
    if conv.bias is not conv._parameters.get("bias"):
        return "a bias that is no parameter"
    padding = tuple(d * (k // 2) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    return unlike(conv, padding_mode="zeros", padding=padding)


def norm_problem(norm: nn.BatchNorm2d) -> str | None:
    if norm.affine:
        return "affine batch norm; need affine=False"
    return unlike(norm, eps=1e-5, **({"momentum": 0.1} if norm.track_running_stats else {}))


Read = tuple[str, Any, str | None]  # the operation, its stride, and what does not fit


def read_conv(one: Candidate) -> Read:
    first, *rest = [c for c in one.convs if c.kernel_size != (1, 1)]
    side, dilation = side_of(first.kernel_size), 1 if rest else 2
    op = f"{'sep' if rest else 'dil'}_conv_{side}x{side}"
    problems = [
        None if side in (3, 5) else f"kernel {first.kernel_size} of {op}; need 3 or 5",
        unlike(first, dilation=dilation),
        *(unlike(conv, kernel_size=side, dilation=dilation) for conv in rest),
        *(unlike(conv, stride=1) for conv in one.convs if conv is not first),
    ]
    return op, side_of(first.stride), next(filter(None, problems), None)


def read_pool(one: Candidate) -> Read:
    (pool,) = [m for m in one.leaves if isinstance(m, (nn.MaxPool2d, nn.AvgPool2d))]
    sizes = unlike(pool, kernel_size=3, padding=1, dilation=1, ceil_mode=False, return_indices=False)
    problem = sizes or unlike(pool, count_include_pad=False, divisor_override=None)
    return "max_pool_3x3" if isinstance(pool, nn.MaxPool2d) else "avg_pool_3x3", side_of(pool.stride), problem


def read_reduce(one: Candidate) -> Read:
    even, odd = one.convs
    problem = None if even.weight.shape == odd.weight.shape else "two 1x1 convolutions of a reduction differ in size"
    return "skip_connect", 2, problem or unlike(even, stride=2) or unlike(odd, stride=2)


READERS: dict[str, Callable[[Candidate], Read]] = {
    **dict.fromkeys(("dpndpn", "dpn"), read_conv),
    **dict.fromkeys(("mn", "m", "an", "a"), read_pool),
    **dict.fromkeys(("ppn", "ppbn", "bppn"), read_reduce),
    **dict.fromkeys(("", "i", "io", "o"), lambda _: ("skip_connect", 1, None)),
    "z": lambda _: ("none", None, None),
}


def read(module: nn.Module) -> Candidate:
    """The candidate that a module is."""
    leaves = list(islice(leaves_of(module), MOST_LEAVES + 1))
    if len(leaves) > MOST_LEAVES:
        return Candidate([], problem="more layers than a candidate operation has")
    one = Candidate(leaves)
    plain = one.letters.replace("u", "")
    reader = READERS.get(plain if one.computes else one.letters)
    listed = any(isinstance(m, (nn.ModuleList, nn.ModuleDict)) for m in module.modules())
    if reader is None or (listed and reader is not read_reduce):
        one.problem = f"{describe(leaves)} is none of the candidate operations"
        return one
    one.op, one.stride, problem = reader(one)
    more = f"{describe(leaves)} has more than the layers of {one.op}" if plain != one.letters else None
    one.problem = more or one.layer_problem() or problem
    return one
