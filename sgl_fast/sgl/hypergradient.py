"""The hypergradient of eqs (6)-(11) alone, for users' own loops."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.batch import Batch
from ..nets.supernet import Supernet, draw_seeds
from ..relaxations.base import Mixing
from ..spaces.arch import Arch
from .methods import METHODS
from .options import Options
from .passes import Passes, PassOptions
from .step import Update, sgl_step


def hypergradient(
    net: Supernet,
    w: Tensor,
    v: Tensor,
    arch: Arch,
    batch: Batch,
    xi_w: float,
    xi_v: float,
    lam: float = 1.0,
    order: int = 2,
    r: float | None = None,
    method: str = "frozen",
    explicit_pseudo_label_grad: bool = False,
    skip_beta: float = 1.0,
    skip_dropout: float = 0.0,
    generator: torch.Generator | None = None,
    backend: str | None = None,
    chunk: int | None = None,
    mixing: Mixing | None = None,
) -> Arch:
    """h_k of eqs (6)-(11) with the plain inner steps (4), (5), for all K learners: an Arch of gradients.

    net           the supernet of all K learners
    w, v (K, P)   weights and preliminary weights
    arch          with leading axis K
    batch         training, unlabelled and validation images, (N, 3, H, W) or (K, N, 3, H, W) each
    xi_w, xi_v    learning rates of the inner steps (5) and (4); lam weighs the pseudo-labels' loss
    order         1: only the direct term; 2: the implicit terms, too
    r, method     of the second derivatives, as in `Options`; without r, `frozen` repeats what is off
    explicit_pseudo_label_grad   adds what reaches A through the pseudo-labels themselves
    skip_beta, skip_dropout, generator, backend   of `Supernet.__call__`
    chunk         at most so many virtual learners at a time; None for all
    mixing        how architectures become weights of operations, `Relaxation.at` with one seed a learner; None: softmax

    The largest relative error of a learner's implicit terms that was measured of `frozen`, down to four images of
    8 x 8, is 7e-4 in float64 and 1.2e-3 in float32; the medians are below 2e-4. In float32 a ReLU or a max-pool may
    take another side than in float64, too, which no method sees. ValueError where arguments do not fit.

    >>> net = Supernet(space("darts", channels=4, layers=3, nodes=2))
    >>> images, labels = torch.rand(3, 4, 3, 8, 8), torch.randint(10, (2, 4))
    >>> batch = Batch(images[0], labels[0], images[1], images[2], labels[1])
    >>> w, v, arch = net.init_weights(2), net.init_weights(2), net.init_arch(2)
    >>> hypergradient(net, w, v, arch, batch, xi_w=0.025, xi_v=0.025).alphas_normal.shape
    torch.Size([2, 5, 8])
    """
    refine = r is None and method in METHODS and METHODS[method].replays
    options = Options(xi_w, xi_v, lam, order, r, method, explicit_pseudo_label_grad, refine=refine)
    passes = Passes(net, arch, chunk, PassOptions(skip_beta, skip_dropout, backend), mixing)

    def plain(rate: float) -> Update:
        return lambda weights, grad: weights - rate * grad

    noisy = net.noisy or passes.mixing.relaxation.skip_noise
    seeds = draw_seeds(5 * len(w), generator).to(w.device) if skip_dropout or noisy else None
    h = sgl_step(passes, w, v, batch, options, plain(xi_w), plain(xi_v), seeds).hypergradient
    assert h is not None
    return h
