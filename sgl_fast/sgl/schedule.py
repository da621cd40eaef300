"""What the settings say of an epoch of a search. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..spaces import Space
from ..spaces.darts_minus import skip_beta
from ..spaces.p_darts import skip_dropout
from .config import Config


@dataclass(frozen=True)
class Epoch:
    """What changes between equal epochs are numbers, which steps read from the device: they are of one kind.

    phase       "pretrain": V alone; "joint", "released": V, W and A; "teachers", eq (13): V and B; "students", eq (14)
    moving      whether the architecture moves
    drops       whether skips drop anything; v_apart: those of the V_k at another rate than those of the W_k
    skip_beta   of DARTS-'s auxiliary skips
    number      of the epoch in its search, from 0 on
    dropout_w, dropout_v   of P-DARTS's stride-1 skips, and lr_w, lr_v: of the W_k and of the V_k
    """

    phase: str
    moving: bool
    drops: bool
    v_apart: bool
    skip_beta: float = field(compare=False)
    dropout_w: float = field(compare=False)
    dropout_v: float = field(compare=False)
    lr_w: float = field(compare=False)
    lr_v: float = field(compare=False)
    number: int = field(compare=False, default=0)


def epoch_of(config: Config, space: Space, number: int) -> Epoch:
    """Epoch `number` of a search, from 0 on.

    Each of the two searches of "separate" has the epochs of a search of its own. V runs its schedules over all epochs,
    W over those after pre-training, as in the released code; DARTS-'s beta, which that code does not have, is V's.
    """
    c, phase = config, config.schedule
    if phase == "separate":
        phase, number = "teachers" if number < c.epochs else "students", number % c.epochs
    elif number < c.pretrain_epochs:
        phase = "pretrain"
    joint, joint_epochs = max(0, number - c.pretrain_epochs), c.epochs - c.pretrain_epochs
    rate = c.skip_dropout
    dropout_w = skip_dropout(joint, joint_epochs, rate, c.arch_start - c.pretrain_epochs)
    dropout_v = skip_dropout(number, c.epochs, rate, c.arch_start)
    return Epoch(
        phase,
        moving=phase != "pretrain" and number >= c.arch_start,
        drops=rate > 0,
        v_apart=dropout_w != dropout_v,
        skip_beta=skip_beta(number, c.epochs) if space.aux_skip else 1.0,
        dropout_w=dropout_w,
        dropout_v=dropout_v,
        lr_w=c.lr_at(joint, joint_epochs),
        lr_v=c.lr_at(number),
        number=number,
    )
