"""NoisyDARTS (Chu et al., 2020): Gaussian noise on skips, so that they have no head start."""

from __future__ import annotations

from .base import Relaxation


class NoisyDarts(Relaxation):
    """In training a skip's output y becomes y + 0.2 std(y) n, n standard normal (its eqs 5-8).

    The standard deviation is that of all of y; it is differentiated, which the authors' code does not do. Cells with
    such noise are computed by the reference on every backend.
    """

    skip_noise = 0.2
