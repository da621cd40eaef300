"""The hypergradient against autograd through eqs (4)-(5), written out naively, in float64 on small nets."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import sgl_fast
from sgl_fast.data.batch import Batch
from sgl_fast.nets.supernet import Supernet
from sgl_fast.sgl import difference, exact, implicit_terms, step
from sgl_fast.sgl import hypergradient as hypergradients
from sgl_fast.sgl.arch_adam import ArchAdam
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.difference import derivative
from sgl_fast.sgl.hypergradient import hypergradient
from sgl_fast.sgl.options import Options
from sgl_fast.sgl.passes import Passes
from sgl_fast.sgl.search import Search
from sgl_fast.sgl.step import sgl_step
from sgl_fast.sgl.virtual_learners import VirtualLearners
from sgl_fast.spaces.arch import Arch

XI_W, XI_V, LAM = 0.1, 0.07, 0.8
SPACES = ("darts", "darts_minus", "pc_darts")


class Problem:
    """A small net, weights, architectures and a batch, drawn from a seed."""

    def __init__(self, name: str, K: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> None:
        C = 8 if name.startswith("pc") else 4
        self.net = Supernet(sgl_fast.space(name, channels=C, layers=3, nodes=2, num_classes=5))
        draw = torch.Generator().manual_seed(seed + K)
        self.w, self.v = (self.net.init_weights(K, draw, torch.float64).to(dtype) for _ in range(2))
        self.arch = self.net.init_arch(K, draw, torch.float64).map(lambda t: (300 * t).to(dtype))

        def images(N: int) -> Tensor:
            return torch.randn(N, 3, 8, 8, generator=draw, dtype=torch.float64).to(dtype)

        def labels(N: int) -> Tensor:
            return torch.randint(5, (N,), generator=draw)

        self.batch = Batch(images(12), labels(12), images(10), images(8), labels(8))

    def hypergradient(self, **options: object) -> Arch:
        settings = {"xi_w": XI_W, "xi_v": XI_V, "lam": LAM, **options}
        return hypergradient(self.net, self.w, self.v, self.arch, self.batch, **settings)  # type: ignore[arg-type]

    def ablated(self, explicit: bool, **ablation: Any) -> Arch:
        options = Options(XI_W, XI_V, LAM, method="exact", explicit_pseudo_label_grad=explicit, **ablation)
        passes = Passes(self.net, self.arch)
        updates = (lambda w, g: w - XI_W * g), (lambda v, g: v - XI_V * g)
        h = sgl_step(passes, self.w, self.v, self.batch, options, *updates).hypergradient
        assert h is not None
        return h

    def oracle(self, explicit: bool, human_labels: bool = True, teacher: str = "preliminary") -> Arch:
        """grad_A of sum_j L(W'_j, A_j, val), differentiated through both inner steps by autograd."""
        K, net, b = len(self.w), self.net, self.batch
        arch = self.arch.map(lambda t: t.clone().requires_grad_())
        w, v = (t.clone().requires_grad_() for t in (self.w, self.v))

        def labelled(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return sum(F.cross_entropy(logits, y) for logits in net(weights, arch, x))  # type: ignore[return-value]

        (grad_v,) = torch.autograd.grad(labelled(v, b.x_train, b.y_train), v, create_graph=True)
        graph = arch if explicit else arch.map(Tensor.detach)
        p = net(w.detach() if teacher == "self" else v - XI_V * grad_v, graph, b.x_unlabeled).softmax(-1)
        log_q = net(w, arch, b.x_unlabeled).log_softmax(-1)
        stage2 = labelled(w, b.x_train, b.y_train) if human_labels else 0 * w.sum()
        for k in range(K):
            for j in range(K):
                if j != k:
                    stage2 = stage2 - LAM * (p[j] * log_q[k]).sum(-1).mean()
        (grad_w,) = torch.autograd.grad(stage2, w, create_graph=True)
        loss = labelled(w - XI_W * grad_w, b.x_val, b.y_val)
        grads = iter(torch.autograd.grad(loss, arch.tensors()))
        return arch.map(lambda _: next(grads))


def error(got: Arch, want: Arch) -> float:
    a, b = got.flat().double(), want.flat().double()
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("K", [1, 2, 3])
@pytest.mark.parametrize("name", SPACES)
def test_exact_is_autograd(name: str, K: int, explicit: bool) -> None:
    problem = Problem(name, K)
    got = problem.hypergradient(method="exact", explicit_pseudo_label_grad=explicit)
    assert error(got, problem.oracle(explicit)) < 1e-8


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("ablation", [{"teacher": "self"}, {"human_labels": False}], ids=str)
def test_ablations_are_autograd(ablation: dict[str, Any], explicit: bool) -> None:
    """Eqs (12) and (15)."""
    problem = Problem("pc_darts", 3)
    assert error(problem.ablated(explicit, **ablation), problem.oracle(explicit, **ablation)) < 1e-8


@pytest.mark.parametrize("K", [1, 2, 3])
@pytest.mark.parametrize("name", SPACES)
def test_frozen_converges_as_r_squared(name: str, K: int) -> None:
    problem = Problem(name, K)
    want = problem.hypergradient(method="exact", explicit_pseudo_label_grad=True)
    at = {r: error(problem.hypergradient(r=r, explicit_pseudo_label_grad=True), want) for r in (1e-2, 1e-3)}
    assert at[1e-2] < 1e-3
    assert 50 < at[1e-2] / at[1e-3] < 200


@pytest.mark.parametrize("name", SPACES)
def test_finite_difference_at_a_tiny_radius(name: str) -> None:
    problem = Problem(name, 2)
    want = problem.hypergradient(method="exact")
    assert error(problem.hypergradient(method="finite_difference", r=1e-7), want) < 1e-5


@pytest.mark.parametrize("name", SPACES)
def test_frozen_in_float32(name: str) -> None:
    want = Problem(name, 2).hypergradient(method="exact")
    assert error(Problem(name, 2, torch.float32).hypergradient(), want) < 1e-3


@pytest.mark.parametrize("method", ["frozen", "finite_difference"])
def test_chunks_give_the_same_numbers(method: str) -> None:
    problem = Problem("pc_darts", 3)
    whole = problem.hypergradient(method=method)
    for chunk in (1, 2):
        assert error(problem.hypergradient(method=method, chunk=chunk), whole) < 1e-9


@pytest.mark.parametrize(
    ("K", "order", "forwards", "backwards"), [(2, 2, 11, 11), (3, 2, 11, 11), (2, 1, 5, 4), (1, 2, 4, 4)]
)
def test_passes_are_the_minimal_schedule(K: int, order: int, forwards: int, backwards: int) -> None:
    problem = Problem("darts", K)
    passes = Passes(problem.net, problem.arch)

    def plain(weights: Tensor, grad: Tensor) -> Tensor:
        return weights - XI_W * grad

    sgl_step(passes, problem.w, problem.v, problem.batch, Options(XI_W, XI_V, order=order), plain, plain)
    assert (passes.forwards / K, passes.backwards / K) == (forwards, backwards)


def test_images_of_each_learner_may_differ() -> None:
    problem = Problem("pc_darts", 2)
    shared = problem.hypergradient(method="exact")
    b = problem.batch
    own = {name: getattr(b, name) for name in ("x_train", "y_train", "x_val", "y_val")}
    problem.batch = replace(b, **{name: t.expand(2, *t.shape).contiguous() for name, t in own.items()})
    assert error(problem.hypergradient(method="exact"), shared) < 1e-12


def test_the_implicit_share_is_that_of_what_first_order_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    moved, gradients = ArchAdam.moved, list[Tensor]()

    def kept(self: ArchAdam, gradient: Arch, config: Config) -> ArchAdam:
        gradients.append(gradient.flat())
        return moved(self, gradient, config)

    def share(**settings: Any) -> Any:
        config = Config(**{"method": "exact", "arch_start": 0, "lr": 0.3, **settings})
        problem = Problem("pc_darts", 2)
        return Search(problem.net, config, dtype=torch.float64).step(problem.batch)["implicit_share"]

    monkeypatch.setattr(ArchAdam, "moved", kept)
    assert share(order=1) == share(order=1, schedule="released") == [0, 0]
    of_second, (first, _, second) = share(order=2), gradients
    want = (second - first).norm(dim=1) / second.norm(dim=1)
    assert of_second == pytest.approx(want.tolist(), rel=1e-9) and want.min() > 1e-3


def test_dropout_masks_repeat_between_the_passes() -> None:
    """With masks that changed between W+ and W- the quotient would be noise of the size 1/eps."""
    net = Supernet(sgl_fast.space("p_darts", channels=4, layers=3, nodes=2, num_classes=5))
    problem = Problem("darts", 2)
    problem.net = net

    def at(method: str) -> Arch:
        draw = torch.Generator().manual_seed(3)
        return problem.hypergradient(method=method, r=3e-4, skip_dropout=0.5, generator=draw)

    assert error(at("frozen"), at("exact")) < 1e-3


def test_zero_direction_gives_zero() -> None:
    problem = Problem("darts", 2)
    passes = Passes(problem.net, problem.arch)
    targets = torch.full((2, 12, 5), 0.2, dtype=torch.float64)
    rows = VirtualLearners(range(2), problem.w, problem.batch.x_train, targets)
    for method in ("finite_difference", "exact"):
        got = derivative(passes, rows, torch.zeros_like(problem.w), Options(0.1, 0.1, method=method))
        assert not got.arch.flat().any() and not got.log_probs.any()


@pytest.mark.parametrize(
    ("change", "message"), [({"method": "magic"}, "method"), ({"order": 3}, "order"), ({"r": 0.0}, "radius")]
)
def test_bad_options(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Problem("darts", 1).hypergradient(**change)


def test_mutants_of_exact_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong sign, w' for w: each is far off the oracle. And so are swapped training and validation images."""
    problem = Problem("pc_darts", 2)
    want = problem.oracle(explicit=False)
    original = exact.derivative

    def flipped(passes: Passes, rows: VirtualLearners, direction: Tensor) -> tuple[Arch, Tensor]:
        arch, tau = original(passes, rows, direction)
        return arch.map(torch.neg), tau

    def stepped(passes: Passes, rows: VirtualLearners, direction: Tensor) -> tuple[Arch, Tensor]:
        moved = VirtualLearners(rows.learners, rows.weights - 0.1 * direction, rows.images, rows.targets, rows.weight)
        return original(passes, moved, direction)

    for mutant in (flipped, stepped):
        monkeypatch.setattr(exact, "derivative", mutant)
        assert error(problem.hypergradient(method="exact"), want) > 1e-3
    monkeypatch.undo()
    b = problem.batch
    problem.batch = Batch(b.x_val, b.y_val, b.x_unlabeled, b.x_train, b.y_train)
    assert error(problem.hypergradient(method="exact"), want) > 1e-3


MUTANTS = {
    "/ 2 * eps": ("central_difference(t, eps", "central_difference(t, 2 * eps"),
    "the norm of one tensor": (
        "direction, r, passes.backend)",
        "direction, r, passes.backend); eps = r / direction[:, :99].norm(dim=1)",
    ),
    "weights not restored": ("        both,\n", "        torch.cat([both.chunk(2)[0], rows.weights]),\n"),
    "stale pattern": ("[*rows.patterns] * 2", "[*rows.patterns[::-1]] * 2"),
    "stale pseudo-labels": ('"self" else v_new', '"self" else v'),
    "own cross-entropy": ("targets, options.lam", "base.p, options.lam"),
    "no cross term": ("        add(options.xi_w", "        (options.xi_w"),
    "lam left out": ("options.xi_w * options.xi_v * options.lam", "options.xi_w * options.xi_v"),
    "softmax without its Jacobian": (
        "pseudo_label_vjp(base.p, pseudo",
        "(lambda p, tau, _: -p * (tau.sum(0) - tau) / len(p[0]))(base.p, pseudo",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_of_the_source_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with one fault planted in its text: the test of `frozen` above would fail on it."""
    right, wrong = MUTANTS[name]
    sources = {module: Path(str(module.__file__)).read_text() for module in (step, implicit_terms, difference)}
    ((module, source),) = [(m, text) for m, text in sources.items() if right in text]
    assert source.count(right) == 1
    mutant = types.ModuleType("sgl_fast.sgl.mutant")
    mutant.__package__ = "sgl_fast.sgl"
    sys.modules[mutant.__name__] = mutant
    try:
        exec(compile(source.replace(right, wrong), f"<{name}>", "exec"), vars(mutant))
    finally:
        del sys.modules[mutant.__name__]
    problem = Problem("pc_darts", 2)
    want = problem.hypergradient(method="exact")
    p = problem
    settings = {"xi_w": XI_W, "xi_v": XI_V, "lam": LAM, "r": 1e-3}
    users = {step: (hypergradients, "sgl_step"), implicit_terms: (step, "implicit_terms")}
    user, function = users.get(module, (implicit_terms, "derivative"))
    monkeypatch.setattr(user, function, vars(mutant)[function])
    got = hypergradient(p.net, p.w, p.v, p.arch, p.batch, **settings)
    assert error(got, want) > 1e-3
    monkeypatch.undo()
    assert error(problem.hypergradient(r=1e-3), want) < 1e-3
