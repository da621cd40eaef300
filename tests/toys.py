"""Random images, and a network that trains on them in no time."""

from __future__ import annotations

import torch

from sgl_fast.data import Dataset
from sgl_fast.genotype.genotype import Genotype

POOLS = [("avg_pool_3x3", 0), ("avg_pool_3x3", 1)]
# The cheapest genotype: one node, no weights.
CHEAP = Genotype(POOLS, [2], POOLS, [2])
# Options of an evaluation.
TINY = {"channels": 2, "layers": 2, "epochs": 2, "batch_size": 8, "limit": 12, "drop_path": 0.4, "cutout": 8}


def toy_images(classes: int = 3) -> Dataset:
    """Twelve images of each kind, 16 x 16."""
    g = torch.Generator().manual_seed(0)

    def split() -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randint(256, (12, 3, 16, 16), generator=g).byte(), torch.randperm(12, generator=g) % classes

    train, val, test = split(), split(), split()
    return Dataset("toy", None, train, val, test, train[0], (0.5,) * 3, (0.25,) * 3, "random images")
