"""Networks of genotypes among timm's models: the same networks, and what timm asks of a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import timm.optim
import torch
from toys import CHEAP, TINY, toy_images

from sgl_fast import Network, genotypes
from sgl_fast.genotype.sources import source_of
from sgl_fast.nets.counting import count_parameters
from sgl_fast.run.recipe import Recipe
from sgl_fast.run.retrain import Retraining
from sgl_fast.run.weights import WEIGHTS, load_network, save_network
from sgl_fast.timm_models import TimmNetwork, model_name

SMALL = {"channels": 4, "layers": 6}


def test_every_published_genotype_is_a_model_of_its_papers_size() -> None:
    names = {name: model_name(name) for name in genotypes}
    assert {*names.values(), "sgl_network", "sgl_trained"} == set(timm.list_models(module="timm_models"))
    for full in ("darts.NASNet", "darts.AmoebaNet", "pc_darts.PC_DARTS_image", "gdas.GDAS_V1"):
        name = names[full]
        with torch.device("meta"):
            model = timm.create_model(name)
            other = Network(genotypes[full], source_of(full).imagenet_channels, 14, 1000, False, True)
        assert count_parameters(model) == count_parameters(other), full
        assert model.pretrained_cfg["input_size"] == (3, 224, 224) and model.pretrained_cfg["architecture"] == name


@pytest.mark.parametrize("imagenet", [True, False])
def test_it_is_the_same_network(imagenet: bool) -> None:
    """With an auxiliary head left out: weights of one are the other's."""
    model = timm.create_model("pdarts", imagenet=imagenet, num_classes=7, **SMALL).eval()
    network = Network(genotypes.PDARTS, **SMALL, num_classes=7, auxiliary=False, imagenet=imagenet).eval()
    network.load_state_dict(model.state_dict())
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(model(x), network(x))
    assert model.pretrained_cfg["input_size"][1] == (224 if imagenet else 32)


@pytest.mark.parametrize(("imagenet", "strides"), [(True, [8, 16, 32]), (False, [1, 2, 4])])
def test_features_have_their_strides(imagenet: bool, strides: list[int]) -> None:
    model = timm.create_model("darts_v2", features_only=True, imagenet=imagenet, **SMALL).eval()
    images = torch.rand(1, 3, 64, 64)
    found = model(images)
    assert model.feature_info.reduction() == strides == [64 // x.shape[-1] for x in found]
    assert model.feature_info.channels() == [x.shape[1] for x in found] == [16, 32, 64]
    inner = model.model
    last, (middle,) = inner.forward_intermediates(images, indices=[1])
    assert torch.equal(middle, found[1]) and torch.equal(last, found[2])
    assert len(inner.forward_intermediates(images, indices=2, intermediates_only=True)) == 2
    with pytest.raises(ValueError, match="need output_fmt NCHW; got NLC"):
        inner.forward_intermediates(images, output_fmt="NLC")


def test_a_classifier_is_changed_and_left_out() -> None:
    model = timm.create_model("darts_v2", imagenet=False, num_classes=0, **SMALL).double()
    x = torch.rand(2, 3, 16, 16).double()
    assert model(x).shape == (2, model.num_features) and model.get_classifier() is model.classifier
    model.reset_classifier(5)
    assert model(x).shape == (2, 5) and model.num_classes == 5
    assert torch.equal(model.eval().forward_head(model.forward_features(x), pre_logits=True) @ model.classifier.weight.T
                       + model.classifier.bias, model(x))  # fmt: skip


def test_drop_path_and_dropout_act_in_training_alone() -> None:
    x = torch.rand(4, 3, 16, 16)
    for rate in ("drop_path_rate", "drop_rate"):
        model = timm.create_model("darts_v2", imagenet=False, **SMALL, **{rate: 0.5})
        with torch.no_grad():
            assert not torch.equal(model(x), model(x))
            model.eval()
            assert torch.equal(model(x), model(x))
    with pytest.raises(ValueError, match="need in_chans 3 and global_pool avg; got 1 and avg"):
        timm.create_model("darts_v2", in_chans=1)


def test_timms_optimisers_take_it() -> None:
    """Rates that fall from layer to layer: a group of the stem, one for each cell, and one for the rest."""
    model = timm.create_model("darts_v2", imagenet=False, **SMALL)
    optimizer = timm.optim.create_optimizer_v2(model, "sgd", lr=0.1, weight_decay=1e-3, layer_decay=0.5)
    scales = {group["lr_scale"] for group in optimizer.param_groups}
    assert scales == {0.5**depth for depth in range(8)}
    before = model.classifier.weight.clone()
    torch.nn.functional.cross_entropy(model(torch.rand(4, 3, 16, 16)), torch.arange(4)).backward()
    optimizer.step()
    assert not torch.equal(model.classifier.weight, before)


def test_own_genotypes_and_trained_networks(tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text(CHEAP.to_json())
    for said in (CHEAP, str(CHEAP), tmp_path, tmp_path / "best.json"):
        model = timm.create_model("sgl_network", genotype=said, **SMALL)
        assert isinstance(model, TimmNetwork) and len(model.cells[0].ops) == 2
    run = Retraining(CHEAP, toy_images(), Recipe(**TINY))
    run.network(torch.rand(4, 3, 16, 16))  # moves the statistics
    save_network(tmp_path / WEIGHTS, run.network.state_dict(), run.about())
    x = torch.rand(2, 3, 16, 16)
    trained = timm.create_model("sgl_trained", run=tmp_path)
    assert torch.equal(trained(x), load_network(tmp_path)(x))
    assert trained.pretrained_cfg["std"] == (0.25,) * 3 and trained.pretrained_cfg["input_size"] == (3, 16, 16)
    other = timm.create_model("sgl_trained", run=tmp_path, num_classes=9)
    assert other(x).shape == (2, 9) and torch.equal(other.forward_features(x), trained.forward_features(x))
    features = timm.create_model("sgl_trained", run=tmp_path, features_only=True, out_indices=(0, 1))
    assert torch.equal(features(x)[1], trained.forward_features(x))


@pytest.mark.parametrize(("name", "what"), [("sgl_network", "genotype=..."), ("sgl_trained", "run=...")])
def test_what_is_missing_is_said(name: str, what: str) -> None:
    with pytest.raises(ValueError, match=f"{name} needs {what}"):
        timm.create_model(name)
