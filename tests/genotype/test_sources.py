"""Sizes of published genotypes' networks against what their papers print, to the last digit."""

from __future__ import annotations

import doctest
from functools import cache

import pytest
import torch

from sgl_fast import evaluate
from sgl_fast.genotype import sources
from sgl_fast.genotype.published import genotypes, table
from sgl_fast.genotype.sources import SIZES, Source, source_of
from sgl_fast.nets.counting import RULES, count_macs, count_parameters
from sgl_fast.nets.network import Network
from sgl_fast.printed import Printed
from sgl_fast.reproduce.paper import item

PRINTED = list(table()["printed"])
# What is listed has not the printed size: each of these is told in the genotype's note.
DIFFERING = {
    "parameters": {
        "darts.NASNet",
        "darts.AmoebaNet",
        "darts.DARTS_V1",
        "snas.SNAS_mild",
        "sdarts.SDARTS_RS",
        "enas.ENAS",
    },
    "imagenet_parameters": {"darts.NASNet", "darts.AmoebaNet", "snas.SNAS_mild", "sdarts.SDARTS_ADV"},
    "multiply_adds": {"darts.NASNet", "darts.AmoebaNet", "darts.DARTS_V2", "snas.SNAS_mild"},
}


@cache
def network(name: str, imagenet: bool) -> Network:
    """The network that a paper's sizes are of, on the meta device."""
    sizes = (source_of(name).imagenet_channels, 14, 1000) if imagenet else (36, 20, 10)
    with torch.device("meta"):
        return Network(genotypes[name], *sizes, imagenet=imagenet)


def count(name: str, size: str) -> list[int]:
    """Our number; of multiply-adds one for each rule that may be the paper's."""
    source = source_of(name)
    if size == "parameters":
        return [count_parameters(network(name, False), auxiliary=source.auxiliary)]
    if size == "imagenet_parameters":
        return [count_parameters(network(name, True))]
    return [count_macs(network(name, True), 224, rule) for rule in RULES if rule == source.rule or not source.rule]


@pytest.mark.parametrize("name", PRINTED)
def test_counts_are_the_printed_ones_or_the_note_says_why_not(name: str) -> None:
    source, compared = source_of(name), 0
    for size in SIZES:
        printed = getattr(source, size)
        assert (name in DIFFERING[size]) == (size in source.differs)
        if printed is not None:
            assert any(source.matches(printed, number) for number in count(name, size)) != (size in source.differs), (
                size
            )
            compared += 1
    assert compared and set(source.differs) <= set(SIZES) and (source.note or not source.differs)
    assert source.rule in RULES or source.multiply_adds is None or "multiply_adds" in source.differs


def test_every_method_that_was_asked_for_is_there() -> None:
    spaces = {name.partition(".")[0] for name in genotypes}
    assert {"snas", "gdas", "fairdarts", "drnas", "sdarts", "enas"} <= spaces == set(table()["papers"])
    assert all("arXiv" in source_of(name).paper for name in genotypes)
    assert set(PRINTED) <= set(genotypes)
    assert {name for name in genotypes if not name.startswith("darts_minus")} == set(PRINTED)


def test_sources_by_every_name() -> None:
    assert source_of("DrNAS") == source_of("drnas.DrNAS_cifar10") != source_of("DrNAS_imagenet")
    assert source_of("cifar10_s2_best").paper == source_of("darts_minus.cifar10_s0_0").paper
    with pytest.raises(KeyError, match="unknown genotype 'GDAS_V9'; near it: .*GDAS_V1"):
        source_of("GDAS_V9")
    result = doctest.testmod(sources)
    assert result.attempted and not result.failed


def test_digits_that_are_cut() -> None:
    rounded, cut = Source("a paper"), Source("a paper", cut=True)
    for count, by_rounding, by_cutting in ((2_837_200, False, True), (2_829_999, True, False), (2_830_000, True, True)):
        assert rounded.matches(Printed("2.83"), count) == by_rounding
        assert cut.matches(Printed("2.83"), count) == by_cutting


@pytest.mark.parametrize("name", ["table3", "table4"])
def test_rows_of_the_paper_have_the_size_of_their_genotypes(name: str) -> None:
    """Tables 3 and 4 repeat the sizes of the genotypes' own papers."""
    rows = [row for row in item(name).rows if row.genotype]
    assert len(rows) == {"table3": 9, "table4": 10}[name]
    size = "imagenet_parameters" if name == "table4" else "parameters"
    for row in rows:
        source = source_of(row.genotype)
        printed = getattr(source, size) or row.parameters
        assert printed == row.parameters, row.label
        matches = source.matches(printed, count(row.genotype, size)[0])
        assert matches != (size in source.differs), row.label


def test_fairdarts_of_table_3_is_the_mean_of_its_cells() -> None:
    (row,) = [row for row in item("table3").rows if row.method == "FairDARTS"]
    cells = [source_of(f"FairDARTS_{letter}").parameters for letter in "abcdefg"]
    assert row.parameters is not None and row.parameters.matches(sum(cell.mean for cell in cells if cell) / 7)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "GDAS_V1",
            "3.4M parameters; on ImageNet with 50 channels 5.3M parameters and 581M multiply-adds by conv_linear\n",
        ),
        ("FairDARTS_a", "2.83M parameters with the auxiliary head\nNodes without an edge"),
        ("cifar10_s0_0", "arXiv 2009.01027: no sizes\n"),
    ],
)
def test_counts_stand_beside_the_printed_ones(name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--genotype", name, "--count", "--channels", "4", "--layers", "3"]) == 0
    assert says in capsys.readouterr().out
