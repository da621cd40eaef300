"""What a hypergradient is made of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .config import check_choice
from .methods import METHODS, radius_of


@dataclass(frozen=True)
class Options:
    """What a hypergradient is made of.

    order     1: only the direct term grad_A L(W', A, val); 2: the implicit terms too
    method    of the second derivatives: "finite_difference" (eq 8), "frozen" (the same with the activation pattern of
              the base pass replayed), "exact" (double backward)
    r         the finite difference's radius, eps = r / ||v||; None: 0.01 of "finite_difference", 0.001 of "frozen", 0.1
              of less than float32 (`methods.radius_of`)
    refine    of "frozen": a pass whose error is estimated to be above 5e-4 is run again at a better radius, one learner
              at a time; the host waits for the estimate
    human_labels  False drops L(W, A, tr) from stage 2, eq (15)
    teacher       whose pseudo-labels: "preliminary" the V'_j of stage 1; "self" the W_j, no stage 1, eq (12); "frozen"
                  weights and architectures that stay as they are, eq (14)
    precision     of the perturbed passes; less than float32 is for "frozen"
    """

    xi_w: float | Tensor
    xi_v: float | Tensor
    lam: float = 1.0
    order: int = 2
    r: float | None = None
    method: str = "frozen"
    explicit_pseudo_label_grad: bool = False
    human_labels: bool = True
    teacher: str = "preliminary"
    precision: str = "float32"
    refine: bool = False

    def __post_init__(self) -> None:
        for name in ("method", "order", "teacher"):
            check_choice(name, getattr(self, name))
        if self.r is not None and not self.r > 0:
            raise ValueError(f"need a radius r above 0; got {self.r!r}")
        if self.refine and not METHODS[self.method].replays:
            raise ValueError(f"need method 'frozen' for refine; got {self.method!r}")
        if self.precision != "float32" and not METHODS[self.method].replays:
            raise ValueError(f"need precision 'float32' for method {self.method!r}; got {self.precision!r}")

    @property
    def radius(self) -> float:
        return radius_of(self.method, self.precision) if self.r is None else self.r
