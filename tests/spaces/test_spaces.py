"""The search spaces: sizes, errors, edge operations, schedules."""

from __future__ import annotations

from typing import Any

import known
import pytest

from sgl_fast.spaces import KINDS, PRIMITIVES, SPACES, edges_of, num_edges, space
from sgl_fast.spaces.darts_minus import DECAYS, skip_beta
from sgl_fast.spaces.p_darts import skip_dropout

SCHEDULES = known.load("schedules")


@pytest.mark.parametrize("nodes", range(1, 7))
def test_edges_are_numbered_node_by_node(nodes: int) -> None:
    """Node i has i + 2 sources: two inputs and the nodes before it."""
    assert [e for node in range(nodes) for e in edges_of(node)] == list(range(num_edges(nodes)))
    assert [len(edges_of(node)) for node in range(nodes)] == list(range(2, nodes + 2))


@pytest.mark.parametrize("name", SPACES)
def test_every_space_takes_the_sizes(name: str) -> None:
    made = space(name, channels=8, layers=5, nodes=3, num_classes=7)
    assert (made.name, made.channels, made.layers, made.nodes, made.num_classes) == (name, 8, 5, 3, 7)
    assert made.edges == 9 and made.ops_per_edge == 8
    assert made.ops("normal") == made.ops("reduce") == (PRIMITIVES,) * 9


@pytest.mark.parametrize(
    "name, partial, edge_norm, aux_skip, imagenet",
    [
        ("darts", 1, False, False, False),
        ("darts_minus", 1, False, True, False),
        ("p_darts", 1, False, False, False),
        ("pc_darts", 4, True, False, False),
        ("pc_darts_imagenet", 2, True, False, True),
    ],
)
def test_what_sets_each_space_apart(name: str, partial: int, edge_norm: bool, aux_skip: bool, imagenet: bool) -> None:
    made = space(name)
    assert (made.partial, made.edge_norm, made.aux_skip, made.imagenet) == (partial, edge_norm, aux_skip, imagenet)
    assert made.channels == 16 and made.nodes == 4
    assert made.layers == (5 if name == "p_darts" else 8)
    assert made.num_classes == (1000 if imagenet else 10)


@pytest.mark.parametrize(
    "layers, cells", [(1, {0}), (2, {0, 1}), (3, {1, 2}), (4, {1, 2}), (5, {1, 3}), (8, {2, 5}), (20, {6, 13})]
)
def test_reductions_at_a_third_and_two_thirds(layers: int, cells: set[int]) -> None:
    assert space("darts", layers=layers).reductions == cells


def rule(count: int, edges: int = 14) -> dict[str, list[list[int]]]:
    return {kind: [[(e + 3 * j) % 8 for j in range(count)] for e in range(edges)] for kind in KINDS}


@pytest.mark.parametrize("stage, layers", [(1, 5), (2, 11), (3, 17)])
def test_stages_set_the_default_depth(stage: int, layers: int) -> None:
    made = space("p_darts", stage=stage, edge_ops=rule(3))
    assert (made.stage, made.layers, made.ops_per_edge) == (stage, layers, 3)
    assert space("p_darts", stage=stage, edge_ops=rule(3), layers=4).layers == 4


def test_edge_ops_by_index_and_by_name_in_canonical_order() -> None:
    by_index = space("p_darts", edge_ops={"normal": [[7, 0], [3, 1]], "reduce": [[4, 5], [6, 2]]}, nodes=1)
    names = {
        "normal": [["dil_conv_5x5", "none"], ["skip_connect", "max_pool_3x3"]],
        "reduce": [["sep_conv_3x3", 5], ["avg_pool_3x3", "dil_conv_3x3"]],
    }
    assert by_index == space("p_darts", edge_ops=names, nodes=1)
    assert by_index.ops("normal") == (("none", "dil_conv_5x5"), ("max_pool_3x3", "skip_connect"))
    assert by_index.ops("reduce") == (("sep_conv_3x3", "sep_conv_5x5"), ("avg_pool_3x3", "dil_conv_3x3"))


def edge_ops(normal: Any, reduce: Any = ((0, 1), (2, 3))) -> dict[str, Any]:
    return {"nodes": 1, "edge_ops": {"normal": normal, "reduce": reduce}}


@pytest.mark.parametrize(
    "name, sizes, says",
    [
        ("dart", {}, "unknown space 'dart'; the spaces are darts, darts_minus, p_darts, pc_darts, pc_darts_imagenet"),
        ("darts", {"width": 3}, "takes channels, layers, nodes, num_classes, ops, edge_ops; got width"),
        ("darts", {"stage": 2}, "takes channels, layers, nodes, num_classes, ops, edge_ops; got stage"),
        ("p_darts", {"width": 3}, "takes channels, layers, nodes, num_classes, stage, ops, edge_ops; got width"),
        ("darts", {"channels": 0}, "need channels a whole number of at least 1; got 0"),
        ("darts", {"layers": -1}, "need layers a whole number of at least 1; got -1"),
        ("darts", {"nodes": 2.0}, "need nodes a whole number of at least 1; got 2.0"),
        ("p_darts", {"nodes": "4"}, "need nodes a whole number of at least 1; got '4'"),
        ("darts", {"num_classes": True}, "need num_classes a whole number of at least 1; got True"),
        ("pc_darts", {"channels": 6}, r"need channels divisible by 4 \(4, 8, ...\); got 6"),
        ("pc_darts_imagenet", {"channels": 5}, r"need channels divisible by 2 \(2, 4, ...\); got 5"),
        ("p_darts", {"stage": 4}, "need stage 1, 2 or 3; got 4"),
        ("p_darts", {"stage": 2}, "stage 2 of p_darts needs edge_ops"),
        ("p_darts", {"edge_ops": [[0]]}, "need edge_ops with the keys normal and reduce"),
        ("p_darts", {"edge_ops": {"normal": [[0]]}}, "need edge_ops with the keys normal and reduce"),
        ("p_darts", edge_ops([[0, 1]]), r"need ops for 2 edges of the normal cell \(1 nodes\); got 1"),
        ("p_darts", edge_ops([[0, 1], [2]]), r"the same number of ops, .* of the normal cell; got \[2, 1\]"),
        ("p_darts", edge_ops([[], []]), r"at least one, on every edge of the normal cell; got \[0, 0\]"),
        ("p_darts", edge_ops([[0], [1]]), "as many ops an edge in the reduction cell as in the normal cell"),
        ("p_darts", edge_ops([[0, 1], [2, 2]]), "edge 1 of the normal cell names an op twice"),
        ("p_darts", edge_ops([[0, 1], [2, 99]]), "edge 1 of the normal cell names an unknown op 99"),
        ("p_darts", edge_ops([[0, 1], [2, "zero"]]), "edge 1 of the normal cell names an unknown op 'zero'"),
        ("p_darts", edge_ops([[0, 1], [2, True]]), "edge 1 of the normal cell names an unknown op True"),
        ("p_darts", edge_ops([[0, 1], "none"]), "edge 1 of the normal cell needs a list of ops; got 'none'"),
        ("p_darts", edge_ops([[0, 1], 5]), "edge 1 of the normal cell needs a list of ops; got 5"),
        ("p_darts", edge_ops(5), "need a list of ops for each edge of the normal cell; got 5"),
    ],
)
def test_errors_name_what_is_wrong_in_one_line(name: str, sizes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        space(name, **sizes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, layers, good, bad",
    [
        ("darts", 8, [4, 32, 36], [2, 30, 31]),
        ("darts", 1, [2, 6], [1, 7]),
        ("pc_darts_imagenet", 8, [32, 64, 224], [8, 48, 240]),
    ],
)
def test_image_sizes_that_reductions_can_halve(name: str, layers: int, good: list[int], bad: list[int]) -> None:
    made = space(name, layers=layers)
    for side in good:
        made.check_images(side, good[0])
    for side in bad:
        for sizes in ((good[0], side), (side, good[0])):
            with pytest.raises(ValueError, match=f"{name} with {layers} layers cannot take images of {side} pixels"):
                made.check_images(*sizes)


BETAS = {
    **{decay: {"decay": decay} for decay in DECAYS},
    "linear_base0.7": {"decay": "linear", "base": 0.7},
    "linear_start10_stop40": {"decay": "linear", "start": 10, "stop": 40},
    "cosine_start10_stop40": {"decay": "cosine", "start": 10, "stop": 40},
}


def test_every_known_schedule_of_the_auxiliary_skip_is_checked() -> None:
    assert set(BETAS) == set(SCHEDULES["darts_minus_beta"])


@pytest.mark.parametrize("name", BETAS)
def test_beta_of_the_auxiliary_skip(name: str) -> None:
    got = [skip_beta(epoch, 50, **BETAS[name]) for epoch in range(50)]
    assert got == pytest.approx(SCHEDULES["darts_minus_beta"][name], rel=1e-12, abs=1e-15)


def test_unknown_decay_is_an_error() -> None:
    with pytest.raises(ValueError, match="need decay one of linear, cosine, slow_cosine, none; got 'exp'"):
        skip_beta(0, 50, decay="exp")


@pytest.mark.parametrize("name", SCHEDULES["p_darts_skip_dropout"])
def test_dropout_of_the_skips(name: str) -> None:
    rate = float(name.rpartition("rate")[2])
    got = [skip_dropout(epoch, 25, rate) for epoch in range(25)]
    assert got == pytest.approx(SCHEDULES["p_darts_skip_dropout"][name], rel=1e-12)
