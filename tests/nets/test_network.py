"""Networks against the recorded logits, losses and gradients of the published evaluation networks, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from known import COTANGENT, X, close, close_summary, load, u
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sgl_fast.genotype.baseline import random_genotype
from sgl_fast.genotype.elsewhere import EVAL_OPS
from sgl_fast.genotype.genotype import Genotype
from sgl_fast.genotype.published import genotypes
from sgl_fast.nets.network import Cell, Network, drop_images
from sgl_fast.nets.primitives import OPS

OUTPUT_SHAPES = load("eval_param_counts")["output_shapes"]
OP_CASES = [case for case in load("ops")["entries"] if case["form"] == "eval"]


def fill(model: nn.Module) -> None:
    """The parameters of known_answers/README.md, section 2: parameters() must come in its canonical order."""
    kinds = {id(p): (m, name) for m in model.modules() for name, p in m.named_parameters(recurse=False)}
    for t, parameter in enumerate(model.parameters()):
        module, name = kinds[id(parameter)]
        values = u(parameter.shape, t)
        if name == "bias":
            value = 0.1 * values
        elif isinstance(module, nn.BatchNorm2d):
            value = 1 + 0.25 * values
        else:
            value = math.sqrt(6 / parameter[0].numel()) * values
        parameter.data.copy_(value)


def known_net(case: dict) -> Network:
    model = Network(
        genotypes[case["genotype"]],
        case["C"],
        case["layers"],
        case["num_classes"],
        imagenet=case["net"] != "cifar",
        auxiliary_second_bn=case["net"] != "imagenet_aux_no_second_bn",
    ).double()
    fill(model)
    return model


@pytest.mark.parametrize("case", load("eval_nets"), ids=lambda c: f"{c['net']}-{c['genotype']}")
def test_known_network(case: dict) -> None:
    model = known_net(case)
    assert sum(p.numel() for p in model.parameters()) == case["n_params"]
    assert len(list(model.parameters())) == case["n_param_tensors"]
    images, labels = u(tuple(case["input_shape"]), X), torch.tensor(case["labels"])

    with torch.no_grad():
        close(model.eval()(images)[:, :10], case["logits_eval_fresh_bn"])
    logits, auxiliary = model.train()(images)
    close(logits[:, :10], case["logits_train"])
    close(auxiliary[:, :10], case["aux_logits_train"])
    with torch.no_grad():
        close(model.eval()(images)[:, :10], case["logits_eval_after_one_train"])

    loss = cross_entropy(logits, labels) + 0.4 * cross_entropy(auxiliary, labels)
    close(loss.detach(), case["loss_train_with_0.4_aux"])
    loss.backward()
    squares = torch.stack([p.grad.square().sum() for p in model.parameters()])
    close(squares, case["weight_grad_sumsq_by_param_index"])


@pytest.mark.parametrize("case", OP_CASES, ids=lambda c: f"{c['op']}-{c['stride']}")
def test_known_op(case: dict) -> None:
    op = OPS[case["op"]](8, case["stride"]).double()
    fill(op)
    x = u((2, 8, 8, 8), X).requires_grad_()
    out = op(x)
    assert list(out.shape) == case["out_shape"]
    close_summary(out.detach(), case["out"])
    close_summary(op.eval()(x).detach(), case["out_eval_after_one_train"])
    if case["op"] != "none":
        (out * u(tuple(out.shape), COTANGENT)).sum().backward()
        close_summary(x.grad, case["dx"])


@pytest.mark.parametrize("form", ["cifar_C36_L20", "imagenet_C48_L14"])
def test_output_shapes(form: str) -> None:
    """Every stage of the two standard networks, on meta tensors."""
    imagenet = form.startswith("imagenet")
    with torch.device("meta"):
        sizes = (48, 14, 1000) if imagenet else (36, 20, 10)
        model = Network(genotypes.DARTS_V2, *sizes, imagenet=imagenet)
        images = torch.empty(2, 3, *((224, 224) if imagenet else (32, 32)))
    found = {}

    def record(name: str):
        return lambda module, inputs, output: found.update({name: list(output.shape)})

    for name, module in list(model.named_modules())[1:]:
        module.register_forward_hook(record(name.replace("cells.", "cell").replace("auxiliary", "auxiliary_head")))
    model(images)
    shapes = {name: shape for name, shape in OUTPUT_SHAPES[form] if name not in ("aux_pool", "global_pooling")}
    assert {name: found[name] for name in shapes} == shapes


def small(genotype: Genotype | None = None, **options) -> Network:
    return Network(genotype or genotypes.DARTS_V1, channels=4, layers=3, **options)


def test_every_named_op_can_be_built() -> None:
    assert set(OPS) == set(EVAL_OPS)
    x = torch.randn(2, 4, 8, 8)
    for name, build in OPS.items():
        for stride in (1, 2):
            assert build(4, stride)(x).shape == (2, 4, 8 // stride, 8 // stride), name


def test_none_is_zero_and_noise_ignores_its_input() -> None:
    x = torch.full((2, 4, 8, 8), 1e6)
    assert OPS["none"](4, 2)(x).abs().max() == 0
    noise_out = OPS["noise"](4, 1)(x)
    assert noise_out.abs().max() < 10
    assert 0.5 < noise_out.std() < 1.5


@pytest.mark.parametrize("size", [16, 20, 28, 32, 64])
def test_cifar_form_takes_other_sizes(size: int) -> None:
    logits, auxiliary = small()(torch.randn(2, 3, size, size))
    assert logits.shape == auxiliary.shape == (2, 10)


def test_output_depends_on_mode_and_head() -> None:
    images = torch.randn(2, 3, 16, 16)
    assert isinstance(small().train()(images), tuple)
    assert isinstance(small().eval()(images), Tensor)
    assert isinstance(small(auxiliary=False).train()(images), Tensor)


def test_an_odd_image_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match="even height and width at a reduction; got 15 x 15"):
        Network(genotypes.DARTS_V1, channels=4, layers=4)(torch.randn(2, 3, 30, 30))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels"),
        ({"layers": 1.5}, "layers"),
        ({"num_classes": True}, "num_classes"),
        ({"channels": 5, "imagenet": True}, "even"),
        ({"drop_path": 1.0}, "drop_path"),
    ],
)
def test_bad_sizes(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Network(genotypes.DARTS_V1, **options)


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    out = drop_images(torch.ones(4000, 2, 3, 3), 0.25)
    assert torch.equal(out, out[:, :1, :1, :1].expand_as(out))
    assert sorted(out.unique().tolist()) == pytest.approx([0, 1 / 0.75])
    assert out.mean().item() == pytest.approx(1, abs=0.05)


def test_drop_path_never_touches_identities() -> None:
    states = torch.randn(8, 4, 8, 8), torch.randn(8, 4, 8, 8)

    def drift(op: str) -> float:
        edges = [(op, 0), (op, 1), (op, 1), (op, 2)]
        cell = Cell(Genotype(edges, [2, 3], edges, [2, 3]), 4, 4, 4, reduction=False, reduction_before=False)
        return (cell(*states, 0.5) - cell(*states)).abs().max().item()

    assert drift("skip_connect") == 0
    assert drift("avg_pool_3x3") > 0


def test_drop_path_acts_in_training_alone() -> None:
    images = torch.randn(4, 3, 16, 16)
    model = small(auxiliary=False)
    for training in (True, False):
        model.train(training)
        model.drop_path = 0.0
        plain = model(images)
        model.drop_path = 0.5
        assert torch.equal(model(images), plain) is not training


def test_no_op_changes_its_input() -> None:
    x = torch.randn(2, 4, 8, 8)
    for build in OPS.values():
        before = x.clone()
        build(4, 2)(x)
        assert torch.equal(x, before)


def test_cells_with_any_number_of_nodes() -> None:
    for nodes in (1, 2, 3, 5):
        assert small(random_genotype(nodes, seed=nodes)).eval()(torch.randn(1, 3, 16, 16)).shape == (1, 10)


def test_default_initialisation_is_pytorchs() -> None:
    torch.manual_seed(3)
    model = small()
    torch.manual_seed(3)
    stem = nn.Conv2d(3, 12, 3, padding=1, bias=False)
    assert torch.equal(next(model.parameters()), stem.weight)


@pytest.mark.parametrize("name", ["drop_path", "drop_path_prob"])
def test_drop_path_acts_by_the_original_codes_name_too(name: str) -> None:
    """As `model.drop_path_prob = args.drop_path_prob * epoch / args.epochs` in a training loop."""
    network = Network(genotypes["DARTS_V2"], channels=4, layers=3)
    setattr(network, name, 0.5)
    assert network.drop_path == network.drop_path_prob == getattr(network, name) == 0.5
    images = torch.randn(4, 3, 16, 16)
    outputs = [network(images)[0] for _ in range(2)]
    assert not torch.allclose(*outputs)
    network.drop_path_prob = 0.0
    torch.testing.assert_close(network(images)[0], network(images)[0])
    with pytest.raises(ValueError, match="need a drop_path probability"):
        setattr(network, name, 1.0)


@pytest.mark.parametrize("name", ["drop_prob", "droprate", "dropout", "DropPath", "drop_path_rate"])
def test_other_names_of_drop_path_are_no_silent_attributes(name: str) -> None:
    network = Network(genotypes["DARTS_V2"], channels=4, layers=3)
    with pytest.raises(AttributeError, match=f"Network has no {name}: drop_path is"):
        setattr(network, name, 0.5)
