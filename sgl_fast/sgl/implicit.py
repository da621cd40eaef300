"""The three stages of one SGL step and the hypergradient of eqs (6)-(11), by the cheapest exact schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from ..backends.choice import asked_for
from ..data.batch import Batch
from ..nets.supernet import Supernet, draw_seeds
from ..ops.pseudo_label import pseudo_labels, teacher_cotangent
from ..reference.layers import RunningStats
from ..spaces.arch import Arch
from .difference import Derivative, derivative
from .options import Options
from .passes import Gradients, Held, Passes, Rows, one_hot

Update = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Step:
    """What the stages leave: new weights, the hypergradient if stage 3 ran, losses and accuracies by name, (K) each.

    implicit_error   the implicit terms' relative error, estimated, (K); None where nothing is known
    """

    v: Tensor
    w: Tensor
    hypergradient: Arch | None
    losses: dict[str, Tensor]
    accuracies: dict[str, Tensor]
    implicit_error: Tensor | None = None


@dataclass
class Base:
    """Stages 1 and 2 as the implicit terms need them: the rows with the patterns of their base passes.

    rows_train are the V_k, where stage 1 has them, then the W_k; p (K, N, J) the teachers' softmax.
    """

    on_train: Gradients
    rows_train: Rows
    rows_unlabeled: Rows | None = None
    teachers: Held | None = None
    p: Tensor | None = None


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
) -> Arch:
    """h_k of eqs (6)-(11) with the plain inner steps (4), (5), for all K learners: an Arch of gradients.

    w, v (K, P); arch with leading axis K; see `Options` and `Supernet.__call__` for the rest.

    Without r, `frozen` repeats what is off (`Options.refine`). The largest relative error of a learner's implicit terms
    that was measured, down to four images of 8 x 8, is 7e-4 in float64 and 1.2e-3 in float32; the medians are below
    2e-4. In float32 a ReLU or a max-pool may take another side than in float64, too, which no method sees.
    """
    refine = r is None and method == "frozen"
    options = Options(xi_w, xi_v, lam, order, r, method, explicit_pseudo_label_grad, refine=refine)
    model = {"skip_beta": skip_beta, "skip_dropout": skip_dropout, "backend": backend}
    passes = Passes(net, arch, chunk, **model)

    def plain(step: float) -> Update:
        return lambda weights, grad: weights - step * grad

    seeds = draw_seeds(5 * len(w), generator).to(w.device) if skip_dropout else None
    h = sgl_step(passes, w, v, batch, options, plain(xi_w), plain(xi_v), seeds).hypergradient
    assert h is not None
    return h


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

    seeds       of dropout, (5K) int64: V and W in stage 1, pseudo-labels, stage 2, stage 3; None: no dropout
    running     statistics of the W_k, updated by the training images
    stage_three False: the hypergradient is left out
    teachers    passes of the V_k where those of the W_k are not right for them: with the architectures of frozen
                teachers (options.teacher "frozen"), or with dropout of their own (order 1, or no stage 3)
    """
    batch.check(passes.num_classes)
    if options.method == "exact" and options.order == 2 and asked_for(passes.backend) not in (None, "reference"):
        raise ValueError(f"method 'exact' needs backend 'reference'; got {asked_for(passes.backend)!r}")
    K, w, v = len(w), w.detach(), v.detach()
    coupled = K > 1 and options.lam != 0
    if not (coupled or options.human_labels):
        raise ValueError(
            "need two learners and lam above 0 where human labels are left out: nothing else is learnt from"
        )
    if not stage_three:
        options = replace(options, order=1)  # nothing is kept for the implicit terms
    with_v = coupled and options.teacher == "preliminary"
    if with_v and teachers is not None and options.order == 2:
        raise ValueError("need order 1 where the V_k have passes of their own: implicit terms replay those of the W_k")
    base, losses = _stage_one(passes, w, v, batch, options, with_v, seeds, running, teachers)
    grad_w = base.on_train.weights[-K:] if options.human_labels else torch.zeros_like(w)
    v_new = v
    if coupled:
        if options.teacher == "preliminary":
            v_new = update_v(v, base.on_train.weights[:K])
        label = Rows(range(K), w if options.teacher == "self" else v_new, batch.x_unlabeled, seeds=_seeds(seeds, 2, K))
        differentiated = options.order == 2 and options.teacher != "frozen"
        base.teachers = (passes if teachers is None else teachers).hold(label, differentiated)
        on_unlabeled = _stage_two(passes, w, batch, options, base, seeds)
        losses["pseudo"] = on_unlabeled.loss
        grad_w = grad_w + on_unlabeled.weights
    w_new = update_w(w, grad_w)
    accuracies = {"train": _accuracy(base.on_train, base.rows_train)[-K:]}
    if not stage_three:
        return Step(v_new, w_new, None, losses, accuracies)
    targets = one_hot(batch.y_val, passes.num_classes, K, w.dtype)
    rows = Rows(range(K), w_new, batch.x_val, targets, seeds=_seeds(seeds, 4, K))
    direct = passes.gradients(rows, weights=options.order == 2, arch=True)
    losses["val"], accuracies["val"] = direct.loss, _accuracy(direct, rows)
    if options.order == 1:
        return Step(v_new, w_new, direct.arch, losses, accuracies)
    implicit, error = _implicit_terms(passes, base, direct.weights, options, K)
    return Step(v_new, w_new, _add(direct.arch, implicit), losses, accuracies, error)


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
    """V and W on the training images, eq (4) and the first term of eq (5); V only where there are pseudo-labels."""
    K, J = len(w), passes.num_classes
    both = [v, w] if with_v else [w]
    images = batch.x_train if batch.x_train.dim() == 4 else batch.x_train.repeat(len(both), 1, 1, 1, 1)
    targets = one_hot(batch.y_train, J, K, w.dtype).repeat(len(both), 1, 1)
    row_seeds = None if seeds is None else seeds[: len(both) * K]
    rows = Rows([*range(K)] * len(both), torch.cat(both), images, targets, seeds=row_seeds)
    record = options.order == 2 and options.method == "frozen"
    if with_v and teachers is not None:
        of_v = teachers.gradients(rows.take(range(K)), weights=True)
        got = _beside(of_v, passes.gradients(rows.take(range(K, 2 * K)), weights=True, running=running))
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
    passes: Passes, w: Tensor, batch: Batch, options: Options, base: Base, seeds: Tensor | None
) -> Gradients:
    """The second term of eq (5), against the teachers' pseudo-labels."""
    K = len(w)
    assert base.teachers is not None
    base.p, targets = pseudo_labels(base.teachers.logits, passes.backend)
    rows = Rows(range(K), w, batch.x_unlabeled, targets, options.lam, seeds=_seeds(seeds, 3, K))
    record = options.order == 2 and options.method == "frozen"
    got = passes.gradients(rows, weights=True, arch=record, record=record)
    base.rows_unlabeled = _with_patterns(rows, got)
    return got


def _implicit_terms(passes: Passes, base: Base, g: Tensor, options: Options, K: int) -> tuple[Arch, Tensor | None]:
    """-xi_w * own + xi_w xi_v lam * cross (eqs 7-11), and the explicit term if it is wanted; their relative error."""
    V, a = len(base.rows_train.learners), options.xi_w
    terms: list[tuple[float | Tensor, Arch, Tensor | None]] = []

    def add(factor: float | Tensor, found: Derivative, more: Tensor | float = 0.0) -> Derivative:
        terms.append((factor, found.arch, None if found.error is None else found.error + more))
        return found

    if options.human_labels or base.rows_unlabeled is None:
        add(-a, derivative(passes, base.rows_train.take(range(V - K, V)), g, options))
    if base.rows_unlabeled is None or base.teachers is None or base.p is None:
        return _total(terms)
    pseudo = add(-a, derivative(passes, base.rows_unlabeled, g, options))
    explicit = options.explicit_pseudo_label_grad
    if options.teacher == "frozen" or (options.teacher == "self" and not explicit):
        return _total(terms)
    u, direct = passes.pull(base.teachers, teacher_cotangent(base.p, pseudo.log_probs, passes.backend))
    others = None if pseudo.error is None else pseudo.error.amax().expand(K)  # of their log-probabilities
    if options.teacher == "preliminary":
        cross = derivative(passes, base.rows_train.take(range(K)), u, options)
        add(options.xi_w * options.xi_v * options.lam, cross, 0.0 if others is None else others)
    if explicit:
        terms.append((-a * options.lam, direct, others))
    return _total(terms)


def _total(terms: list[tuple[float | Tensor, Arch, Tensor | None]]) -> tuple[Arch, Tensor | None]:
    """The sum of factor * arch, and its relative error by theirs, if all are known; at most 1."""
    parts = [_times(factor, arch) for factor, arch, _ in terms]
    total = reduce(_add, parts)
    errors = [error for *_, error in terms if error is not None]
    if len(errors) < len(terms):
        return total, None
    size = torch.linalg.vector_norm(total.flat(), dim=1)
    off = sum(error * torch.linalg.vector_norm(p.flat(), dim=1) for error, p in zip(errors, parts, strict=True))
    return total, (off / torch.where(size > 0, size, torch.inf)).clamp(max=1)


def _accuracy(got: Gradients, rows: Rows) -> Tensor:
    """Share of the images whose label is the most probable class, (V)."""
    assert rows.targets is not None
    return (got.log_probs.argmax(-1) == rows.targets.argmax(-1)).to(got.loss.dtype).mean(-1)


def _beside(a: Gradients, b: Gradients) -> Gradients:
    """Of two passes for weights alone, the virtual learners of one after those of the other."""
    loss, log_probs, weights = (
        torch.cat([getattr(part, name) for part in (a, b)]) for name in ("loss", "log_probs", "weights")
    )
    return Gradients(loss, log_probs, weights, b.arch)


def _with_patterns(rows: Rows, got: Gradients) -> Rows:
    """The rows, to be replayed as they ran, if their pass was recorded."""
    if not got.patterns:
        return rows
    return replace(rows, patterns=got.patterns, log_probs=got.log_probs, slopes=got.arch.flat())


def _seeds(seeds: Tensor | None, group: int, K: int) -> Tensor | None:
    return None if seeds is None else seeds[group * K : (group + 1) * K]


def _times(factor: float | Tensor, arch: Arch) -> Arch:
    return arch.map(lambda t: factor * t)


def _add(a: Arch, b: Arch) -> Arch:
    rest = iter(b.tensors())
    return a.map(lambda t: t + next(rest))
