"""The adversary of a relaxation that has one: it perturbs weights of operations before the network's weights learn."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..data.batch import Batch
from ..relaxations.base import Mixing, Moment, Relaxation
from ..spaces.arch import Arch
from .passes import Passes
from .virtual_learners import VirtualLearners, one_hot


class Given(Relaxation):
    """The alphas are weights of operations as they are."""

    def weights(self, alphas: Tensor, moment: Moment, draws: object) -> Tensor:
        return alphas


def attacked(passes: Passes, weights: Tensor, batch: Batch, seeds: Tensor | None) -> None:
    """Gives `passes` what the adversary finds, once a step: all passes of the step that learn see the same.

    weights (K, P), by whose losses on the training images it looks; seeds of `sgl_step`, of which it has those of W.
    """
    relaxation = passes.mixing.relaxation
    if not relaxation.adversarial:
        return
    K = len(weights)
    targets = one_hot(batch.y_train, passes.num_classes, K, weights.dtype)
    rows = VirtualLearners(range(K), weights, batch.x_train, targets, seeds=None if seeds is None else seeds[K : 2 * K])

    def gradient(at: Arch) -> Arch:
        inner = Passes(passes.nets, at, passes.chunk, passes.options, Mixing(Given()))
        found = inner.gradients(rows, arch=True).arch
        passes.forwards += inner.forwards
        passes.backwards += inner.backwards
        return found

    mixing = passes.mixing
    ops, _ = Mixing()(passes.nets[0].space, passes.arch)
    start = replace(passes.arch, **{f"alphas_{kind}": t for kind, t in ops.items()})
    attack = relaxation.attack(start, mixing.moment, mixing.draws(start), gradient)
    passes.mixing = replace(mixing, attack=attack)
