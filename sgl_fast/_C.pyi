"""The compiled extension. Shapes and dtypes: where sgl_fast.ops defines the operator of that name.

RuntimeError for tensors of other sizes, dtypes or devices.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

Rows = Sequence[Sequence[int]]

class Program:
    """The rows of sgl_fast.ops.plan.Program, checked."""
    def __init__(
        self,
        head: Sequence[int],
        convs: Rows,
        pools: Rows,
        uses: Rows,
        edges: Rows,
        out_edges: Rows,
        terms: Rows,
        states: Rows,
        /,
    ) -> None: ...

def augment(images: Tensor, draws: Tensor, levels: Tensor, crop: int, cutout: int, /) -> Tensor: ...
def convolution(x: Tensor, weight: Tensor, stride: int, groups: int, /) -> Tensor: ...
def convolution_input(grad: Tensor, weight: Tensor, stride: int, groups: int, x_sizes: Sequence[int], /) -> Tensor: ...
def convolution_weight(grad: Tensor, x: Tensor, stride: int, groups: int, weight_sizes: Sequence[int], /) -> Tensor: ...
def row_norms(rows: Tensor, /) -> Tensor: ...
def sgd(
    weights: Tensor,
    grad: Tensor,
    buffer: Tensor,
    lr: Tensor,
    momentum: float,
    weight_decay: float,
    clip: float,
    /,
) -> tuple[Tensor, Tensor, Tensor]: ...
def perturb(weights: Tensor, direction: Tensor, r: float, /) -> tuple[Tensor, Tensor]: ...
def central_difference(both: Tensor, eps: Tensor, /) -> Tensor: ...
def cross_entropy(logits: Tensor, targets: Tensor, weight: float, /) -> tuple[Tensor, Tensor, Tensor]: ...
def pseudo_labels(teachers: Tensor, /) -> tuple[Tensor, Tensor]: ...
def pseudo_label_vjp(p: Tensor, tau: Tensor, /) -> Tensor: ...
def dropout_masks(seeds: Tensor, masks: int, first: int, sizes: Sequence[int], threshold: Tensor, /) -> Tensor: ...
def mixed_cell(
    program: Program,
    s0: Tensor,
    s1: Tensor,
    weights: Tensor,
    op_weights: Tensor,
    edge_weights: Tensor | None,
    running: Tensor | None,
    pattern: Tensor | None,
    dropout: Tensor | None,
    skip_beta: Tensor | None,
    dropout_scale: Tensor | None,
    half: bool,
    /,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Output, states, activations before their norms, statistics, pattern."""

def mixed_cell_backward(
    program: Program,
    s0: Tensor,
    s1: Tensor,
    weights: Tensor,
    op_weights: Tensor,
    edge_weights: Tensor | None,
    dropout: Tensor | None,
    out: Tensor,
    states: Tensor,
    activations: Tensor,
    stats: Tensor,
    pattern: Tensor,
    grad: Tensor,
    skip_beta: Tensor | None,
    dropout_scale: Tensor | None,
    training: bool,
    want_s0: bool,
    want_s1: bool,
    want_weights: bool,
    /,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of s0, s1, weights, op_weights, edge_weights; empty where not wanted."""

def isa() -> str:
    """The instruction set of the CPU kernels: plain, avx2 or avx512."""

class Cuda(Protocol):
    """The functions above that are not convolutions, on CUDA tensors, and what loads their kernels."""
    def why_no_driver(self) -> str:
        """Empty where there is a driver."""
    def load(self, device: int, modules: Sequence[bytes], /) -> None:
        """Cubins or PTX that have every kernel."""
    def loaded(self, device: int, /) -> bool: ...

cuda: Cuda
