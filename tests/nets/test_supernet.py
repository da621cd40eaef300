"""The whole supernet against the known answers: logits, gradients, statistics, sizes."""

from __future__ import annotations

from typing import Any

import known
import pytest
import torch
import torch.nn.functional as F
from networks import F64, both, small
from torch import Tensor

from sgl_fast.nets.supernet import Supernet
from sgl_fast.spaces import SPACES, Space, space

TINY = known.load("supernets_tiny")
COUNTS = known.load("search_param_counts")
DROPPED = ("darts_minus_s1", "darts_minus_s2", "darts_minus_s3", "darts_minus_s4")  # spaces that are not offered


def space_of(answer: dict[str, Any]) -> Space:
    ops = {"edge_ops": both(answer["edge_ops"])} if "edge_ops" in answer else {}
    sizes = {"channels": answer["C"], "layers": answer["layers"], "num_classes": answer["num_classes"]}
    return space(answer["space"], **sizes, **ops)


def name_of(answer: dict[str, Any]) -> str:
    return "-".join(str(answer[key]) for key in ("space", "K", "beta") if key in answer)


class Known:
    """A tiny net of the known answers with its inputs."""

    def __init__(self, answer: dict[str, Any], dtype: torch.dtype = F64) -> None:
        self.answer = answer
        self.net = Supernet(space_of(answer))
        self.weights = known.weights(self.net.layout, dtype)[None].requires_grad_()
        self.arch = known.arch(self.net.space, dtype).map(lambda t: t.requires_grad_())
        self.images = known.u(tuple(answer["input_shape"]), known.X, dtype)

    def __call__(self, **options: Any) -> Tensor:
        return self.net(self.weights, self.arch, self.images, skip_beta=self.answer.get("beta", 1.0), **options)[0]

    def loss(self) -> Tensor:
        return F.cross_entropy(self(), torch.tensor(self.answer["labels"]))


@pytest.fixture(params=TINY, ids=name_of)
def tiny(request: pytest.FixtureRequest) -> Known:
    return Known(request.param)


def test_known_logits(tiny: Known) -> None:
    logits = tiny().detach()
    known.close(logits[:, :10], tiny.answer["logits_train"])
    stat = tiny.answer["logits_train_stat"]
    assert logits.sum().item() == pytest.approx(stat["sum"], abs=1e-9 * stat["abs_sum"])
    known.close(logits.abs().sum(), stat["abs_sum"])
    known.close(logits.square().sum(), stat["sumsq"])
    known.close(tiny.loss().detach(), tiny.answer["loss_train"])


def test_known_weight_gradients(tiny: Known) -> None:
    answer, net = tiny.answer, tiny.net
    assert len(net.layout) == answer["n_param_tensors"] and net.num_weights == answer["n_params"]
    tiny.loss().backward()
    assert tiny.weights.grad is not None
    grads = [tiny.weights.grad[0, e.offset : e.offset + e.size] for e in net.layout]
    for entry, grad, want in zip(net.layout, grads, answer["weight_grad_sumsq_by_param_index"], strict=True):
        assert grad.square().sum().item() == pytest.approx(want, rel=1e-8, abs=1e-14), entry.name
    known.close(tiny.weights.grad.square().sum(), answer["weight_grad_sumsq_total"])
    known.close(grads[0][:8], answer["weight_grad_stem_conv_first"])
    known.close(grads[-1][:10], answer["weight_grad_classifier_bias"])


def test_known_architecture_gradients(tiny: Known) -> None:
    tiny.loss().backward()
    names = ["dalpha_normal", "dalpha_reduce", *(["dbeta_normal", "dbeta_reduce"] if tiny.net.space.edge_norm else [])]
    for tensor, name in zip(tiny.arch.tensors(), names, strict=True):
        assert tensor.grad is not None
        known.close(tensor.grad[0], tiny.answer[name])


def test_known_evaluation_before_and_after_one_training_pass(tiny: Known) -> None:
    """pc_darts_imagenet: the published code runs each mixed op twice a pass, so its statistics move twice; not ours."""
    running = tiny.net.init_running(1, F64)
    known.close(tiny(training=False, running=running)[:, :10].detach(), tiny.answer["logits_eval_fresh_bn"])
    assert torch.equal(running.mean, torch.zeros_like(running.mean))
    known.close(tiny(running=running)[:, :10].detach(), tiny.answer["logits_train"])
    for got, name in ((running.mean, "running_mean"), (running.var, "running_var")):
        known.close(got[0, :8], tiny.answer["bn_after_one_train_first"][name])
    if not tiny.net.space.imagenet:
        after = tiny(training=False, running=running)
        known.close(after[:, :10].detach(), tiny.answer["logits_eval_after_one_train"])


@pytest.mark.parametrize("answer", TINY, ids=name_of)
def test_float32_deviates_as_little_as_the_published_code(answer: dict[str, Any]) -> None:
    single = Known(answer, torch.float32)
    single.loss().backward()
    logits = single()[:, :10].detach().double()
    assert (logits - torch.tensor(answer["logits_train"], dtype=F64)).abs().max() < 10 * answer["fp32_logits_maxabsdev"]
    for tensor, name in zip(single.arch.tensors(), ("dalpha_normal", "dalpha_reduce"), strict=False):
        assert tensor.grad is not None and tensor.grad.dtype == torch.float32
        deviation = tensor.grad[0].double() - torch.tensor(answer[name], dtype=F64)
        assert deviation.abs().max() < 10 * answer["fp32_dalpha_maxabsdev"]


def space_named(name: str) -> Space:
    """The space that an entry of search_param_counts.json was counted on."""
    family, _, rest = name.partition("_C16_L")
    sizes: dict[str, Any] = {
        "layers": int(rest.split("_")[0]),
        "num_classes": int(rest.partition("classes")[2].split("_")[0]),
    }
    if name.endswith("auxnone"):
        return space("darts", **sizes)  # DARTS- with its auxiliary skips off
    if family.startswith("darts_minus"):
        return space("darts_minus", **sizes)
    if not family.startswith("p_darts"):
        return space(family.removesuffix("_cifar"), **sizes)
    stage = int(family[len("p_darts_stage")])
    if stage == 1:
        return space("p_darts", **sizes)
    if rest.endswith("rule_switches"):
        ops = COUNTS["p_darts_rule_switches"][f"stage{stage}_ops_by_edge"]
    else:
        bounds = {"all4conv_plus_none": [0, 4, 5, 6, 7], "sep3_sep5_dil5": [4, 5, 7], "pool_pool_none": [0, 1, 2]}
        ops = [bounds[family[len("p_darts_stage2_") :]]] * 14
    return space("p_darts", stage=stage, edge_ops=both(ops), **sizes)


COVERED = [name for name in COUNTS["nets"] if not name.startswith(DROPPED)]


def test_counts_cover_all_but_the_reduced_spaces() -> None:
    assert sorted(set(COUNTS["nets"]) - set(COVERED)) == [f"{name}_C16_L8_classes10_auxskip" for name in DROPPED]


@pytest.mark.parametrize("name", COVERED)
def test_known_counts_of_published_sizes(name: str) -> None:
    answer, net = COUNTS["nets"][name], Supernet(space_named(name))
    assert net.num_weights == answer["weight_params"]
    assert len(net.layout) == answer["param_tensors"]
    assert sum(len(e.shape) == 4 for e in net.layout) == answer["conv_layers"]
    assert sum(len(s.norms) for s in net.sections.sections) == answer["batchnorm_layers"]
    parts: dict[str, int] = dict.fromkeys(answer["parts"], 0)
    for entry in net.layout:
        parts[".".join(entry.name.split(".")[: 2 if entry.name.startswith("cells") else 1])] += entry.size
    assert parts == answer["parts"]
    assert [list(t.shape[1:]) for t in net.init_arch(1).tensors()] == answer["arch_param_shapes"]
    assert net.layout[-2].shape[1] == answer["classifier_in"]


@pytest.mark.parametrize("name", SPACES)
def test_layout_is_contiguous_and_named(name: str) -> None:
    net = small(name)
    end = 0
    for entry in net.layout:
        assert entry.offset == end and entry.name.endswith((".weight", ".bias"))
        end += entry.size
    assert end == net.num_weights
    assert len({e.name for e in net.layout}) == len(net.layout)
