"""Search checkpoints of eager supernets: their logits in float64, every layout, and what is no such file."""

from __future__ import annotations

import argparse
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_darts import Network as Foreign
from torch import Tensor, nn

import sgl_fast
from bench import eager
from sgl_fast import Space, Supernet, load_search_checkpoint
from sgl_fast.nets.search_checkpoint import SearchCheckpoint

OPS = [[(e + 3 * o) % 8 for o in range(3)] for e in range(5)]
SIZES: dict[str, dict[str, Any]] = {
    "darts": {"channels": 4},
    "darts_minus": {"channels": 4},
    "p_darts": {"channels": 4, "stage": 2, "edge_ops": {"normal": OPS, "reduce": OPS[::-1]}},
    "pc_darts": {"channels": 8},
    "pc_darts_imagenet": {"channels": 8},
}
SPACES = {name: sgl_fast.space(name, layers=4, nodes=2, num_classes=5, **sizes) for name, sizes in SIZES.items()}
IMAGES = torch.rand(2, 3, 32, 32, dtype=torch.float64)
LAYOUTS = ("plain", "dict", "parallel")


def trained(module: nn.Module, *alphas: nn.Module) -> nn.Module:
    """In float64, its statistics moved by a batch."""
    for one in (module, *alphas):
        for parameter in one.double().parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    module(IMAGES.flip(0), *alphas)
    return module


def made(space: Space) -> tuple[eager.Supernet, eager.Alphas]:
    alphas = eager.Alphas(space)
    return trained(eager.Supernet(space), alphas), alphas  # type: ignore[return-value]


def content(layout: str, module: nn.Module, alphas: nn.Module) -> dict[str, Any]:
    """What somebody's script hands to torch.save."""
    state, arch = module.state_dict(), alphas.state_dict()
    if layout == "plain":
        return state
    if layout == "parallel":
        return {f"module.{name}": tensor for name, tensor in {**arch, **state}.items()}
    sgd = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    sgd.step()
    args = argparse.Namespace(layers=4)
    return {"epoch": 3, "args": args, "optimizer": sgd.state_dict(), "state_dict": state, "alphas": [*arch.values()]}


def loaded(path: Path, space: Space, **options: Any) -> SearchCheckpoint:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_search_checkpoint(path, space, **options)


def logits(net: Supernet, found: SearchCheckpoint, arch: sgl_fast.Arch, training: bool) -> Tensor:
    assert found.running is not None and found.weights.dtype == torch.float64
    return net(found.weights, arch, IMAGES, training, found.running, backend="reference")


@pytest.mark.parametrize("name", SPACES)
def test_logits_of_the_eager_supernet(name: str, tmp_path: Path) -> None:
    """Every layout has the same weights, statistics and, but for a plain state_dict, architecture."""
    torch.manual_seed(0)
    space, path = SPACES[name], tmp_path / "weights.pt"
    module, alphas = made(space)
    found = {}
    for layout in LAYOUTS:
        torch.save(content(layout, module, alphas), path)
        found[layout] = loaded(path, space)
    arch = sgl_fast.Arch(*(tensor.detach()[None] for tensor in alphas.parameters()))
    plain = found.pop("plain")
    assert plain.arch is None and set(plain.missing) == {name for name, _ in alphas.named_parameters()}
    for other in found.values():
        assert (
            other.missing == () and other.arch is not None and other.running is not None and plain.running is not None
        )
        pairs = zip(other.arch.tensors(), arch.tensors(), strict=True)
        equal = [*pairs, (other.weights, plain.weights), (other.running.mean, plain.running.mean)]
        assert all(torch.equal(a, b) for a, b in [*equal, (other.running.var, plain.running.var)])
    for training in (False, True):
        want = module.train(training)(IMAGES, alphas)
        got = logits(Supernet(space), plain, arch, training)[0]
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_logits_of_a_supernet_as_it_is_usually_written(k: int, tmp_path: Path) -> None:
    """Its own names and its own forward, two learners; a file of old versions of PyTorch, too."""
    torch.manual_seed(1)
    nets = [trained(Foreign(C=4 * k, k=k)) for _ in range(2)]
    space = sgl_fast.space("pc_darts" if k == 4 else "darts", channels=4 * k, layers=3, nodes=2, num_classes=5)
    if k == 2:
        space = Space("pc_darts", 8, 3, 2, 5, space.ops_normal, space.ops_reduce, partial=2, edge_norm=True)
    paths = [tmp_path / f"{i}.pt" for i in range(2)]
    for path, net in zip(paths, nets, strict=True):
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=path.name == "0.pt")
    found = load_search_checkpoint(paths, space)
    assert found.missing == () and found.arch is not None
    got = logits(Supernet(space), found, found.arch, False)
    want = torch.stack([net.eval()(IMAGES) for net in nets])
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    derived = sgl_fast.derive(space, found.arch, learner=1)
    assert sgl_fast.Genotype.from_text(f"genotype = {derived}") == derived


def test_names_tell_places_whatever_the_order(tmp_path: Path) -> None:
    """Extra skips registered before the candidates, candidates backwards, lists of other names; parameters alone."""
    space, path = SPACES["darts_minus"], tmp_path / "weights.pt"
    module, _ = made(space)
    state = module.state_dict()
    torch.save(state, path)
    want = loaded(path, space)
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        other = name.replace("edges", "_ops").replace(".ops.", ".m_ops.").replace("aux_skip", "auxiliary_op")
        depth = 5 if "aux" in name else 6 if "edges" in name else 3 if "preprocess" in name else 1
        groups.setdefault(".".join(name.split(".")[:depth]), {})[f"_orig_mod.module.{other}"] = tensor
    torch.save({name: tensor for group in [*groups.values()][::-1] for name, tensor in group.items()}, path)
    found = loaded(path, space)
    assert torch.equal(found.weights, want.weights) and found.running is not None and want.running is not None
    assert torch.equal(found.running.mean, want.running.mean) and torch.equal(found.running.var, want.running.var)
    torch.save(dict(module.named_parameters()), path)
    bare = loaded(path, space)
    assert torch.equal(bare.weights, want.weights) and bare.running is None
    assert bare.missing == ("alphas_normal", "alphas_reduce", "running statistics")


def test_edges_and_architectures_by_node(tmp_path: Path) -> None:
    space = SPACES["darts"]
    module, alphas = made(space)
    names = [f"dag.{node}.{source}" for node in range(2) for source in range(node + 2)]
    state = {
        re.sub(r"edges\.(\d+)\.ops", lambda m: f"{names[int(m[1])]}._ops", f"net.{name}").replace("ess", ""): tensor
        for name, tensor in module.state_dict().items()
    }
    pieces = {f"{name.replace('s_', '_')}": t.data.split([2, 3]) for name, t in alphas.named_parameters()}
    by_node = {f"{name}.{node}": piece for name, parts in pieces.items() for node, piece in enumerate(parts)}
    assert "net.cells.0.dag.1.2._ops.4.1.weight" in state and "net.cells.0.preproc0.1.weight" in state
    torch.save({**by_node, **state}, tmp_path / "node.pt")
    torch.save({"state_dict": module.state_dict(), "alphas": [*alphas.parameters()]}, tmp_path / "edge.pt")
    found, want = (load_search_checkpoint(tmp_path / name, space) for name in ("node.pt", "edge.pt"))
    assert found.arch is not None and want.arch is not None and torch.equal(found.weights, want.weights)
    assert all(torch.equal(a, b) for a, b in zip(found.arch.tensors(), want.arch.tensors(), strict=True))
    state["net.cells.0.dag.0.2._ops.4.1.weight"] = state["net.cells.0.dag.0.1._ops.4.1.weight"]
    torch.save(state, tmp_path / "node.pt")
    with pytest.raises(ValueError, match=r"it has cells.0.dag.0.2._ops.4.1.weight; the space has 5 edges"):
        loaded(tmp_path / "node.pt", space)
    torch.save(
        {"state_dict": module.state_dict(), "alpha_normal.0": torch.rand(2, 8), "alpha_normal.1": torch.rand(3)},
        tmp_path / "node.pt",
    )
    with pytest.raises(ValueError, match=r"need alphas_normal \(5, 8\) of finite numbers; got \(2, 8\)"):
        loaded(tmp_path / "node.pt", space)


ARCH = {"alphas_normal": torch.rand(5, 8), "alphas_reduce": torch.rand(5, 8)}
BETAS = {"betas_normal": torch.rand(5), "betas_reduce": torch.rand(5)}


@pytest.mark.parametrize(
    "beside",
    [
        {**ARCH, **BETAS},
        {"within": {**ARCH, **BETAS}},
        {name.replace("s_", "_"): tensor for name, tensor in {**ARCH, **BETAS}.items()},
        {"arch_parameters": [*ARCH.values(), *BETAS.values()]},
        {"alphas": ARCH, "betas": tuple(BETAS.values())},
        {"alphas": {"normal": ARCH["alphas_normal"], "reduce": ARCH["alphas_reduce"]}, "betas": BETAS},
    ],
    ids=["named", "within", "alpha_", "list", "alphas and betas", "by cell"],
)
def test_architectures_beside_a_state_dict(beside: dict[str, Any], tmp_path: Path) -> None:
    module, _ = made(SPACES["pc_darts"])
    state = module.float().state_dict() | {
        f"module.{name}": tensor for name, tensor in beside.get("within", {}).items()
    }
    torch.save({"state_dict": state, **beside}, tmp_path / "c.pt")
    found = load_search_checkpoint(tmp_path / "c.pt", SPACES["pc_darts"])
    assert found.arch is not None and found.weights.dtype == torch.float32
    for name, tensor in {**ARCH, **BETAS}.items():
        assert torch.equal(getattr(found.arch, name)[0], tensor)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    module, alphas = made(SPACES["pc_darts"])
    torch.save({"model": module.state_dict(), "alphas": [t.data for t in alphas.parameters()][:2]}, tmp_path / "c.pt")
    with pytest.warns(UserWarning, match=r"c.pt: no betas_normal, betas_reduce$") as caught:
        found = load_search_checkpoint(tmp_path / "c.pt", SPACES["pc_darts"])
    assert found.arch is None and caught[0].filename == __file__


GOOD = eager.Supernet(SPACES["darts"]).state_dict()
FIRST, STEM = "cells.0.edges.0.ops.4.1.weight", "stem.1.weight"
DARTS = SPACES["darts"]


def space_of(**sizes: Any) -> Space:
    return sgl_fast.space("darts", **{"channels": 4, "layers": 4, "nodes": 2, "num_classes": 5, **sizes})


@pytest.mark.parametrize(
    ("content", "space", "says"),
    [
        ([1, 2], DARTS, "need a state_dict, or a dict that holds one; got a list"),
        ({"epoch": 3}, DARTS, "need one state_dict, or its key as network; got none"),
        ({"a": GOOD, "b": GOOD}, DARTS, "need one state_dict, or its key as network; got a, b"),
        (GOOD, space_of(layers=5), r"need 5 cells \(layers\); got 4"),
        (GOOD, space_of(channels=8), r"need stem.conv.weight \(24, 3, 3, 3\); got stem.0.weight \(12, 3, 3, 3\)"),
        (GOOD, space_of(num_classes=7), r"need classifier.weight \(7, 32\); got classifier.weight \(5, 32\)"),
        (GOOD, space_of(nodes=3), r"need 4 tensors of cells.0.edges.5.sep_conv_3x3.*; got none"),
        (GOOD, space_of(nodes=1), "it has cells.0.edges.2.ops.1.1.running_mean; the space has 2 edges of 8 operations"),
        (GOOD, space_of(ops=list(range(7))), "it has .*.ops.7.1.weight; the space has 5 edges of 7 operations"),
        (
            GOOD,
            space_of(ops=[0, 1, 2, 3, 4, 5, 7, 6]),
            r"need cells.0.edges.0.dil_conv_5x5.*\(4, 1, 5, 5\); got .*3, 3",
        ),
        (GOOD, space_of(ops=[0, 1, 2, 3, 6, 5, 4, 7]), "need 2 tensors of cells.0.edges.0.dil_conv_3x3: .*; got .*, "),
        (GOOD, SPACES["darts_minus"], "need 2 tensors of cells.1.edges.0.aux_skip: .*; got none"),
        ({**GOOD, "ema.weight": GOOD[STEM]}, DARTS, "it has ema.weight, which the space has not"),
        ({**GOOD, f"module.{STEM}": GOOD[STEM]}, DARTS, f"it has two tensors {STEM}, one of them as module.{STEM}"),
        ({**GOOD, STEM: GOOD[STEM] * torch.nan}, DARTS, f"need {STEM} a dense tensor of finite"),
        ({**GOOD, STEM: GOOD[STEM].long()}, DARTS, f"need {STEM} a dense tensor of finite"),
        (
            {k: v for k, v in GOOD.items() if k != FIRST},
            DARTS,
            "need 4 tensors of cells.0.edges.0.sep_conv_3x3: .*; got",
        ),
        (dict(reversed(GOOD.items())), DARTS, "need stem.conv.weight .*; got stem.1"),
        (dict(sorted(GOOD.items())), DARTS, r"need stem.norm.weight \(12,\); got stem.1.bias \(12,\)"),
        (
            {"state_dict": GOOD, "alphas": [torch.rand(5, 7)] * 2},
            DARTS,
            r"need alphas_normal \(5, 8\) .*; got \(5, 7\)",
        ),
        ({"state_dict": GOOD, "alphas": ["a", "b"]}, DARTS, r"need alphas_normal \(5, 8\) of finite numbers; got str"),
    ],
)
def test_files_that_do_not_fit_are_one_line(content: Any, space: Space, says: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(ValueError, match=f"c.pt: {says}") as caught:
        loaded(tmp_path / "c.pt", space)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    torch.save(GOOD, tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:5000])
    (tmp_path / "text.pt").write_text("Genotype(normal=[])\nnormal")
    (tmp_path / "empty.pt").touch()
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    for name in ("cut", "text", "empty", "module"):
        with pytest.raises(ValueError, match=f"cannot read .*{name}.pt: ") as caught:
            loaded(tmp_path / f"{name}.pt", DARTS)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert "it holds a torch.nn.modules.linear.Linear; need tensors alone" in str(caught.value)
    for path in (tmp_path, tmp_path / "none.pt"):
        with pytest.raises(ValueError, match="there is no file"):
            loaded(path, DARTS)
    with pytest.raises(ValueError, match="need a file, or one for each learner; got none"):
        load_search_checkpoint([], DARTS)
    torch.save({"model": GOOD, "model1": {k: v + 1 for k, v in GOOD.items()}}, tmp_path / "two.pt")
    one, other = (loaded(tmp_path / "two.pt", DARTS, network=key) for key in ("model", "model1"))
    torch.testing.assert_close(other.weights, one.weights + 1)
    with pytest.raises(ValueError, match="need one state_dict model2; got none"):
        loaded(tmp_path / "two.pt", DARTS, network="model2")
