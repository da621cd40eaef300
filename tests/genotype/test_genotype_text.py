"""Genotypes as text: what the DARTS family prints, logs, and what is no genotype."""

from __future__ import annotations

import json
import warnings
from collections import namedtuple
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

import sgl_fast
from sgl_fast.genotype.genotype import Genotype
from sgl_fast.genotype.published import read_genotype

SMALL = Genotype([("sep_conv_3x3", 0), ("skip_connect", 1)], [2], [("max_pool_3x3", 0), ("none", 1)], [2])
NORMAL, REDUCE = "[('sep_conv_3x3', 0), ('skip_connect', 1)]", "[('max_pool_3x3', 0), ('none', 1)]"
PRINTED = f"Genotype(normal={NORMAL}, normal_concat=range(2, 3), reduce={REDUCE}, reduce_concat=range(2, 3))"
FORMS = {
    "printed": PRINTED,
    "list": PRINTED.replace("range(2, 3)", "[2]"),
    "positional": f"Genotype({NORMAL}, [2], {REDUCE}, [2])",
    "mixed": f"Genotype({NORMAL}, [2], reduce={REDUCE}, reduce_concat=(2,))",
    "module": f"genotypes.{PRINTED}",
    "double quotes": PRINTED.replace("'", '"'),
    "numpy 2": PRINTED.replace(", 0)", ", np.int64(0))").replace("range(2, 3)", "array([2])"),
    "numpy": PRINTED.replace("range(2, 3)", "numpy.array([2], dtype=int32)"),
    "source": f"# (\nDARTS_V3 = {PRINTED}\n# )".replace("(normal", "(\n  normal").replace(", reduce", ",\n  reduce"),
    "repr": repr(SMALL),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_read(name: str) -> None:
    found = Genotype.from_text(FORMS[name])
    assert found == SMALL == read_genotype(FORMS[name]) and found.to_json() == SMALL.to_json()


@pytest.mark.parametrize("name", sgl_fast.genotypes)
def test_every_published_genotype_goes_through_its_text(name: str) -> None:
    """Read by us, and by Python with the tuple of that name that the originals define."""
    genotype = sgl_fast.genotypes[name]
    assert Genotype.from_text(str(genotype)) == genotype
    theirs = namedtuple("Genotype", [field.name for field in fields(Genotype)])  # type: ignore[misc]
    pasted = eval(str(genotype), {"Genotype": theirs, "range": range})
    assert Genotype(*pasted) == genotype
    assert {type(cell) for cell in (pasted.normal, pasted.reduce)} == {list}


def test_a_text_is_written_as_the_originals_write_it() -> None:
    assert str(SMALL) == repr(SMALL) == PRINTED
    gap = [*SMALL.normal, ("skip_connect", 0), ("skip_connect", 2), ("none", 0), ("none", 1)]
    assert "normal_concat=[2, 4], reduce" in str(Genotype(gap, [2, 4], SMALL.reduce, [2]))


def test_the_last_one_of_a_log(tmp_path: Path) -> None:
    other = PRINTED.replace("skip_connect", "dil_conv_5x5")
    log = f"01/01 12:00:00 genotype = {other}\n[(valid 0.9)\n01/01 genotype = {PRINTED}\nvalid_acc 97.0 (top 1\n"
    (tmp_path / "log.txt").write_text(log)
    assert read_genotype(str(tmp_path / "log.txt")) == SMALL
    (tmp_path / "both.json").write_text(json.dumps({"genotype": other, "epoch": 3}))
    assert read_genotype(str(tmp_path / "both.json")) == Genotype.from_text(other) != SMALL
    (tmp_path / "log.txt").write_text(log + f"02/01 genotype = {PRINTED[:60]}")
    with pytest.raises(ValueError, match=r"log.txt: Genotype\(...\) in line 5: it is cut off$"):
        read_genotype(str(tmp_path / "log.txt"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nothing", r"it has no Genotype\(...\)"),
        ("\n\nGenotype()", "in line 3: need normal, normal_concat, reduce, reduce_concat; got $"),
        (PRINTED.replace("reduce=", "cells="), "got normal, normal_concat, cells, reduce_concat"),
        (f"Genotype({NORMAL}, [2], {REDUCE}, [2], [2])", "need normal"),
        (f"Genotype({NORMAL}, [2], {REDUCE}, [2], normal=[])", "need normal"),
        (PRINTED.replace("range(2, 3)", "__import__('os').getcwd()"), r"cannot read __import__\('os'\).getcwd\(\)"),
        (PRINTED.replace("range(2, 3)", "[x for x in [2]]"), r"cannot read \[x for x"),
        (PRINTED.replace("range(2, 3)", "1 + 1"), r"cannot read 1 \+ 1"),
        (PRINTED.replace("range(2, 3)", "True"), "cannot read True"),
        (PRINTED.replace("range(2, 3)", "range(0, 10**9)"), r"cannot read 10 \*\* 9"),
        (PRINTED.replace("range(2, 3)", "range(0, 1000000000)"), "need normal_concat different states from 2 to 2"),
        (PRINTED.replace("range(2, 3)", "range(2, 3, 0)"), "must not be zero"),
        (PRINTED.replace("normal=", "normal=="), "in line 1: "),
        (PRINTED.replace("NORMAL", "x").replace("skip_connect", "magic"), "unknown op 'magic' at position 1"),
        ("Genotype(" + "[" * 5000 + "]" * 5000 + ")", "in line 1: "),
        ("Genotype(" + "(" * 300 + ")" * 301, "in line 1: "),
        ("Genotype(" + "1," * 10**6 + ")", "it is longer than 20000 characters"),
        ("Genotype(\0)", "in line 1: "),
    ],
)
def test_what_is_no_genotype_names_its_place(text: str, says: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        with pytest.raises(ValueError, match=says) as caught:
            read_genotype(text) if "Genotype(" in text else Genotype.from_text(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_json_says_who_reads_text() -> None:
    with pytest.raises(ValueError, match=r"Genotype.from_text reads Genotype\(...\)"):
        Genotype.from_json(str(SMALL))
    with pytest.raises(ValueError, match="not JSON"):
        Genotype.from_json("[" * 10**5)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, torch.tensor])
def test_whole_numbers_of_every_library(kind: type) -> None:
    edges = [(op, kind(source)) for op, source in SMALL.normal]
    found = Genotype(edges, [kind(2)], SMALL.reduce, SMALL.reduce_concat)
    assert found == SMALL and found.to_json() == SMALL.to_json()
    assert {type(source) for _, source in found.normal} == {type(state) for state in found.normal_concat} == {int}


def test_numpys_arrays() -> None:
    rows = np.array([list(row) for row in SMALL.normal], dtype=object)
    found = Genotype(rows, np.arange(2, 3), SMALL.reduce, torch.tensor([2]))  # type: ignore[arg-type]
    assert found == SMALL and found.to_json() == SMALL.to_json()
    for wrong in (np.array([["sep_conv_3x3", "0"], ["skip_connect", "1"]]), np.zeros((2, 2)), np.array(3)):
        with pytest.raises(ValueError, match="normal cell"):
            Genotype(wrong, [2], SMALL.reduce, [2])  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [True, 0.0, "0", None, np.True_, np.float64(0)])
def test_sources_that_are_no_whole_numbers(source: object) -> None:
    with pytest.raises(ValueError, match="node 0 of the normal cell needs a source from 0 to 1"):
        Genotype([("sep_conv_3x3", source), ("skip_connect", 1)], [2], SMALL.reduce, [2])  # type: ignore[list-item]


def test_a_genotype_is_no_larger_than_any_search_makes() -> None:
    edges = [("skip_connect", 0), ("skip_connect", 1)] * 100_000
    with pytest.raises(ValueError, match="at most 16 nodes in the normal cell; got 100000"):
        Genotype(edges, range(2, 100_002), edges, [2])
