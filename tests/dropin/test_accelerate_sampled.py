"""Cells that compute some operations only: the others' parameters, statistics and counts stay as in the original."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from foreign_check import distance, images, one_pass, twins
from foreign_sampled import BoundedOp, LargestOp, NamedOp, NonZeroOp, NumberedOp, PositiveOp, SampledNetwork
from torch import nn

import sgl_fast
from sgl_fast.dropin import plan as plans
from sgl_fast.dropin.patched import KEY

FORMS: dict[str, tuple[Any, str | None]] = {
    "not 0": (NonZeroOp, None),
    "above a bound": (BoundedOp, None),
    "positive": (PositiveOp, None),
    "the largest": (LargestOp, None),
    "an index tensor": (NamedOp, "named"),
    "plain numbers": (NumberedOp, "numbers"),
}


def pair(form: str, backend: str | None = None, **sizes: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    mixed, beside = FORMS[form]
    original, model = twins(SampledNetwork(mixed, beside, layers=2, **sizes))
    sgl_fast.accelerate(model, backend, method="sample" if beside else "forward")
    assert sgl_fast.report(model).accelerated == 2, str(sgl_fast.report(model))
    return original, model


def equal(original: nn.Module, model: nn.Module, seed: int) -> None:
    """Numbers, and which parameters have no gradient."""
    assert distance(one_pass(original, images(seed)), one_pass(model, images(seed))) < (1e-5, "")
    for (name, p), q in zip(original.named_parameters(), model.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name


@pytest.mark.parametrize("form", FORMS)
def test_sampled_operations(form: str) -> None:
    original, model = pair(form)
    for step in range(4):
        choices = None if step == 2 else torch.randint(8, (5,), generator=torch.Generator().manual_seed(step))
        for one in (original, model):
            one.choices = choices
            one.train(step != 3)
        equal(original, model, step)
    assert not any(p.grad is not None for p in model.cells[0]._ops[0]._ops[4 + (choices[0] == 4)].parameters())
    assert [c.originals for c in sgl_fast.report(model)] == [0, 0], str(sgl_fast.report(model))


def test_rows_of_several_weights() -> None:
    original, model = pair("not 0")
    with torch.no_grad():
        for one in (original, model):
            one.alphas_normal[torch.arange(5), torch.tensor([1, 4, 7, 0, 5])] = -torch.inf
            one.alphas_reduce[0, 2:] = -torch.inf
    equal(original, model, 1)
    assert [c.originals for c in sgl_fast.report(model)] == [0, 0]


def test_training_with_weight_decay_and_momentum() -> None:
    original, model = pair("an index tensor")
    for one in (original, model):
        sgd = torch.optim.SGD(one.parameters(), 0.05, momentum=0.9, weight_decay=0.1)
        for step in range(4):
            one.choices = torch.randint(8, (5,), generator=torch.Generator().manual_seed(step))
            sgd.zero_grad()
            one(images(step)).square().mean().backward()
            sgd.step()
    for (name, a), b in zip(original.state_dict().items(), model.state_dict().values(), strict=True):
        assert float((a - b).abs().max()) < 1e-5 * max(1.0, float(a.abs().max())), name


@pytest.mark.parametrize(
    ("weight", "reason"), [(1e-9, "nearer to 0 than was tried"), (None, "none of whose operations")]
)
def test_what_was_not_tried_is_the_originals(weight: float | None, reason: str) -> None:
    class Given(SampledNetwork):
        def weights_of(self, alphas: torch.Tensor) -> torch.Tensor:
            probs = alphas.softmax(-1)
            if not self.cut:
                return probs
            row = torch.zeros(8) if weight is None else torch.cat([torch.tensor([weight]), torch.ones(7)])
            return (
                torch.cat([row[None] * probs[:1], probs[1:]]) if weight is None else torch.cat([row[None], probs[1:]])
            )

    torch.manual_seed(0)
    original, model = Given(NonZeroOp, layers=2), None
    original.cut = False
    original, model = twins(original)
    sgl_fast.accelerate(model)
    original.cut = model.cut = True
    equal(original, model, 1)
    assert all(reason in cell.last for cell in sgl_fast.report(model)), str(sgl_fast.report(model))


def test_a_cell_that_skips_nothing_stays_dense() -> None:
    torch.manual_seed(0)

    class Dense(NonZeroOp):
        def forward(self, x: Any, weights: Any) -> Any:
            return sum(w * op(x) for w, op in zip(weights, self._ops, strict=True))

    original, model = twins(SampledNetwork(Dense, layers=2))
    sgl_fast.accelerate(model)
    for one in (original, model):
        one.choices = torch.tensor([4, 5, 6, 7, 3])
    equal(original, model, 1)
    assert all(m.__dict__[KEY].outcomes[0].proof.reading.rule == "all" for m in model.cells)


def test_plans_of_choices_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "KNOWN", 3)
    _, model = pair("an index tensor", steps=1, multiplier=1)
    with torch.no_grad():
        for i in range(8):
            model.choices = torch.tensor([i, 7 - i])
            model(images(1))
    for cell in model.cells:
        proof = cell.__dict__[KEY].outcomes[0].proof
        assert len(proof.plan.known) == 3
    assert not copy.deepcopy(model).cells[0].__dict__[KEY].outcomes[0].proof.plan.known


@pytest.mark.filterwarnings("ignore:nothing is accelerated")
def test_another_rule_is_refused() -> None:
    class Second(LargestOp):
        def forward(self, x: Any, weights: Any) -> Any:
            index = weights.argsort()[-2].item()
            return weights[index] * self._ops[index](x)

    torch.manual_seed(0)
    model = sgl_fast.accelerate(SampledNetwork(Second, layers=2))
    assert not sgl_fast.report(model).accelerated


class Unweighted(NonZeroOp):
    """The only operation that is computed is not multiplied by its weight."""

    def forward(self, x: Any, weights: Any) -> Any:
        parts = [(w, op(x)) for w, op in zip(weights, self._ops, strict=True) if w != 0]
        return parts[0][1] if len(parts) == 1 else sum(w * part for w, part in parts)


class TwiceWhereOne(NonZeroOp):
    """All are computed; a row of one weight alone counts twice."""

    def forward(self, x: Any, weights: Any) -> Any:
        out = sum(w * op(x) for w, op in zip(weights, self._ops, strict=True))
        return out * (1 + int((weights != 0).sum() == 1))


class WholeWhereOne(NonZeroOp):
    """All are computed; a weight of exactly 1 is none."""

    def forward(self, x: Any, weights: Any) -> Any:
        if float(weights.detach().max()) == 1.0:
            return self._ops[int(weights.argmax())](x)
        return sum(w * op(x) for w, op in zip(weights, self._ops, strict=True))


@pytest.mark.filterwarnings("ignore:nothing is accelerated")
@pytest.mark.parametrize("mixed", [Unweighted, TwiceWhereOne, WholeWhereOne])
def test_one_hot_rows_that_count_otherwise_are_refused(mixed: Any) -> None:
    torch.manual_seed(0)
    model = sgl_fast.accelerate(SampledNetwork(mixed, layers=2))
    report = sgl_fast.report(model)
    assert len(report) == 2 and not report.accelerated, str(report)
    assert all(cell.reason.startswith("verification: ") for cell in report), str(report)
