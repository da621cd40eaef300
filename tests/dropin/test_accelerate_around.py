"""What a caller has entered around a model: its own operations are seen there. Copies, and two places of a cell."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from foreign_check import images, twins
from foreign_darts import small
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import sgl_fast

x = images(1)


@pytest.fixture
def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    original, model = twins(small())
    return original, sgl_fast.accelerate(model)


def loss_of(model: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda images: model(images)[:, 0].square().sum()


def per_sample(model: nn.Module) -> Tensor:
    return torch.func.vmap(torch.func.grad(lambda one: loss_of(model)(one[None])))(x)


def parameters_as_arguments(model: nn.Module) -> Tensor:
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, parameters, (x,)).square().sum()

    return torch.cat([g.flatten() for g in torch.func.grad(loss)(parameters).values()])


def forward_mode(model: nn.Module) -> Tensor:
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        return torch.autograd.forward_ad.unpack_dual(model(dual)).tangent


def ensemble(model: nn.Module) -> Tensor:
    parameters, buffers = torch.func.stack_module_state([model, copy.deepcopy(model)])
    bare = copy.deepcopy(model)
    return torch.func.vmap(lambda p, b: torch.func.functional_call(bare, (p, b), (x,)))(parameters, buffers)


TRANSFORMS: dict[str, Callable[[nn.Module], Tensor]] = {
    "grad": lambda m: torch.func.grad(loss_of(m))(x),
    "vjp": lambda m: torch.func.vjp(m, x)[1](torch.ones(3, 5))[0],
    "jvp": lambda m: torch.func.jvp(m, (x,), (torch.ones_like(x),))[1],
    "hessian's row": lambda m: torch.func.grad(lambda y: torch.func.grad(loss_of(m))(y).sum())(x),
    "gradients of samples": per_sample,
    "functional_call": parameters_as_arguments,
    "forward mode": forward_mode,
    "ensemble": ensemble,
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_are_the_originals(transform: str, pair: tuple[nn.Module, nn.Module]) -> None:
    original, model = (m.eval() for m in pair)
    want, got = (TRANSFORMS[transform](m) for m in (original, model))
    assert torch.allclose(want, got, rtol=1e-4, atol=1e-5 * float(want.detach().abs().max()))
    if transform != "ensemble":  # its calls are counted by copies
        assert all("torch.func" in cell.last or "forward-mode" in cell.last for cell in sgl_fast.report(model))


class Calls(TorchDispatchMode):
    """Counts the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += "convolution" in str(func)
        return func(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += "conv2d" in str(func)
        return func(*args, **(kwargs or {}))


class Modules(AbstractContextManager[Any]):
    """A hook on all modules."""

    def __enter__(self) -> Modules:
        self.seen = 0
        self.handle = nn.modules.module.register_module_forward_hook(self.see)
        return self

    def see(self, module: nn.Module, *_: Any) -> None:
        self.seen += isinstance(module, nn.Conv2d)

    def __exit__(self, *_: Any) -> None:
        self.handle.remove()


@pytest.mark.parametrize("entered", [Calls, Functions, Modules])
def test_whoever_looks_sees_the_models_own_operations(entered: Any, pair: tuple[nn.Module, nn.Module]) -> None:
    seen = []
    for model in pair:
        with entered() as one:
            model(x)
        seen.append(one.seen)
    assert seen[0] == seen[1] > 50
    assert all(cell.originals == 1 for cell in sgl_fast.report(pair[1]))
    with torch.device("cpu"):
        pair[1](x)
    assert all(cell.originals == 1 for cell in sgl_fast.report(pair[1]))


@pytest.mark.parametrize("entered", [Calls, Functions, Modules, torch.no_grad, torch.inference_mode, torch.device])
def test_verification_is_outside_of_what_a_caller_has_entered(entered: Any) -> None:
    torch.manual_seed(0)
    model = small()
    context = entered("meta") if entered is torch.device else entered()
    with context as one:
        sgl_fast.accelerate(model)
        assert sgl_fast.report(model).accelerated == 2, str(sgl_fast.report(model))
    assert not getattr(one, "seen", 0)


def test_modules_in_two_places() -> None:
    torch.manual_seed(0)
    original, model = twins(small())
    model.body = nn.Sequential(*model.cells)
    sgl_fast.accelerate(model)
    assert len(sgl_fast.report(model)) == sgl_fast.report(model).accelerated == 2
    assert torch.allclose(model(x), original(x), rtol=1e-4, atol=1e-5)
    assert [(c.calls, c.originals) for c in sgl_fast.report(model)] == [(1, 0)] * 2
    for _ in range(2):
        sgl_fast.restore(model)
    assert torch.allclose(model.eval()(x), original.eval()(x), rtol=1e-4, atol=1e-5)


def test_a_model_without_values() -> None:
    with torch.device("meta"):
        model = small()
    sgl_fast.accelerate(model)
    assert {cell.status for cell in sgl_fast.report(model)} == {"waiting"}
    assert model(torch.empty(2, 3, 16, 16, device="meta")).shape == (2, 5)
    assert all("meta" in cell.last for cell in sgl_fast.report(model))
    model.to_empty(device="cpu")
    for p in model.parameters():
        nn.init.normal_(p)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.reset_running_stats()
    assert model(x).isfinite().all() and sgl_fast.report(model).accelerated == 2


@pytest.mark.filterwarnings("ignore:.*TypedStorage")
def test_copies_by_any_way(pair: tuple[nn.Module, nn.Module]) -> None:
    original, model = pair
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    ways = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)]
    ways.append(torch.optim.swa_utils.AveragedModel(model).module)
    for twin in ways:
        assert torch.allclose(twin.eval()(x), original.eval()(x), rtol=1e-4, atol=1e-5)
        assert [cell.originals for cell in sgl_fast.report(twin)] == [0, 0], str(sgl_fast.report(twin))
    copied = sgl_fast.report(ways[0])
    assert [c.seconds for c in copied] == [c.seconds for c in sgl_fast.report(model)], "verified once more"


@pytest.mark.parametrize(("training", "compiler"), [(True, "aot_eager"), (False, "eager")])
def test_compiled_whole(training: bool, compiler: str, pair: tuple[nn.Module, nn.Module]) -> None:
    original, model = (m.train(training) for m in pair)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend=compiler, fullgraph=True)
    for _ in range(2):
        want, got = original(x), compiled(x)
        assert torch.allclose(want, got, rtol=1e-4, atol=1e-5)
        grads = [
            torch.autograd.grad(out.square().sum(), list(m.parameters()), allow_unused=True)
            for out, m in ((want, original), (got, model))
        ]
        for a, b in zip(*grads, strict=True):
            assert (a is None and b is None) or torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max()))
    for (name, a), b in zip(original.named_buffers(), model.buffers(), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5), name
    torch._dynamo.reset()
