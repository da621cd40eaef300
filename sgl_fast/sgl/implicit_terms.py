"""The implicit terms of the hypergradient, eqs (7)-(11): second derivatives at what stages 1 and 2 left."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from ..ops.pseudo_label import pseudo_label_vjp
from ..spaces.arch import Arch
from .difference import Derivative, derivative
from .options import Options
from .passes import Gradients, Linearized, Passes
from .virtual_learners import VirtualLearners


@dataclass
class Base:
    """What stages 1 and 2 leave for the implicit terms: their rows, with the patterns of their passes.

    rows_train   the V_k, where stage 1 has them, then the W_k; on_train what their pass gave
    teachers     the pass of the pseudo-labels p (K, N, J); rows_unlabeled the W_k on them. None without pseudo-labels
    """

    on_train: Gradients
    rows_train: VirtualLearners
    rows_unlabeled: VirtualLearners | None = None
    teachers: Linearized | None = None
    p: Tensor | None = None


@dataclass
class Term:
    """factor * arch; error (K) estimates its relative error, None where nothing is known."""

    factor: float | Tensor
    arch: Arch
    error: Tensor | None


def implicit_terms(passes: Passes, base: Base, g: Tensor, options: Options, K: int) -> tuple[Arch, Tensor | None]:
    """-xi_w * own + xi_w * xi_v * lam * cross, eqs (7)-(11), and their relative error (K).

    g (K, P)   gradient of the validation loss in W'
    own        of L(W, tr) + lam L(W, unlabeled), along g
    cross      of L(V, tr), along u, what the pseudo-labels pass on to V' (eq 10)
    explicit   -xi_w * lam * the same through the teachers' own architectures, if options ask for it
    """
    V = len(base.rows_train)
    terms: list[Term] = []

    def add(factor: float | Tensor, found: Derivative, more: Tensor | float = 0.0) -> Derivative:
        terms.append(Term(factor, found.arch, None if found.error is None else found.error + more))
        return found

    if options.human_labels or base.rows_unlabeled is None:
        add(-options.xi_w, derivative(passes, base.rows_train.select(range(V - K, V)), g, options))
    if base.rows_unlabeled is None or base.teachers is None or base.p is None:
        return total(terms)
    pseudo = add(-options.xi_w, derivative(passes, base.rows_unlabeled, g, options))
    explicit = options.explicit_pseudo_label_grad
    if options.teacher == "frozen" or (options.teacher == "self" and not explicit):
        return total(terms)
    u, direct = passes.vjp(base.teachers, pseudo_label_vjp(base.p, pseudo.log_probs, passes.backend))
    others = None if pseudo.error is None else pseudo.error.amax().expand(K)  # of their log-probabilities
    if options.teacher == "preliminary":
        cross = derivative(passes, base.rows_train.select(range(K)), u, options)
        add(options.xi_w * options.xi_v * options.lam, cross, 0.0 if others is None else others)
    if explicit:
        terms.append(Term(-options.xi_w * options.lam, direct, others))
    return total(terms)


def total(terms: list[Term]) -> tuple[Arch, Tensor | None]:
    """The sum of factor * arch, and its relative error by theirs, if all are known; at most 1."""
    parts = [term.arch.scaled(term.factor) for term in terms]
    sum_ = reduce(Arch.plus, parts)
    errors = [term.error for term in terms if term.error is not None]
    if len(errors) < len(terms):
        return sum_, None
    size = torch.linalg.vector_norm(sum_.flat(), dim=1)
    off = sum(error * torch.linalg.vector_norm(p.flat(), dim=1) for error, p in zip(errors, parts, strict=True))
    return sum_, (off / torch.where(size > 0, size, torch.inf)).clamp(max=1)
