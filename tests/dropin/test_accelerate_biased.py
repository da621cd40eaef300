"""Convolutions with a bias before a batch norm: it moves the running mean, and nothing else while the cell trains."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from foreign_broken import batch_norm, replaced
from foreign_check import distance, images, one_pass, twins
from foreign_darts import Network
from foreign_styles import AuxiliaryNetwork, OddPreprocessNetwork, biased
from torch import Tensor, nn

import sgl_fast

EVALUATION = "gradients in evaluation mode through convolutions with a bias"
MODELS: dict[str, Callable[[], nn.Module]] = {
    "darts": lambda: biased(Network()),
    "pc_darts, padded reductions": lambda: biased(Network(C=8, k=4, layers=2), padded=True),
    "darts_minus, padded reductions": lambda: biased(AuxiliaryNetwork(), padded=True),
    "preprocessing of its own": lambda: biased(OddPreprocessNetwork()),
}
BACKENDS = {"reference": (torch.float64, 5, 1e-10), "cpu": (torch.float32, 1, 2e-5)}  # steps amplify rounding
BACKENDS = {name: rest for name, rest in BACKENDS.items() if sgl_fast.why_not(name) is None}


def trained(net: nn.Module, x: Tensor, steps: int) -> list[dict[str, Tensor]]:
    """Logits, gradients and statistics of the steps, and the state after them."""
    sgd = torch.optim.SGD(net.parameters(), 0.025, momentum=0.9, weight_decay=0.1)
    passes = []
    for _ in range(steps):
        passes.append({name: t.clone() for name, t in one_pass(net, x).items()})
        sgd.step()
    kinds = {True: "buffer", False: "parameter"}
    passes.append({f"{kinds['running' in k or 'num' in k]} {k}": t for k, t in net.state_dict().items()})
    return passes


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_training_and_evaluation(name: str, backend: str) -> None:
    torch.manual_seed(1)
    dtype, steps, tolerance = BACKENDS[backend]
    original, model = twins(MODELS[name]().to(dtype))
    sgl_fast.accelerate(model, backend)
    report, x = sgl_fast.report(model), images(2).to(dtype)
    assert report.accelerated == len(report), str(report)
    theirs, ours = trained(original, x, steps), trained(model, x, steps)
    for one, other in zip(theirs, ours, strict=True):
        assert distance(one, other) < (tolerance, "")
    for grads in (theirs[0], ours[0]):
        biases = [k for k in grads if k.startswith("grad cell") and k.endswith("bias") and ".fit" not in k]
        largest = max(float(t.abs().max()) for k, t in grads.items() if k.startswith("grad cell"))
        assert len(biases) > 20 and all(float(grads[k].abs().max()) <= tolerance * largest for k in biases)
    original.eval(), model.eval()
    with torch.no_grad():
        theirs_out, ours_out = original(x), model(x)
    assert float((theirs_out - ours_out).abs().max()) <= tolerance * float(theirs_out.abs().max())
    assert [(c.calls, c.originals) for c in report] == [(steps + 1, 0)] * len(report), str(report)


def test_gradients_in_evaluation_are_the_originals() -> None:
    torch.manual_seed(2)
    original, model = twins(biased(Network(layers=2)))
    sgl_fast.accelerate(model)
    original.eval(), model.eval()
    a, b = one_pass(original, images(1)), one_pass(model, images(1))
    assert all(torch.equal(a[k], b[k]) for k in a)
    report = sgl_fast.report(model)
    assert [(c.calls, c.originals, c.last) for c in report] == [(0, 1, EVALUATION)] * 2, str(report)
    for net in (original, model):
        for p in net.cells.parameters():
            p.requires_grad_(False)
    assert distance(one_pass(original, images(1)), one_pass(model, images(1))) < (1e-5, "")
    assert [(c.calls, c.originals) for c in report] == [(1, 1)] * 2, str(report)


def test_without_running_statistics_evaluation_is_like_training() -> None:
    torch.manual_seed(3)
    original, model = twins(biased(replaced(nn.BatchNorm2d, batch_norm(track_running_stats=False), layers=2)))
    sgl_fast.accelerate(model)
    for training in (True, False):
        original.train(training), model.train(training)
        assert distance(one_pass(original, images(1)), one_pass(model, images(1))) < (1e-5, "")
    report = sgl_fast.report(model)
    assert [(c.calls, c.originals) for c in report] == [(2, 0)] * 2, str(report)


def test_some_biases_come_and_go() -> None:
    """Half of them, then none: each time verified, and the original's numbers."""
    torch.manual_seed(4)
    original, model = twins(biased(Network(layers=2)))
    sgl_fast.accelerate(model)
    for step in (2, 1):
        for net in (original, model):
            for conv in [m for m in net.cells.modules() if isinstance(m, nn.Conv2d)][::step]:
                conv.bias = None
        assert distance(one_pass(original, images(1)), one_pass(model, images(1))) < (1e-5, "")
    report = sgl_fast.report(model)
    assert [(c.calls, c.originals) for c in report] == [(2, 0)] * 2, str(report)


def test_models_in_one_pass_have_biases_of_their_own() -> None:
    torch.manual_seed(5)
    models = [biased(Network(layers=2)) for _ in range(2)]
    originals = copy.deepcopy(models)
    outs = sgl_fast.stack(models)(images(1, K=2))
    for original, model, x, out in zip(originals, models, images(1, K=2), outs, strict=True):
        theirs = {"logits": original(x).detach(), **{f"buffer {k}": b for k, b in original.named_buffers()}}
        ours = {"logits": out.detach(), **{f"buffer {k}": b for k, b in model.named_buffers()}}
        assert distance(theirs, ours) < (1e-5, "")


def test_second_derivatives() -> None:
    """The gradients of biases are zeros that depend on everything, so that a penalty may take them in."""
    torch.manual_seed(6)
    original, model = twins(biased(Network(layers=2)).double())
    sgl_fast.accelerate(model, "reference")
    found = []
    for net in (original, model):
        loss = net(images(1).double()).square().sum()
        parameters = [net.alphas_reduce, *net.cells.parameters()]
        grads = torch.autograd.grad(loss, parameters, create_graph=True)
        biases = [g for g in grads if g.dim() == 1]
        assert biases and all(g.requires_grad for g in biases)
        penalty = sum(g.square().sum() for g in grads)
        found.append(torch.autograd.grad(penalty, [net.alphas_reduce, net.cells[0]._ops[0]._ops[4].op[2].weight]))
    for a, b in zip(*found, strict=True):
        assert float((a - b).abs().max()) <= 1e-8 * float(a.abs().max())
