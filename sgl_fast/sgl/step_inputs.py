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


@dataclass
class StepInputs:
    """Numbers of the epoch (), as of `Epoch`, and seeds (5K) of dropout and noise, other ones for each part of a batch.

    skip_beta, dropout_w, dropout_v, seeds   None where the space or the search has no such
    """

    lr_w: Tensor
    lr_v: Tensor
    skip_beta: Tensor | None
    dropout_w: Tensor | None
    dropout_v: Tensor | None
    seeds: Tensor | None

    @classmethod
    def of(cls, epoch: Epoch, like: Tensor, aux_skip: bool, seeded: bool, seed: int, step: int) -> StepInputs:
        """For weights `like` (K, P). seeded: whether anything is drawn, which `seed` and the step decide."""

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
        )
