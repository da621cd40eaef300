"""Passes of all learners, by the numbers of an epoch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..nets.supernet import Supernet
from ..relaxations.base import Relaxation
from ..spaces.arch import Arch
from .config import Config
from .passes import Passes, PassOptions
from .schedule import Epoch
from .step_inputs import StepInputs


def passes_of(
    nets: Sequence[Supernet],
    arch: Arch,
    whose: str,
    epoch: Epoch | StepInputs,
    config: Config,
    relaxation: Relaxation,
    mix_seeds: Tensor | None = None,
) -> Passes:
    """Of learners with these nets and architectures.

    whose       "w": of the W_k; "v": of the V_k, whose skips may drop more
    epoch       whose numbers: of dropout, of auxiliary skips and of the relaxation
    mix_seeds   (K), of what the relaxation draws in an Epoch; StepInputs have their own
    """
    dropout, beta = {"w": epoch.dropout_w, "v": epoch.dropout_v}[whose], epoch.skip_beta
    numbers = 1.0 if beta is None else beta, 0.0 if dropout is None else dropout
    number: float | Tensor | None
    if isinstance(epoch, StepInputs):
        number, mix_seeds = epoch.epoch, epoch.mix_seeds
    else:
        number = epoch.number
    mixing = relaxation.at(0.0 if number is None else number, config.epochs, mix_seeds)
    return Passes(nets, arch, config.chunk, PassOptions(*numbers, precision=config.precision), mixing)
