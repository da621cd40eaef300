"""Genotypes in the forms of other projects: NNI's names and exported choices, triples of both ends."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import sgl_fast
from sgl_fast import evaluate
from sgl_fast.genotype.baseline import random_genotype
from sgl_fast.genotype.elsewhere import EVAL_OPS, op_named
from sgl_fast.genotype.genotype import KINDS, Genotype
from sgl_fast.genotype.published import read_genotype

NNI = ["maxpool", "avgpool", "skipconnect", "sepconv3x3", "sepconv5x5", "dilconv3x3", "dilconv5x5", "none"]
OURS = ["max_pool_3x3", "avg_pool_3x3", "skip_connect"]
OURS += ["sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "none"]


def bare(op: str) -> str:
    """As NNI spells it."""
    return NNI[OURS.index(op)]


def exported(genotype: Genotype, form: str) -> dict[str, object]:
    """The choices that NNI would export for a genotype whose output is of all nodes."""
    found: dict[str, object] = {"width": 16} if form == "hub" else {}
    for kind in KINDS:
        cell = getattr(genotype, kind)
        for node in range(len(cell) // 2):
            state, pair = node + 2, cell[2 * node : 2 * node + 2]
            if form == "hub":
                found |= {f"{kind}/op_{state}_{i}": op for i, (op, _) in enumerate(pair)}
                found |= {f"{kind}/input_{state}_{i}": [s] if i else s for i, (_, s) in enumerate(pair)}
                continue
            ops = {source: bare(op) for op, source in pair}
            left_out = "maxpool" if form == "switched" else []
            found |= {f"{kind}_n{state}_p{source}": ops.get(source, left_out) for source in range(state)}
            found[f"{kind}_n{state}_switch"] = [f"{kind}_n{state}_p{source}" for source in ops]
    return found


def edges(genotype: Genotype) -> list[tuple[int, str, int]]:
    """What a genotype is, whatever the order of a node's two edges."""
    return [(i // 2, *row) for kind in KINDS for i, row in enumerate(getattr(genotype, kind))]


def test_names_of_nni() -> None:
    assert [op_named(name) for name in NNI] == OURS
    assert [op_named(name) for name in EVAL_OPS] == list(EVAL_OPS)
    assert [op_named(op.replace("_", "")) for op in EVAL_OPS] == list(EVAL_OPS)


@pytest.mark.parametrize("form", ["names", "triples", "backward", "shuffled"])
def test_names_and_triples(form: str) -> None:
    for genotype in (random_genotype(seed=4), sgl_fast.genotypes.DARTS_V2):
        cells = []
        for kind in KINDS:
            rows = [(bare(op), source, i // 2 + 2) for i, (op, source) in enumerate(getattr(genotype, kind))]
            if form == "shuffled":
                random.Random(0).shuffle(rows)
            cells.append([(op, to, source) if form == "backward" else (op, source, to) for op, source, to in rows])
        if form == "names":
            cells = [[row[:2] for row in cell] for cell in cells]
        text = f"Genotype({cells[0]}, range(2, 6), {cells[1]}, range(2, 6))"
        found, same = Genotype.from_text(text), Genotype(cells[0], range(2, 6), cells[1], range(2, 6))
        assert found == same and sorted(edges(found)) == sorted(edges(genotype))
        assert form == "shuffled" or found == genotype


@pytest.mark.parametrize("form", ["hub", "mutables", "switched"])
def test_choices_of_nni(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    genotype = random_genotype(seed=7)
    path = tmp_path / "export.json"
    path.write_text(json.dumps(exported(genotype, form)))
    found = read_genotype(str(path))
    assert sorted(edges(found)) == sorted(edges(genotype)) and found.normal_concat == [2, 3, 4, 5]
    assert evaluate.main(["--genotype", str(path), "--count"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "log.txt").write_text(f"12:00 genotype = {sgl_fast.genotypes.PDARTS}\n12:01 genotype = {genotype}\n")
    assert evaluate.main(["--genotype", str(tmp_path / "log.txt"), "--count"]) == 0
    assert capsys.readouterr().out == printed


SMALL = {"normal": [("none", 0), ("none", 1)], "normal_concat": [2], "reduce": [("none", 0), ("none", 1)]}
EXPORT = exported(random_genotype(seed=7), "hub")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"normal": [("sepconv9x9", 0), ("none", 1)]},
            "the normal cell names an unknown op 'sepconv9x9' at position 0",
        ),
        ({"normal": [("sepconv9x9", 0), ("none", 1)]}, ", near sep_conv_.x.; the ops are none"),
        ({"reduce": [("none", 0), ("skip", 1)]}, "unknown op 'skip' at position 1"),
        ({"normal": [("none", 0, 2)]}, "node 0 of the normal cell has 1 edges; need two"),
        ({"normal": [("none", 0, 3), ("none", 1, 3)]}, "node 0 of the normal cell has 0 edges; need two"),
        ({"normal": [("none", 0, 2), ("none", 1, 2), ("none", 1, 2)]}, "node 0 of the normal cell has 3 edges"),
        ({"normal": [("none", 0, 2), ("none", 2, 2)]}, r"later one, 2 or higher; got \[2, 2\] at position 1"),
        ({"normal": [("none", 0, 0), ("none", 1, 0)]}, r"later one, 2 or higher; got \[0, 0\] at position 0"),
        ({"normal": [("none", 0, 2), ("none", "1", 2)]}, r"later one, 2 or higher; got \['1', 2\]"),
        ({"normal": [("none", 0, 2), ("none", 1)]}, r"need \(op, source\) at position 0"),
    ],
)
def test_what_cannot_be_read_is_named(changed: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        Genotype(**{**SMALL, "reduce_concat": [2], **changed})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"normal/op_3_1": "max_pool_7x7"}, "unknown op 'max_pool_7x7' at position 3, near max_pool_3x3"),
        ({"normal/op_3_1": 4}, "unknown op 4 at position 3"),
        ({"normal/input_3_1": None}, r"got \[None, 3\]"),
        ({"normal/input_3_1": [0, 1]}, r"got \[\[0, 1\], 3\]"),
        ({"normal/input_3_1": 3}, r"got \[3, 3\]"),
    ],
)
def test_choices_that_are_no_cell(changed: dict[str, object], says: str, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(json.dumps({**EXPORT, **changed}))
    with pytest.raises(ValueError, match=f"export.json: .*{says}"):
        read_genotype(str(tmp_path / "export.json"))
    missing = {key: value for key, value in EXPORT.items() if not key.startswith("reduce")}
    (tmp_path / "export.json").write_text(json.dumps(missing))
    with pytest.raises(ValueError, match="need two .* entries a node in the reduce cell"):
        read_genotype(str(tmp_path / "export.json"))
