"""What a supernet refuses: one line that names what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from networks import F64, batch, draws, small
from torch import Tensor
from trials import fresh

from sgl_fast.backends.choice import use_backend, why_not
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.search import Search


@pytest.mark.parametrize(
    "change, says",
    [
        ({"weights": lambda w: w[0]}, r"need weights \(V, \d+\); got \(\d+,\)"),
        ({"weights": lambda w: w[0, 0]}, r"need weights \(V, \d+\); got \(\)"),
        ({"weights": lambda w: w[:, 1:]}, r"need weights \(2, \d+\); got \(2, \d+\)"),
        ({"images": lambda x: x.float()}, "need images of the weights' dtype torch.float64; got torch.float32"),
        (
            {"images": lambda x: x[:, :, :2]},
            r"need images \(2, N, 3, H, W\) or \(N, 3, H, W\); got \(2, 3, 2, 8, 8\)",
        ),
        ({"images": lambda x: x[:1]}, r"need images \(2, N, 3, H, W\) .*; got \(1, 3, 3, 8, 8\)"),
        ({"images": lambda x: x[0, 0]}, r"need images .*; got \(3, 8, 8\)"),
        ({"images": lambda x: x[0, 0, 0, 0]}, r"need images .*; got \(8,\)"),
        ({"images": lambda x: x[..., :6, :]}, "images of 6 pixels a side: 3 is odd at the reduction cell 2; .* of 4"),
        ({"images": lambda x: x[..., :7]}, "images of 7 pixels a side: 7 is odd at the reduction cell 1"),
        ({"alphas_normal": lambda a: a[:1]}, r"need alphas_normal \(2, 5, 8\); got \(1, 5, 8\)"),
        ({"alphas_reduce": lambda a: a[..., :5]}, r"need alphas_reduce \(2, 5, 8\); got \(2, 5, 5\)"),
        ({"alphas_reduce": lambda a: a.float()}, "need alphas_reduce of the weights' dtype torch.float64"),
        ({"betas_normal": lambda b: None}, r"need betas_normal \(2, 5\); got None"),
        ({"betas_reduce": lambda b: b[:, :2]}, r"need betas_reduce \(2, 5\); got \(2, 2\)"),
        ({"training": False}, "need running statistics where training is False; got None"),
        ({"skip_dropout": 1.0}, "need skip_dropout of at least 0 and below 1; got 1.0"),
        ({"skip_dropout": 0.5, "dropout_seeds": [1]}, "need 2 dropout_seeds, one a virtual learner; got 1"),
        ({"backend": "metal"}, "unknown backend 'metal'; the backends are reference"),
    ],
)
def test_errors_name_what_is_wrong_in_one_line(change: dict[str, Any], says: str) -> None:
    net = small("pc_darts")
    weights, arch, images = draws(net, 2)
    inputs, options = {"weights": weights, "images": images}, {}
    for name, value in change.items():
        if name in inputs:
            inputs[name] = value(inputs[name])
        elif hasattr(arch, name):
            setattr(arch, name, value(getattr(arch, name)))
        else:
            options[name] = value
    with pytest.raises(ValueError, match=says) as error:
        net(inputs["weights"], arch, inputs["images"], **options)
    assert "\n" not in str(error.value)


def test_running_statistics_that_do_not_fit() -> None:
    net = small("darts")
    weights, arch, images = draws(net, 2)
    shape = rf"\(2, {net.num_statistics}\)"
    with pytest.raises(ValueError, match=rf"need running mean {shape}; got \(1, "):
        net(weights, arch, images, running=net.init_running(1, F64))
    with pytest.raises(ValueError, match="need running mean of the weights' dtype torch.float64; got torch.float32"):
        net(weights, arch, images, running=net.init_running(2))
    running = net.init_running(2, F64)
    running.var = running.var[:, 1:]
    with pytest.raises(ValueError, match=rf"need running variance {shape}; got"):
        net(weights, arch, images, running=running)


def test_a_backend_that_cannot_run_says_why() -> None:
    net = small("darts")
    inputs = draws(net, 1)
    assert why_not("reference") is None
    with use_backend("reference"):
        want = net(*inputs)
    assert torch.equal(net(*inputs, backend="reference"), want)
    for name in ("cpu", "triton", "cuda"):
        reason = why_not(name)
        if reason is not None:
            with pytest.raises(RuntimeError) as error:
                net(*inputs, backend=name)
            assert str(error.value) == reason


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_under_autocast(backend: str, extension: None) -> None:
    """The library's layers run in what autocast asks for; a cell takes its states in float32 again, both directions."""
    fresh()
    net = small("pc_darts")
    w, arch, x = net.init_weights(2).requires_grad_(), net.init_arch(2), torch.randn(3, 3, 8, 8)

    def run(casting: bool) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=casting):
            logits = net(w, arch, x, backend=backend)
        (grad,) = torch.autograd.grad(logits.float().square().sum(), w)
        return [logits.float().detach(), grad]

    for got, want in zip(run(True), run(False), strict=True):
        assert got.dtype == torch.float32
        assert (got - want).norm() < 0.3 * want.norm()  # a kink more or less on other sides in bfloat16


def test_whatever_torchs_default_dtype(extension: None) -> None:
    """Libraries set it at import; ours are float32 unless somebody asks for another one."""
    torch.set_default_dtype(torch.float64)
    try:
        net = small("pc_darts")
        kinds = [net.init_weights(1), *net.init_arch(1).tensors(), net.init_running(1).mean]
        assert {t.dtype for t in kinds} == {torch.float32}
        given = batch(0)
        search = Search(net, Config.preset("pc_darts", arch_start=0, learners=2))
        record = search.step(given.to(dtype=torch.float32))
        assert {t.dtype for t in search.tensors() if t.dim()} == {torch.float32}
        arch = net.init_arch(2)
        assert net(search.w, arch, given.x_val.float()).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(record["train_loss"]) == 2
