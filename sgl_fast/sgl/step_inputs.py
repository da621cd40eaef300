"""What a step is given besides its batch, on the device, where a replayed graph reads it anew."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.seeds import seed_of
from ..data.upload import upload
from ..nets.supernet import draw_seeds
from . import ranks
from .schedule import Epoch


def mix_seeds(K: int, seed: int, step: int, apart: int = 1) -> Tensor:
    """Seeds (K) of what a relaxation draws in a step; apart: another number for other draws of that step."""
    return draw_seeds(K, torch.Generator().manual_seed(seed_of(seed, step, apart)))


@dataclass
class StepInputs:
    """Numbers of the epoch (), as of `Epoch`, and seeds (5K) of dropout and noise, other ones for each part of a batch.

    skip_beta, dropout_w, dropout_v, seeds   None where the space or the search has no such
    epoch, mix_seeds   number of the epoch, float64, and seeds (K) of the relaxation, the same for all parts of a batch;
                  None where it is the softmax
    """

    lr_w: Tensor
    lr_v: Tensor
    skip_beta: Tensor | None
    dropout_w: Tensor | None
    dropout_v: Tensor | None
    seeds: Tensor | None
    epoch: Tensor | None = None
    mix_seeds: Tensor | None = None

    @classmethod
    def of(
        cls, epoch: Epoch, like: Tensor, aux_skip: bool, seeded: bool, mixes: bool, seed: int, step: int
    ) -> StepInputs:
        """For weights `like` (K, P). seeded: whether anything is drawn, which `seed` and the step decide.

        mixes   whether the relaxation is another than the softmax
        """

        def number(value: float, dtype: torch.dtype = like.dtype) -> Tensor:
            # each in memory of its own: kernels may depend on where that starts, and a graph's copies start alike
            return upload(torch.tensor(value, dtype=dtype), like.device)

        draw = torch.Generator().manual_seed(seed_of(seed, step))
        return cls(
            number(epoch.lr_w),
            number(epoch.lr_v),
            number(epoch.skip_beta) if aux_skip else None,
            number(epoch.dropout_w, torch.float64) if epoch.drops else None,
            number(epoch.dropout_v, torch.float64) if epoch.drops else None,
            upload(draw_seeds(5 * len(like), draw) + ranks.grid().part, like.device) if seeded else None,
            number(epoch.number, torch.float64) if mixes else None,
            upload(mix_seeds(len(like), seed, step), like.device) if mixes else None,
        )
