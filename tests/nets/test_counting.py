"""Counts against those recorded for every published genotype; whole numbers, no tolerance."""

from __future__ import annotations

import json

import known
import pytest
import torch
from torch import nn

from sgl_fast.genotype.published import genotypes
from sgl_fast.nets.counting import count_macs, count_parameters
from sgl_fast.nets.network import Network

COUNTS = json.loads((known.FOLDER / "eval_param_counts.json").read_text())["genotypes"]
PAPERS = ["darts.NASNet", "darts.AmoebaNet", "darts.DARTS_V2", "pdarts.PDARTS", "pc_darts.PC_DARTS_image"]


def on_meta(name: str, imagenet: bool, **options) -> Network:
    sizes = (48, 14, 1000) if imagenet else (36, 20, 10)
    with torch.device("meta"):
        return Network(genotypes[name], *sizes, imagenet=imagenet, **options)


@pytest.mark.parametrize("name", COUNTS)
def test_cifar(name: str) -> None:
    known, model = COUNTS[name], on_meta(name, imagenet=False)
    assert count_parameters(model) == known["cifar10_C36_L20"]
    assert count_parameters(model, auxiliary=True) == known["cifar10_C36_L20_aux"]
    assert count_parameters(model.auxiliary) == known["cifar10_aux_head"]
    assert count_macs(model, 32) == known["cifar10_macs_32"]
    convs = sum(isinstance(m, nn.Conv2d) for m in model.modules() if m not in set(model.auxiliary.modules()))
    assert convs == known["cifar10_convs_bns_tensors"][0]


@pytest.mark.parametrize("name", COUNTS)
def test_imagenet(name: str) -> None:
    known, model = COUNTS[name], on_meta(name, imagenet=True)
    assert count_parameters(model) == known["imagenet_C48_L14"]
    assert count_parameters(model, auxiliary=True) == known["imagenet_C48_L14_aux_second_bn"]
    rules = ("conv", "conv_linear", "conv_linear_2bn_relu") if name in PAPERS else ("conv_linear_2bn_relu",)
    for rule in rules:
        assert count_macs(model, 224, rule) == known[f"imagenet_macs_224_{rule}"]


@pytest.mark.parametrize("name", PAPERS)
def test_other_heads(name: str) -> None:
    known = COUNTS[name]
    single = on_meta(name, imagenet=True, auxiliary_second_bn=False)
    assert count_parameters(single, auxiliary=True) == known["imagenet_C48_L14_aux_no_second_bn"]
    with torch.device("meta"):
        cifar100 = Network(genotypes[name], num_classes=100)
    assert count_parameters(cifar100) == known["cifar100_C36_L20"]
    assert count_parameters(cifar100, auxiliary=True) == known["cifar100_C36_L20_aux"]


def test_counting_leaves_the_model_as_it_was() -> None:
    model = Network(genotypes.DARTS_V1, channels=4, layers=3)
    model.cells[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.device("meta"):
        same = Network(genotypes.DARTS_V1, channels=4, layers=3)
    assert count_macs(model, 16) == count_macs(same, 16) > 0
    assert [m.training for m in model.children()] == [True] * len(list(model.children()))
    assert not model.cells[0].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_an_ordinary_module_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )
    assert count_macs(model, 8, "conv") == 64 * 27
    assert count_macs(model, 8, "conv_linear") == 64 * 27 + 64 * 5
    assert count_macs(model, 8, "conv_linear_2bn_relu") == 64 * 27 + 64 * 5 + 2 * 64 + 64
    assert count_parameters(model) == 4 * 27 + 4 + 8 + 64 * 5 + 5


def test_unknown_rule() -> None:
    with pytest.raises(ValueError, match="conv_linear_2bn_relu; got 'flops'"):
        count_macs(nn.Linear(3, 3), 8, "flops")
