"""What a candidate operation is, read off its leaves: their types, sizes and order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from torch import nn

from .leaves import describe, leaves_of, letter

PATTERNS = {
    "dpndpn": "sep_conv",
    "dpn": "dil_conv",
    "mn": "max_pool_3x3",
    "m": "max_pool_3x3",
    "an": "avg_pool_3x3",
    "a": "avg_pool_3x3",
    **dict.fromkeys(("ppn", "ppbn", "bppn"), "factorized_reduce"),
    "z": "none",
    **dict.fromkeys(("", "i", "io", "o"), "skip_connect"),
}
MOST_LEAVES = 12


@dataclass
class Candidate:
    """One operation.

    op         its primitive's name, None where nothing fits
    stride     None where nothing tells (none)
    channels   None where nothing tells (none, identity)
    problem    why it cannot be computed here, None if it can
    """

    op: str | None
    letters: str
    convs: list[nn.Conv2d]
    norms: list[nn.BatchNorm2d]
    dropout: nn.Dropout | None = None
    stride: int | None = None
    channels: int | None = None
    problem: str | None = None

    def feeds(self) -> list[list[nn.Conv2d]]:
        """Of each batch norm, the convolutions between it and the one before."""
        convs = iter(self.convs)
        return [[next(convs) for letter in part if letter in "dp"] for part in self.letters.split("n")[:-1]]


def read(module: nn.Module) -> Candidate:
    """The candidate that a module is."""
    leaves = list(islice(leaves_of(module), MOST_LEAVES + 1))
    if len(leaves) > MOST_LEAVES:
        return Candidate(None, "", [], [], problem="more layers than a candidate operation has")
    letters = "".join(map(letter, leaves))
    convs = [m for m in leaves if isinstance(m, nn.Conv2d)]
    norms = [m for m in leaves if isinstance(m, nn.BatchNorm2d)]
    plain = letters.replace("u", "")
    candidate = Candidate(PATTERNS.get(plain if set(plain) & set("dma") else letters), letters, convs, norms)
    listed = any(isinstance(m, (nn.ModuleList, nn.ModuleDict)) for m in module.modules())
    if candidate.op is None or (listed and candidate.op != "factorized_reduce"):
        candidate.op, candidate.problem = None, f"{describe(leaves)} is none of the candidate operations"
        return candidate
    pools = [m for m in leaves if isinstance(m, (nn.MaxPool2d, nn.AvgPool2d))]
    candidate.dropout = next((m for m in leaves if isinstance(m, nn.Dropout)), None)
    candidate.channels = norms[0].num_features if norms else None
    READERS[candidate.op](candidate, pools)
    problems = [*map(conv_problem, convs), *map(norm_problem, norms)]
    if plain != letters:
        problems.insert(0, f"{describe(leaves)} has more than the layers of {candidate.op}")
    candidate.problem = next(filter(None, problems), candidate.problem)
    return candidate


def same(value: int | tuple[int, ...]) -> int:
    """The side of a square size; -1 where it is not square."""
    if isinstance(value, int):
        return value
    return value[0] if len(set(value)) == 1 else -1


def read_conv(candidate: Candidate, _: object) -> None:
    first, *rest = [c for c in candidate.convs if c.kernel_size != (1, 1)]
    side, dilation = same(first.kernel_size), same(first.dilation)
    candidate.stride = same(first.stride)
    kind = "sep" if rest else "dil"
    candidate.op = f"{kind}_conv_{side}x{side}"
    if side not in (3, 5):
        candidate.problem = f"kernel {tuple(first.kernel_size)} of {candidate.op}; need 3 or 5"
    if dilation != (1 if rest else 2):
        candidate.problem = f"dilation {tuple(first.dilation)} of {candidate.op}; need {1 if rest else 2}"
    for conv in rest:
        if (conv.kernel_size, conv.dilation, same(conv.stride)) != (first.kernel_size, first.dilation, 1):
            candidate.problem = f"the two depthwise convolutions of {candidate.op} differ"
    strides = [same(c.stride) for c in candidate.convs if c.kernel_size == (1, 1)]
    if any(stride != 1 for stride in strides):
        candidate.problem = f"stride {max(strides)} of a 1x1 convolution of {candidate.op}; need 1"


def read_pool(candidate: Candidate, pools: list[nn.MaxPool2d | nn.AvgPool2d]) -> None:
    (pool,) = pools
    candidate.stride = same(pool.stride)
    sizes = same(pool.kernel_size), same(pool.padding)
    if sizes != (3, 1):
        candidate.problem = f"pool of kernel {sizes[0]} and padding {sizes[1]}; need 3 and 1"
    if isinstance(pool, nn.AvgPool2d) and (pool.count_include_pad or pool.divisor_override):
        candidate.problem = "average pool that counts its padding; need count_include_pad=False"
    if pool.ceil_mode or (isinstance(pool, nn.MaxPool2d) and (same(pool.dilation) != 1 or pool.return_indices)):
        candidate.problem = "pool with ceil_mode, dilation or return_indices"


def read_reduce(candidate: Candidate, _: object) -> None:
    candidate.op, candidate.stride = "skip_connect", 2
    even, odd = candidate.convs
    if (same(even.stride), same(odd.stride)) != (2, 2) or even.weight.shape != odd.weight.shape:
        candidate.problem = "two 1x1 convolutions that are no factorised reduction; need stride 2 and equal sizes"


def read_skip(candidate: Candidate, _: object) -> None:
    candidate.stride = 1


READERS: dict[str, Callable[..., None]] = {
    "sep_conv": read_conv,
    "dil_conv": read_conv,
    "max_pool_3x3": read_pool,
    "avg_pool_3x3": read_pool,
    "factorized_reduce": read_reduce,
    "skip_connect": read_skip,
    "none": lambda candidate, _: None,
}


def conv_problem(conv: nn.Conv2d) -> str | None:
    if conv.bias is not conv._parameters.get("bias"):
        return "a bias that is no parameter"
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return f"padding {conv.padding!r}, mode {conv.padding_mode}; need a number and zeros"
    wanted = same(conv.dilation) * (same(conv.kernel_size) // 2)
    return None if same(conv.padding) == wanted else f"padding {tuple(conv.padding)} of a convolution; need {wanted}"


def norm_problem(norm: nn.BatchNorm2d) -> str | None:
    if norm.affine:
        return "affine batch norm; need affine=False"
    if norm.eps != 1e-5:
        return f"batch norm with eps {norm.eps}; need 1e-5"
    if norm.track_running_stats and norm.momentum != 0.1:
        return f"batch norm with momentum {norm.momentum}; need 0.1"
    return None
