"""The second derivatives by central differences, and how far off those of `frozen` are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops.flat_update import central_difference, perturb
from ..spaces.arch import Arch, select_rows
from . import exact, ranks
from .options import Options
from .passes import Passes
from .virtual_learners import VirtualLearners

AIM = 5e-4  # of a relative error; above it a pass is repeated, if asked for
CURVED, ROUNDED = 4.0, 5.0  # errors over the plain forms of `estimates`: of 95 % of those measured, and the median
ROUNDOFF = {"float32": 2.0**-24, "tf32": 2.0**-11, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass
class Derivative:
    """d/de at weights + e * direction, e = 0, of V virtual learners: an Arch, and log-probabilities (V, N, J).

    curved, rounded   (V) estimates of the larger of their relative errors, by curvature and by rounding; None where
                      nothing is known
    """

    arch: Arch
    log_probs: Tensor
    curved: Tensor | None = None
    rounded: Tensor | None = None

    @property
    def error(self) -> Tensor | None:
        """The larger of the relative errors, at most 1, about; (V)."""
        return None if self.curved is None or self.rounded is None else (self.curved + self.rounded).clamp(max=1)


def derivative(passes: Passes, rows: VirtualLearners, direction: Tensor, options: Options) -> Derivative:
    """Of grad_A loss and of the log-probabilities along the direction (V, P); 0 where the direction is 0."""
    return DERIVATIVES[options.method](passes, rows, direction, options)


def by_difference(passes: Passes, rows: VirtualLearners, direction: Tensor, options: Options) -> Derivative:
    """Eq (8); rows with patterns replay them."""
    found = difference(passes, rows, direction, options, options.radius)
    return refined(found, passes, rows, direction, options) if options.refine else found


def by_autograd(passes: Passes, rows: VirtualLearners, direction: Tensor, options: Options) -> Derivative:
    """Double backward, by the reference."""
    return Derivative(*exact.derivative(passes, rows, direction))


DERIVATIVES = {"finite_difference": by_difference, "frozen": by_difference, "exact": by_autograd}


def difference(passes: Passes, rows: VirtualLearners, direction: Tensor, options: Options, r: float) -> Derivative:
    """Of two passes, at weights + and - eps * direction, eps = r / its norm."""
    both, eps = perturb(rows.weights, direction, r, passes.backend)
    doubled = VirtualLearners(
        [*rows.learners] * 2,
        both,
        rows.images if rows.images.dim() == 4 else rows.images.repeat(2, 1, 1, 1, 1),
        None if rows.targets is None else rows.targets.repeat(2, 1, 1),
        rows.weight,
        None if rows.patterns is None else [*rows.patterns] * 2,
        None if rows.seeds is None else rows.seeds.repeat(2),
    )
    got = passes.gradients(doubled, arch=True, precision=options.precision)
    arch = got.arch.map(lambda t: central_difference(t, eps, passes.backend))
    tau = central_difference(got.log_probs, eps, passes.backend)
    if rows.arch_grad is None or rows.log_probs is None or passes.options.precision != options.precision:
        return Derivative(arch, tau)
    roundoff = ROUNDOFF[options.precision] if got.loss.dtype == torch.float32 else torch.finfo(got.loss.dtype).eps / 2
    known = estimates(got.arch.flat(), rows.arch_grad, roundoff)
    also = estimates(got.log_probs.flatten(1), rows.log_probs.flatten(1), roundoff, ranks.norms_over_parts)
    return Derivative(arch, tau, *(torch.maximum(*pair) for pair in zip(known, also, strict=True)))


def estimates(
    ends: Tensor, middle: Tensor, roundoff: float, of_all: Callable[[Tensor], Tensor] = lambda norms: norms
) -> tuple[Tensor, Tensor]:
    """Of the relative error of (plus - minus) / 2 eps, by curvature and by rounding, at most 1 each; (V), (V).

    ends (2V, A): plus, minus; middle (V, A), between them; of_all: norms of them whole, from those of what this process
    has. Curvature bends plus and minus to one side of the middle, by
    a share of their distance that is of order eps; what it does to the quotient is of the square's order.
    """
    plus, minus = ends.chunk(2)
    rows = torch.stack([plus - minus, plus + minus - 2 * middle, middle])
    span, bent, size = of_all(torch.linalg.vector_norm(rows, dim=2))
    apart = torch.where(span > 0, span, torch.inf)
    return (CURVED * (bent / apart) ** 2).clamp(max=1), (ROUNDED * roundoff * 2 * size / apart).clamp(max=1)


def refined(
    found: Derivative, passes: Passes, rows: VirtualLearners, direction: Tensor, options: Options
) -> Derivative:
    """What is off by more than AIM, again at the radius at which both errors together are least."""
    assert found.curved is not None and found.rounded is not None
    parts = [found.log_probs, found.curved, found.rounded, *found.arch.tensors()]
    columns = [list(t.split(1)) for t in parts]
    for k, (curved, rounded) in enumerate(zip(found.curved.tolist(), found.rounded.tolist(), strict=True)):
        if curved + rounded > AIM:
            better = (rounded / (2 * curved)) ** (1 / 3) if curved else 10.0
            r = options.radius * min(max(better, 0.01), 10.0)
            one = difference(passes, rows.select([k]), select_rows(direction, [k]), options, r)
            assert one.curved is not None and one.rounded is not None
            for column, t in zip(columns, [one.log_probs, one.curved, one.rounded, *one.arch.tensors()], strict=True):
                column[k] = t
    tau, curves, roundings, *arch = (torch.cat(column) for column in columns)
    return Derivative(found.arch.unflatten(arch), tau, curves, roundings)
