"""The activation pattern of a pass: which ReLUs were open, which pixel each max-pool chose.

Replayed at nearby weights it makes the loss smooth along the line, so that a central difference converges to the second
derivative that autograd's double backward gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Pattern:
    """Kinks of V virtual learners in order of use; each tensor has the leading axis V.

    A new pattern is recorded by the pass that it is given to; a recorded one is replayed.
    """

    def __init__(self, kinks: Sequence[Tensor] = ()) -> None:
        self.kinks = list(kinks)
        self.recorded = bool(kinks)
        self._next = 0

    def finish(self) -> None:
        """Marks the end of a pass: the next one replays from the start."""
        if self.recorded and self._next != len(self.kinks):
            raise RuntimeError(f"the pass met {self._next} kinks of a pattern of {len(self.kinks)}")
        self.recorded, self._next = True, 0

    def record(self, kink: Tensor) -> None:
        self.kinks.append(kink)

    def replay(self) -> Tensor:
        self._next += 1
        return self.kinks[self._next - 1]

    def split(self) -> list[Pattern]:
        """One pattern a virtual learner, sharing this one's memory."""
        return [Pattern(rows) for rows in zip(*(kink.split(1) for kink in self.kinks), strict=True)]


def join(patterns: Sequence[Pattern]) -> Pattern:
    """The inverse of `split`, for virtual learners in any order and with repeats."""
    return Pattern([torch.cat(rows) for rows in zip(*(p.kinks for p in patterns), strict=True)])
