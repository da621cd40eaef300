"""How sharp the validation loss is in the architectures: the largest eigenvalue of its Hessian there, by Lanczos.

Second derivatives as everywhere here, central differences of gradients whose passes replay the activation pattern of
the pass in their middle, but along a direction in A.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .passes import Passes
from .virtual_learners import VirtualLearners

STEPS = 20  # of Lanczos
RADIUS = 1e-2  # of the differences, of a direction of length 1


def hessian_eigenvalue(passes: Passes, rows: VirtualLearners, steps: int = STEPS, r: float = RADIUS) -> Tensor:
    """(K), of each learner's loss on its row, one for each of the K learners.

    From a start that is always the same; all directions that were found are kept orthogonal, so that with as many steps
    as there are architecture parameters it is the largest eigenvalue itself.
    """
    got = passes.gradients(rows, arch=True, record=True)
    rows = replace(rows, patterns=got.patterns)
    flat = passes.arch.flat()
    K, A = flat.shape
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(A, generator=draw, dtype=torch.float64).to(flat).expand(K, A)
    q = q / torch.linalg.vector_norm(q, dim=1, keepdim=True)
    steps = min(steps, A)
    basis, T = [q], flat.new_zeros(K, steps, steps, dtype=torch.float64)
    for j in range(steps):
        image = along(passes, rows, q, r)
        rayleigh = (image * q).sum(1)
        for known in basis * 2:  # twice is enough
            image = image - (image * known).sum(1, keepdim=True) * known
        length = torch.linalg.vector_norm(image, dim=1)
        T[:, j, j] = torch.where(q.abs().amax(1) > 0, rayleigh.double(), T[:, 0, 0]) if j else rayleigh.double()
        if j + 1 < steps:
            alive = length > 1e-6 * T.abs().amax((1, 2))
            T[:, j, j + 1] = T[:, j + 1, j] = torch.where(alive, length, 0).double()
            q = torch.where(alive[:, None], image / torch.where(alive, length, 1)[:, None], 0)
            basis.append(q)
    largest: Tensor = torch.linalg.eigvalsh(T)[:, -1]
    return largest.to(flat.dtype)


def along(passes: Passes, rows: VirtualLearners, direction: Tensor, r: float) -> Tensor:
    """The Hessian of the losses in A, times a direction (K, A) in A."""
    sides = []
    for sign in (1, -1):
        arch = passes.arch.from_flat(passes.arch.flat() + sign * r * direction)
        inner = Passes(passes.nets, arch, passes.chunk, passes.options, passes.mixing)
        sides.append(inner.gradients(rows, arch=True).arch.flat())
    return (sides[0] - sides[1]) / (2 * r)
