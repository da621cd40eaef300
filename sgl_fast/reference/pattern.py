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

    kinks   of a pattern that was recorded; without them the pattern is recorded by the pass that it is given to. A
            recorded one is replayed: ReLUs and max-pools choose as they did then, whatever the weights are now.

    >>> net = Supernet(space("darts", channels=4, layers=3, nodes=2))
    >>> weights, arch, images = net.init_weights(1), net.init_arch(1), torch.rand(4, 3, 8, 8)
    >>> pattern = Pattern()
    >>> first = net(weights, arch, images, pattern=pattern)
    >>> bool((net(weights, arch, images, pattern=pattern) - first).abs().max() < 1e-5)
    True
    """

    def __init__(self, kinks: Sequence[Tensor] = ()) -> None:
        self.kinks = list(kinks)
        self.recorded = bool(kinks)
        self._next = 0

    def start(self) -> None:
        """Marks the start of a pass, so that one that failed midway leaves nothing behind."""
        self._next = 0
        if not self.recorded:
            self.kinks.clear()

    def finish(self) -> None:
        """Marks the end of a pass: the next one replays. ValueError if it left kinks over."""
        if self.recorded and self._next != len(self.kinks):
            raise ValueError(f"need a pattern of this network; got {len(self.kinks)} kinks where it has {self._next}")
        self.recorded = True

    def record(self, kink: Tensor) -> None:
        """Appends a kink: bits of a ReLU, or places in the windows of a max-pool."""
        self.kinks.append(kink)

    def replay(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The next kink, of that shape and dtype. ValueError if it is of another one, or if there is none."""
        if self._next == len(self.kinks):
            raise ValueError(f"need a pattern of this network; got {self._next} kinks where it has more")
        kink = self.kinks[self._next]
        if kink.shape != torch.Size(shape) or kink.dtype != dtype:
            need, got = (f"{tuple(s)} {d}" for s, d in ((shape, dtype), (kink.shape, kink.dtype)))
            raise ValueError(f"need a pattern of this network and batch: kink {self._next} {need}; got {got}")
        self._next += 1
        return kink

    def split(self) -> list[Pattern]:
        """One pattern a virtual learner, sharing this one's memory."""
        return [Pattern(rows) for rows in zip(*(kink.split(1) for kink in self.kinks), strict=True)]


def join(patterns: Sequence[Pattern]) -> Pattern:
    """The inverse of `split`, for virtual learners in any order and with repeats."""
    return Pattern([torch.cat(rows) for rows in zip(*(p.kinks for p in patterns), strict=True)])
