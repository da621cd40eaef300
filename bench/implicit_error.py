"""The relative error of the implicit terms by the defaults of `frozen`, by the size of the images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import torch.nn.functional as F

import sgl_fast
from sgl_fast import Batch, Config, Search
from sgl_fast.data import Dataset, Feed
from sgl_fast.sgl import exact
from sgl_fast.sgl import implicit_terms as terms
from sgl_fast.sgl.difference import Derivative
from sgl_fast.sgl.options import Options
from sgl_fast.sgl.passes import Passes, PassOptions
from sgl_fast.sgl.step import Step, sgl_step
from sgl_fast.sgl.virtual_learners import VirtualLearners

SPACES = ("darts", "darts_minus", "pc_darts", "p_darts")
XI = 0.025
# The paper's radius as it was the default of `frozen`, too; what a search takes; what `hypergradient` takes
RULES: dict[str, dict[str, Any]] = {"r = 0.01": {"r": 0.01}, "r = 0.001": {}, "refined": {"refine": True}}


class Size(NamedTuple):
    side: int
    images: int
    channels: int


SIZES = (Size(8, 4, 4), Size(8, 6, 4), Size(16, 6, 4))
DTYPES = (torch.float64, torch.float32)
HEAD = ["images", "a batch", "channels", "precision", "learners"]
HEAD += [f"{rule}: {what}" for rule in RULES for what in ("median", "largest")]
HEAD += ["estimate / error, 5 % to 95 %"]
ABOUT = """Relative error of a learner's implicit terms, own, cross and explicit, of `frozen` against exact derivatives
in float64 on the activation pattern of the base pass: darts, darts_minus, pc_darts (8 channels where 4 are said) and
p_darts (skip dropout 0.3), K = 1, 2 and 3, untrained and after 40 steps, the embedded images scaled down. r = 0.001 is
what a search takes; refined, what `hypergradient` does: a pass whose error is estimated above 5e-4 runs again at a
better radius. Estimate: `implicit_error` of a search's record, at r = 0.001."""


class Case(NamedTuple):
    space: str
    size: Size
    learners: int
    steps: int
    seed: int


class Found(NamedTuple):
    """Of every learner, under a rule: the relative error, and its estimate."""

    error: list[float]
    estimate: list[float]


def cases(size: Size, seeds: int) -> Iterator[Case]:
    for name, learners, steps, seed in product(SPACES, (1, 2, 3), (0, 40), range(seeds)):
        yield Case(name, size, learners, steps, seed)


def scaled(batch: Batch, side: int, dtype: torch.dtype) -> Batch:
    """Its images at another size."""
    train, unlabeled, val = (
        F.adaptive_avg_pool2d(batch.images(role), side).to(dtype) for role in ("train", "unlabeled", "val")
    )
    return Batch(train, batch.y_train, unlabeled, val, batch.y_val)


def problem(case: Case, dataset: Dataset) -> tuple[Search, Batch]:
    """Learners after some first-order steps, and the next batch."""
    side, N, C = case.size
    C *= 2 if case.space.startswith("pc") and C < 8 else 1
    net = sgl_fast.Supernet(sgl_fast.space(case.space, channels=C, layers=3, nodes=2, num_classes=10))
    feed = Feed(dataset, N, seed=case.seed)
    changes: dict[str, Any] = {"learners": case.learners, "order": 1, "lr": 0.05, "arch_start": 0, "seed": case.seed}
    search = Search(net, Config.preset(case.space, steps_per_epoch=feed.steps_per_epoch, **changes))
    for step in range(case.steps):
        search.step(scaled(feed.batch(step), side, torch.float32))
    return search, scaled(feed.batch(case.steps), side, torch.float32)


def run(search: Search, batch: Batch, dtype: torch.dtype, **options: Any) -> Step:
    net, arch = search.nets[0], search.arch.map(lambda t: t.to(dtype))
    passes = Passes(net, arch, None, PassOptions(1.0, 0.3 * (net.space.name == "p_darts"), "reference"))
    given = Options(XI, XI, explicit_pseudo_label_grad=True, **options)
    seeds, w, v = torch.arange(5 * len(arch)), search.w.to(dtype), search.v.to(dtype)
    return sgl_step(passes, w, v, batch.to(dtype=dtype), given, lambda w, g: w - XI * g, lambda v, g: v - XI * g, seeds)


def of_double(passes: Passes, rows: VirtualLearners, direction: torch.Tensor, options: Options) -> Derivative:
    """The exact derivative, in float64, on the pattern of the base pass: a kink that rounding moves is no error."""
    assert rows.targets is not None
    kept, dtype = passes.arch, direction.dtype
    passes.arch = kept.map(torch.Tensor.double)
    weights, images, targets = (t.double() for t in (rows.weights, rows.images, rows.targets))
    doubles = VirtualLearners(rows.learners, weights, images, targets, rows.weight, rows.patterns, rows.seeds)
    arch, tau = exact.derivative(passes, doubles, direction.double())
    passes.arch = kept
    return Derivative(arch.map(lambda t: t.to(dtype)), tau.to(dtype))


def implicit_terms(step: Step, first: Step) -> torch.Tensor:
    assert step.hypergradient is not None and first.hypergradient is not None
    return (step.hypergradient.flat() - first.hypergradient.flat()).double()


def measured(case: Case, dataset: Dataset, dtype: torch.dtype) -> dict[str, Found]:
    search, batch = problem(case, dataset)
    first = run(search, batch, dtype, order=1)
    with patch.object(terms, "derivative", of_double):
        want = implicit_terms(run(search, batch, dtype), first)
    found = {}
    for name, rule in RULES.items():
        step = run(search, batch, dtype, **rule)
        error = (implicit_terms(step, first) - want).norm(dim=1) / want.norm(dim=1)
        assert step.implicit_error is not None
        found[name] = Found(error.tolist(), step.implicit_error.tolist())
    return found


def row(dataset: Dataset, size: Size, dtype: torch.dtype, seeds: int) -> list[str]:
    """Of each rule the median and the largest error, then how far a search's estimate is off."""
    found = [measured(case, dataset, dtype) for case in cases(size, seeds)]
    at = [one["r = 0.001"] for one in found]
    over = sorted(b / a for one in at for a, b in zip(one.error, one.estimate, strict=True))
    cells = [str(size.images), str(size.channels), str(dtype).removeprefix("torch."), str(len(over))]
    for rule in RULES:
        errors = [e for one in found for e in one[rule].error]
        cells += [f"{median(errors):.1e}", f"{max(errors):.1e}"]
    return [f"{size.side} x {size.side}", *cells, f"{over[len(over) // 20]:.1f} to {over[-1 - len(over) // 20]:.1f}"]
