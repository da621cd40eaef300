"""The ways to take the hypergradient's second derivatives, one row each. No torch: `difference.DERIVATIVES` has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """What a way needs and may have.

    radius         r of eq (8), eps = r / ||v||, of passes in float32; None without finite differences
    replays        its passes replay the activation patterns of the base passes, which have to record them; then they
                   may have less than float32, and be repeated at a better radius
    reference_only it differentiates twice, which the reference backend alone can do
    """

    radius: float | None
    replays: bool = False
    reference_only: bool = False


METHODS = {
    "finite_difference": Method(radius=0.01),
    "frozen": Method(radius=0.001, replays=True),
    "exact": Method(radius=None, reference_only=True),
}
ROUNDED_RADIUS = 0.1  # r where the perturbed passes are rounded to less than float32


def radius_of(method: str, precision: str) -> float:
    """r where it is not given; 1 of a method without finite differences."""
    return ROUNDED_RADIUS if precision != "float32" else METHODS[method].radius or 1.0
