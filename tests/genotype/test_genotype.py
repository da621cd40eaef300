"""Genotypes by value and by JSON, and the derivation rules against every recorded table."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path

import known
import pytest
import torch

import sgl_fast
from sgl_fast.genotype.genotype import Genotype, count_skips, derive, drop_ops, restricted
from sgl_fast.genotype.published import genotypes, read_genotype
from sgl_fast.spaces.arch import Arch
from sgl_fast.spaces.p_darts import RULES

ANSWERS = known.FOLDER
SOFTMAX = json.loads((ANSWERS / "genotype_derivation_darts_pcdarts.json").read_text())
STAGES = json.loads((ANSWERS / "genotype_derivation_pdarts.json").read_text())
PUBLISHED = json.loads((ANSWERS / "eval_param_counts.json").read_text())
GOOD = {
    "normal": [["sep_conv_3x3", 1], ["skip_connect", 0], ["conv_7x1_1x7", 2], ["max_pool_3x3", 0]],
    "normal_concat": [2, 3],
    "reduce": [["none", 1], ["skip_connect", 0]],
    "reduce_concat": [2],
}


def arch_of(*tables: list) -> Arch:
    """An Arch of one learner from nested lists."""
    return Arch(*(torch.tensor([table], dtype=torch.float64) for table in tables))


def zeros(space: sgl_fast.Space) -> Arch:
    return Arch(*(torch.zeros(1, space.edges, space.ops_per_edge) for _ in range(2)))


@pytest.mark.parametrize("case", SOFTMAX["darts"], ids=lambda c: c["case"])
@pytest.mark.parametrize("name", ["darts", "darts_minus"])
def test_darts_rule(name: str, case: dict) -> None:
    arch = arch_of(case["alphas_normal"], case["alphas_reduce"])
    assert derive(sgl_fast.space(name), arch) == Genotype(**case["genotype"])


@pytest.mark.parametrize("index", range(len(SOFTMAX["pc_darts"])))
@pytest.mark.parametrize("name", ["pc_darts", "pc_darts_imagenet"])
def test_pc_darts_rule(name: str, index: int) -> None:
    alphas, betas = SOFTMAX["darts"][index], SOFTMAX["pc_darts"][index]
    assert alphas["case"] == betas["case"]
    tables = alphas["alphas_normal"], alphas["alphas_reduce"], betas["betas_normal"], betas["betas_reduce"]
    assert derive(sgl_fast.space(name), arch_of(*tables)) == Genotype(**betas["genotype"])


@pytest.mark.parametrize("case", STAGES, ids=lambda c: f"case{c['case']}")
def test_p_darts_stages(case: dict) -> None:
    edge_ops = None
    for stage in (1, 2, 3):
        space = sgl_fast.space("p_darts", stage=stage, edge_ops=edge_ops)
        arch = arch_of(case["stage_alphas"][stage - 1]["normal"], case["stage_alphas"][stage - 1]["reduce"])
        if stage < 3:
            edge_ops = drop_ops(space, arch, 0, RULES.drops[stage - 1])
            assert edge_ops == {kind: case[f"ops_after_stage{stage}_{kind}"] for kind in ("normal", "reduce")}
    free = derive(space, arch)
    assert free == Genotype(**case["genotype_unrestricted"])
    assert count_skips(free)["normal"] == case["skips_in_unrestricted_normal"]
    assert derive(space, arch, max_skips=2) == Genotype(**case["genotype_max2_skip"])
    found = [(budget, genotype.normal) for budget, genotype in restricted(space, arch)]
    assert found == [(entry["max_skip"], entry["normal"]) for entry in case["restricted"]]
    assert all(genotype.reduce == free.reduce for _, genotype in restricted(space, arch))


def test_ties_are_opposite_in_p_darts() -> None:
    darts, p_darts = sgl_fast.space("darts"), sgl_fast.space("p_darts")
    first = [(op, s) for op, s in derive(darts, zeros(darts)).normal]
    last = [(op, s) for op, s in derive(p_darts, zeros(p_darts)).normal]
    assert first == [("max_pool_3x3", s) for s in (0, 1, 0, 1, 0, 1, 0, 1)]
    assert last == [("dil_conv_5x5", s) for s in (0, 1, 1, 2, 2, 3, 3, 4)]


@pytest.mark.parametrize("seed", range(20))
def test_equal_alphas_in_another_order_are_a_tie(seed: int) -> None:
    """The softmax of a permuted row is the permuted softmax to the last bit, so that the lower sources win."""
    space = sgl_fast.space("darts")
    arch = zeros(space)
    generator = torch.Generator().manual_seed(seed)
    row = torch.randn(8, generator=generator, dtype=torch.float64)
    row[0] = -5
    orders = [[0, *(torch.randperm(7, generator=generator) + 1).tolist()] for _ in range(14)]
    arch.alphas_normal = torch.stack([row[order] for order in orders])[None]
    assert [source for _, source in derive(space, arch).normal] == [0, 1] * 4


def test_each_learner_has_its_own() -> None:
    space = sgl_fast.space("darts")
    arch = Arch(torch.randn(2, 14, 8), torch.randn(2, 14, 8))
    swapped = arch.rows([1, 0])
    assert derive(space, arch, 0) == derive(space, swapped, 1) != derive(space, arch, 1)


def test_skip_restriction_outside_p_darts() -> None:
    space = sgl_fast.space("darts")
    arch = zeros(space)
    arch.alphas_normal[..., 3] = torch.linspace(2, 3, 14)
    assert count_skips(derive(space, arch))["normal"] == 8
    for budget in (5, 2, 0):
        assert count_skips(derive(space, arch, max_skips=budget))["normal"] == budget
    assert derive(space, arch, max_skips=8) == derive(space, arch)


def test_drop_ops_feeds_the_next_stage_and_breaks_ties_from_below() -> None:
    space = sgl_fast.space("p_darts")
    left = drop_ops(space, zeros(space), 0, 3)
    assert left["normal"][0] == ["skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"]
    assert sgl_fast.space("p_darts", stage=2, edge_ops=left).ops_per_edge == 5
    with pytest.raises(ValueError, match="0 to 7 of 8 ops"):
        drop_ops(space, zeros(space), 0, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.alphas_normal.fill_(float("nan")), "alphas_normal of learner 0 holds NaN"),
        (lambda a: a.betas_reduce.fill_(float("inf")), "betas_reduce of learner 0 holds NaN or infinite"),
        (lambda a: setattr(a, "betas_normal", None), "no betas_normal"),
    ],
)
def test_what_cannot_be_derived(change, message: str) -> None:
    space = sgl_fast.space("pc_darts")
    arch = Arch(*zeros(space).tensors(), torch.zeros(1, 14), torch.zeros(1, 14))
    change(arch)
    with pytest.raises(ValueError, match=message):
        derive(space, arch)


def test_arguments_out_of_range() -> None:
    space = sgl_fast.space("darts")
    with pytest.raises(ValueError, match="need learner 0 to 0; got 1"):
        derive(space, zeros(space), 1)
    with pytest.raises(ValueError, match="max_skips"):
        derive(space, zeros(space), max_skips=-1)
    only = {kind: [["none"]] * 14 for kind in ("normal", "reduce")}
    space = sgl_fast.space("p_darts", stage=3, edge_ops=only)
    with pytest.raises(ValueError, match="edge 0 of the normal cell has no op but none"):
        derive(space, zeros(space))
    only = {kind: [["none", "skip_connect"]] * 14 for kind in ("normal", "reduce")}
    space = sgl_fast.space("p_darts", stage=3, edge_ops=only)
    with pytest.raises(ValueError, match="no op to put in the place of skip_connect"):
        derive(space, zeros(space), max_skips=0)


def test_value_not_container_decides_equality() -> None:
    lists, tuples = Genotype(**GOOD), Genotype(**{key: tuple(map(to_tuple, value)) for key, value in GOOD.items()})
    assert lists == tuples
    assert hash(lists) == hash(tuples)
    assert lists.normal == GOOD["normal"] and GOOD["normal"] == lists.normal
    assert (lists.normal != GOOD["normal"]) is False and (GOOD["normal"] != lists.normal) is False
    assert lists.normal == [to_tuple(entry) for entry in GOOD["normal"]]
    assert lists.normal_concat == range(2, 4) and lists.normal_concat != [2, 4]
    assert lists.normal[:1] != lists.normal
    assert lists != Genotype(**{**GOOD, "reduce_concat": [2], "reduce": [["none", 0], ["skip_connect", 0]]})


def to_tuple(entry: object) -> object:
    return tuple(entry) if isinstance(entry, list) else entry


def test_genotype_is_frozen_and_copies() -> None:
    genotype = Genotype(**GOOD)
    with pytest.raises(AttributeError):
        genotype.normal = []
    assert pickle.loads(pickle.dumps(genotype)) == copy.deepcopy(genotype) == genotype


def test_json_there_and_back() -> None:
    genotype = Genotype(**GOOD)
    assert json.loads(genotype.to_json()) == GOOD
    assert Genotype.from_json(genotype.to_json()) == genotype


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("normal", [["conv_9x9", 0], ["skip_connect", 1]], "normal cell names an unknown op 'conv_9x9'"),
        ("normal", [["skip_connect", 0], ["skip_connect", 2]], "node 0 of the normal cell needs a source from 0 to 1"),
        ("reduce", [["skip_connect", 0], ["skip_connect", -1]], "node 0 of the reduce cell"),
        ("reduce", [["skip_connect", 0], ["skip_connect", True]], "got True"),
        ("reduce", [["skip_connect", 0]], "two .* entries a node in the reduce cell; got 1 entries"),
        ("reduce", [], "got 0 entries"),
        ("normal", "skip_connect", "two .* entries"),
        ("normal", {"op": 1}, "got dict"),
        ("normal", [["skip_connect"], ["skip_connect", 1]], "at position 0 of the normal cell"),
        ("normal_concat", [2, 9], "different states from 2 to 3"),
        ("normal_concat", [2, 2], "different states"),
        ("reduce_concat", [], "reduce_concat a list"),
        ("reduce_concat", 2, "reduce_concat a list"),
    ],
)
def test_bad_genotypes_are_one_line(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Genotype.from_json(json.dumps({**GOOD, field: value}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"normal": []}', "Genotype(normal=[], normal_concat=[])"])
def test_bad_json(text: str) -> None:
    with pytest.raises(ValueError, match="genotype"):
        Genotype.from_json(text)


def test_published_names() -> None:
    assert list(genotypes)[: len(PUBLISHED["genotypes"])] == list(PUBLISHED["genotypes"])
    for name, published in PUBLISHED["genotypes"].items():
        cells = {key: published[key] for key in GOOD}
        assert genotypes[name] == genotypes[name.partition(".")[2]] == Genotype(**cells)
        for alias in PUBLISHED["aliases"].get(name, []):
            assert genotypes[alias] == genotypes[name]
    assert sgl_fast.genotypes.PC_DARTS_cifar is genotypes["pc_darts.PCDARTS"]
    assert "DARTS_V2" in genotypes and "DARTS_V9" not in genotypes and len(genotypes) == 53


def test_unknown_published_names_list_the_nearest() -> None:
    with pytest.raises(KeyError, match="unknown genotype 'DART_V2'; near it: .*DARTS_V2"):
        genotypes["DART_V2"]
    with pytest.raises(AttributeError, match="near it: .*PDARTS"):
        _ = genotypes.PDART
    with pytest.raises(KeyError, match="there are darts.NASNet"):
        genotypes["?"]
    with pytest.raises(TypeError):
        genotypes["mine"] = genotypes.DARTS_V1
    assert copy.copy(genotypes)["DARTS_V1"] == genotypes.DARTS_V1


@pytest.mark.parametrize(
    ("content", "learner", "expected"),
    [
        (GOOD, None, GOOD),
        ([GOOD], None, GOOD),
        ({"genotype": GOOD, "learner": 1}, None, GOOD),
        ({"step": 3, "genotypes": [{**GOOD, "reduce_concat": [2]}, GOOD]}, 1, GOOD),
    ],
)
def test_genotypes_from_files(tmp_path: Path, content: object, learner: int | None, expected: dict) -> None:
    path = tmp_path / "genotype.json"
    path.write_text(json.dumps(content))
    assert read_genotype(str(path), learner) == Genotype(**expected)


@pytest.mark.parametrize(
    ("content", "learner", "message"),
    [
        ("{", None, "cannot read"),
        ("3", None, "holds no genotype"),
        ('{"normal": []}', None, "need the keys normal"),
        (json.dumps([GOOD, GOOD]), None, "holds 2 genotypes, need a learner from 0 to 1"),
        (json.dumps([GOOD, GOOD]), 2, "need a learner from 0 to 1; got 2"),
        (json.dumps({**GOOD, "normal": [["magic", 0], ["magic", 1]]}), None, "unknown op 'magic'"),
    ],
)
def test_genotype_files_that_are_none(tmp_path: Path, content: str, learner: int | None, message: str) -> None:
    path = tmp_path / "genotype.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_genotype(str(path), learner)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_genotypes_by_name_or_missing_file() -> None:
    assert read_genotype("DARTS_V2") == genotypes.DARTS_V2
    with pytest.raises(ValueError, match="near it: .*DARTS_V2"):
        read_genotype("DARTS_V3")
    with pytest.raises(ValueError, match="there is no file runs/x"):
        read_genotype("runs/x")


def test_genotypes_need_no_torch() -> None:
    code = "import sys, sgl_fast.genotype.published; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
