"""One step of Algorithm 1: its three stages for all K learners at once, by the cheapest exact schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..backends.choice import asked_for
from ..data.batch import Batch
from ..ops.pseudo_label import pseudo_labels
from ..reference.layers import RunningStats
from ..spaces.arch import Arch
from .adversary import attacked
from .implicit_terms import Base, implicit_terms
from .methods import METHODS
from .options import Options
from .passes import Gradients, Passes
from .virtual_learners import VirtualLearners, one_hot

Update = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Step:
    """What the stages leave: V', W', the hypergradient if stage 3 ran, losses and accuracies by name, (K) each.

    implicit         the second-order part of the hypergradient, None at first order
    implicit_error   the implicit terms' relative error, estimated, (K); None where nothing is known
    """

    v: Tensor
    w: Tensor
    hypergradient: Arch | None
    losses: dict[str, Tensor]
    accuracies: dict[str, Tensor]
    implicit: Arch | None = None
    implicit_error: Tensor | None = None


def sgl_step(
    passes: Passes,
    w: Tensor,
    v: Tensor,
    batch: Batch,
    options: Options,
    update_w: Update,
    update_v: Update,
    seeds: Tensor | None = None,
    running: RunningStats | None = None,
    stage_three: bool = True,
    teachers: Passes | None = None,
) -> Step:
    """Stages 1 and 2 with the given updates, and the hypergradient at what they give (Algorithm 1, one step).

    Whatever the updates are, the implicit terms differentiate the plain steps of eqs (4), (5), as DARTS does: momentum,
    weight decay and the factor by which a gradient was clipped are left out of them.

    w, v (K, P)
    seeds       of dropout and noise, (5K) int64: V and W in stage 1, pseudo-labels, stage 2, stage 3; None: no such
    passes      where its relaxation has an adversary, that attacks first, by the training loss of the W_k
    running     statistics of the W_k, updated by the training images
    stage_three False: the hypergradient is left out
    teachers    passes of the V_k where those of the W_k are not right for them: with the architectures of frozen
                teachers (options.teacher "frozen"), or with dropout of their own (order 1, or no stage 3)
    ValueError where batch, options and backend do not fit.
    """
    batch.check(passes.num_classes)
    K, w, v = len(w), w.detach(), v.detach()
    pseudo_labelled = K > 1 and options.lam != 0
    with_v = pseudo_labelled and options.teacher == "preliminary"
    _check(passes, options, pseudo_labelled, with_v and stage_three and teachers is not None)
    if not stage_three:
        options = replace(options, order=1)  # nothing is kept for the implicit terms
    attacked(passes, w, batch, seeds)
    if teachers is not None and options.teacher != "frozen":
        teachers.mixing = passes.mixing
    # Stage 1: V' = V - xi_v grad L(V, A, tr), eq (4). The pass has the first term of eq (5) beside it, of W.
    base, losses = _stage_one(passes, w, v, batch, options, with_v, seeds, running, teachers)
    v_new = update_v(v, base.on_train.weights[:K]) if with_v else v
    # Stage 2: W' = W - xi_w grad (L(W, A, tr) + lam sum over j != k of L(W, A, pseudo-labels of V'_j)), eq (5).
    grad_w = base.on_train.weights[-K:] if options.human_labels else torch.zeros_like(w)
    if pseudo_labelled:
        of_labels = w if options.teacher == "self" else v_new
        on_unlabeled = _stage_two(passes, w, of_labels, batch, options, base, seeds, teachers)
        losses["pseudo"] = on_unlabeled.loss
        grad_w = grad_w + on_unlabeled.weights
    w_new = update_w(w, grad_w)
    accuracies = {"train": _accuracy(base.on_train, base.rows_train)[-K:]}
    if not stage_three:
        return Step(v_new, w_new, None, losses, accuracies)
    # Stage 3: the gradient of L(W', A, val) in A, eq (6); its part through W' and V' by eqs (7)-(11).
    direct, accuracies["val"] = _stage_three(passes, w_new, batch, options, seeds)
    h, added = passes.regularised(direct.arch)
    losses |= {"val": direct.loss, **added}
    if options.order == 1:
        return Step(v_new, w_new, h, losses, accuracies)
    implicit, error = implicit_terms(passes, base, direct.weights, options, K)
    return Step(v_new, w_new, h.plus(implicit), losses, accuracies, implicit, error)


def _check(passes: Passes, options: Options, pseudo_labelled: bool, v_apart: bool) -> None:
    asked = asked_for(passes.backend)
    if METHODS[options.method].reference_only and options.order == 2 and asked not in (None, "reference"):
        raise ValueError(f"method {options.method!r} needs backend 'reference'; got {asked!r}")
    if not (pseudo_labelled or options.human_labels):
        raise ValueError(
            "need two learners and lam above 0 where human labels are left out: nothing else is learnt from"
        )
    if v_apart and options.order == 2:
        raise ValueError("need order 1 where the V_k have passes of their own: implicit terms replay those of the W_k")


def _stage_one(
    passes: Passes,
    w: Tensor,
    v: Tensor,
    batch: Batch,
    options: Options,
    with_v: bool,
    seeds: Tensor | None,
    running: RunningStats | None,
    teachers: Passes | None,
) -> tuple[Base, dict[str, Tensor]]:
    """V and W on the training images, one pass of 2K virtual learners; V only where there are pseudo-labels."""
    K, J = len(w), passes.num_classes
    both = [v, w] if with_v else [w]
    images = batch.x_train if batch.x_train.dim() == 4 else batch.x_train.repeat(len(both), 1, 1, 1, 1)
    targets = one_hot(batch.y_train, J, K, w.dtype).repeat(len(both), 1, 1)
    row_seeds = None if seeds is None else seeds[: len(both) * K]
    rows = VirtualLearners([*range(K)] * len(both), torch.cat(both), images, targets, seeds=row_seeds)
    record = options.order == 2 and METHODS[options.method].replays
    if with_v and teachers is not None:
        of_v = teachers.gradients(rows.select(range(K)), weights=True)
        got = _concatenated(of_v, passes.gradients(rows.select(range(K, 2 * K)), weights=True, running=running))
    elif running is None:
        got = passes.gradients(rows, weights=True, arch=record, record=record)
    else:  # of the W_k; those of the V_k are never read
        stats = RunningStats(running.mean.repeat(len(both), 1), running.var.repeat(len(both), 1))
        got = passes.gradients(rows, weights=True, arch=record, record=record, running=stats)
        running.mean.copy_(stats.mean[-K:])
        running.var.copy_(stats.var[-K:])
    losses = {"train": got.loss[-K:]} | ({"train_v": got.loss[:K]} if with_v else {})
    return Base(got, _with_patterns(rows, got)), losses


def _stage_two(
    passes: Passes,
    w: Tensor,
    of_labels: Tensor,
    batch: Batch,
    options: Options,
    base: Base,
    seeds: Tensor | None,
    teachers: Passes | None,
) -> Gradients:
    """The second term of eq (5), against the pseudo-labels of teachers with the weights `of_labels` (K, P)."""
    K, learns = len(w), options.teacher != "frozen"
    label = VirtualLearners(range(K), of_labels, batch.x_unlabeled, seeds=_seeds(seeds, 2, K), learns=learns)
    base.teachers = (passes if teachers is None else teachers).linearize(label, options.order == 2 and learns)
    base.p, targets = pseudo_labels(base.teachers.logits, passes.backend)
    rows = VirtualLearners(range(K), w, batch.x_unlabeled, targets, options.lam, seeds=_seeds(seeds, 3, K))
    record = options.order == 2 and METHODS[options.method].replays
    got = passes.gradients(rows, weights=True, arch=record, record=record)
    base.rows_unlabeled = _with_patterns(rows, got)
    return got


def _stage_three(
    passes: Passes, w: Tensor, batch: Batch, options: Options, seeds: Tensor | None
) -> tuple[Gradients, Tensor]:
    """Eq (6) at W' alone, in W', too, where the implicit terms ask for it; and the accuracies."""
    K = len(w)
    targets = one_hot(batch.y_val, passes.num_classes, K, w.dtype)
    rows = VirtualLearners(range(K), w, batch.x_val, targets, seeds=_seeds(seeds, 4, K), learns=False)
    got = passes.gradients(rows, weights=options.order == 2, arch=True)
    return got, _accuracy(got, rows)


def _accuracy(got: Gradients, rows: VirtualLearners) -> Tensor:
    """Share of the images whose label is the most probable class, (V)."""
    assert rows.targets is not None
    return (got.log_probs.argmax(-1) == rows.targets.argmax(-1)).to(got.loss.dtype).mean(-1)


def _concatenated(a: Gradients, b: Gradients) -> Gradients:
    """Of two passes for weights alone, the virtual learners of one after those of the other."""
    loss, log_probs, weights = (
        torch.cat([getattr(part, name) for part in (a, b)]) for name in ("loss", "log_probs", "weights")
    )
    return Gradients(loss, log_probs, weights, b.arch)


def _with_patterns(rows: VirtualLearners, got: Gradients) -> VirtualLearners:
    """The rows, to be replayed as they ran, if their pass was recorded."""
    if not got.patterns:
        return rows
    return replace(rows, patterns=got.patterns, log_probs=got.log_probs, arch_grad=got.arch.flat())


def _seeds(seeds: Tensor | None, group: int, K: int) -> Tensor | None:
    return None if seeds is None else seeds[group * K : (group + 1) * K]
