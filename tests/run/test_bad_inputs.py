"""What people type wrongly: one clear line, that names the option or the file, exit code 2, and no run begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sgl_fast import evaluate, search

TINY = "--channels 4 --layers 1 --nodes 1 --batch-size 4 --limit 12 --epochs 1 --quiet"
SEARCH = {  # words after TINY: what the line says
    "--space nas": "--space: need one of darts",
    "--algorithm magic": "--algorithm: need one of best",
    "--settings ours": "--settings: need one of paper",
    "--ablation all": "--ablation: need one of no_stage_one",
    "--scale huge": "--scale: need one of tiny, paper",
    "--learners 0": "--learners: need a number of at least 1; got 0",
    "--learners two": "--learners: need a whole number; got two",
    "--learners 1000": "--learners: need at most 256; got 1000",
    "--learners 200 --channels 512 --layers 50": "weights of all learners need",
    "--lam -1": "--lam: need a number of at least 0",
    "--lam nan": "--lam: need a number of at least 0; got nan",
    "--lr 0": "--lr: need a number above 0",
    "--lr inf": "--lr: need a number above 0",
    "--lr x": "--lr: need a number; got x",
    "--lr": "--lr: expected one argument",
    "--arch-lr -3": "--arch-lr: need a number above 0",
    "--r 0": "--r: need a number above 0",
    "--order 3": "--order: need one of 1, 2; got 3",
    "--method guess": "--method: need one of finite_difference",
    "--method exact --backend cpu": "--method: exact needs --backend reference; got cpu",
    "--teacher me": "--teacher: need one of",
    "--schedule none": "--schedule: need one of",
    "--momentum -1": "--momentum: need",
    "--skip-dropout 1": "--skip-dropout: need a number of at least 0 and below 1",
    "--arch-beta1 1": "--arch-beta1: need a number of at least 0 and below 1",
    "--epochs 0": "--epochs: need a number of at least 1",
    "--epochs 1.5": "--epochs: need a whole number; got 1.5",
    "--epochs 1000000": "--epochs: need at most 100000",
    "--pretrain-epochs 1": "--pretrain-epochs: need a number below the 1 epochs",
    "--arch-start -1": "--arch-start: need",
    "--warmup-epochs -1": "--warmup-epochs: need",
    "--no-human-labels --learners 1": "--learners: need a number of at least 2",
    "--no-human-labels --lam 0": "--lam: need a number above 0",
    "--precision float64": "--precision: need one of float32",
    "--precision tf32": "--precision: ",
    "--precision tf32 --method exact": "--precision: need float32 for method exact",
    "--precision float16 --frozen-precision same --algorithm paper": "--method: need frozen for frozen_precision same",
    "--seed -5": "--seed: need a number of at least 0; got -5",
    "--seed 99999999999999999999": "--seed: need at most",
    "--chunk 0": "--chunk: need a number of at least 1",
    "--memory 0": "--memory: need a number of at least 1e-06",
    "--memory 0.000001": "--memory",
    "--channels 6": "--channels: pc_darts mixes 1/4 of the channels: need divisible by 4",
    "--channels 0": "--channels: need",
    "--channels 99999": "--channels: need at most 4096",
    "--layers 0": "--layers: need",
    "--layers 5,6": "--layers: need one number; got 5,6",
    "--nodes 0": "--nodes: need",
    "--nodes 17": "--nodes: need at most 16",
    "--batch-size 1": "--batch-size: need a number of at least 2",
    "--batch-size 13": "--batch-size 13: need 1 to 12",
    "--limit 1": "--batch-size 4: need 1 to 1",
    "--limit 0": "--limit: need",
    "--ops conv": "--ops names an unknown op 'conv'",
    "--ops none,none": "names an op twice",
    "--max-skips -1": "--max-skips: need",
    "--data mnist": "unknown data set 'mnist'",
    "--data cifar10 --root nowhere": "--data: cifar10 is not in ",
    "--data imagenet --root nowhere": "--data: imagenet is not in ",
    "--data auto --root nowhere": "--root: there is no folder nowhere",
    "--data folder:nowhere": "--data: there is no folder ",
    "--data folder:file": "--data: there is no folder ",
    "--data folder:one": "need two or more folders of images",
    "--unlabeled nowhere": "--unlabeled: need the word train or a folder",
    "--image-size 30": "--image-size: ",
    "--image-size 99999": "--image-size: need at most 4096",
    "--backend tpu": "--backend: unknown backend 'tpu'",
    "--device tpu": "--device: need auto, cpu, cuda or cuda:N",
    "--device cuda:99": "--device: there is no cuda:99",
    "--config nowhere": "--config: cannot read nowhere: No such file",
    "--config binary": "--config: cannot read binary: it is no text: byte 4 is not UTF-8",
    "--config file": "--config: cannot read file",
    "--set lr": "--set: need NAME=VALUE",
    "--set speed=9": "--set: 'speed' is no option",
    "--out file": "cannot make run folder file: it is a file",
    "--out file/run": "cannot make run folder file/run: Not a directory",
    "--out occupied": "occupied already holds a run: go on with --resume occupied",
    "--resume nowhere": "no run to resume in nowhere",
    "--resume occupied": "config.json holds no search",
    "--resume": "--resume: need the run's folder",
    "--resume auto": "--resume auto: need --out DIR",
    "--speed 9": "unknown option --speed",
    "fast": "unexpected argument fast",
}
EVALUATE = {
    "--genotype DARTS_V3": "--genotype: unknown genotype 'DARTS_V3'; near it: DARTS_V2",
    "--genotype no/where.json": "--genotype: there is no file no/where.json",
    "--genotype binary": "--genotype: cannot read binary: it is no text",
    "--genotype file": "--genotype: cannot read file",
    "--genotype one": "--genotype: no genotype.json in one",
    "--learner x": "--learner: need a whole number",
    "--channels 0": "--channels: need",
    "--imagenet --channels 7": "--channels: need a number that is even",
    "--drop-path 1": "--drop-path: need a number of at least 0 and below 1",
    "--lr nan": "--lr: need a number above 0",
    "--data cifar10 --root nowhere": "--data: cifar10 is not in ",
    "--data folder:nowhere": "--data: there is no folder ",
    "--limit 1": "--batch-size 64: need 1 to 2",
    "--image-size 30": "--image-size: embedded takes 32",
    "--resume occupied": "--resume: occupied holds no run of this command",
    "--genotyp DARTS": "unknown option --genotyp; near it: --genotype",
}
ENVIRONMENT = {
    "SGL_FAST_DATA=nowhere": "SGL_FAST_DATA: there is no folder nowhere",
    "SGL_FAST_BACKEND=foo": "SGL_FAST_BACKEND: unknown backend 'foo'",
    "SGL_FAST_ISA=foo": "need SGL_FAST_ISA to be plain, avx2 or avx512; got foo",
}


@pytest.fixture(autouse=True)
def places(nothing_installed: None, tmp_path: Path) -> None:
    """Where things lie that are no runs, no data and no texts."""
    Path("file").write_text("x")
    Path("binary").write_bytes(b"PK\x03\x04\xff")
    Path("one/a").mkdir(parents=True)
    Path("occupied").mkdir()
    Path("occupied/config.json").write_text("{}")


def said(main: Any, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line."""
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    line = capsys.readouterr().err
    assert code == 2 and line.count("\n") == 1, line
    assert not list(Path("runs").glob("*/config.json"))
    return line


@pytest.mark.parametrize("words", SEARCH)
def test_of_a_search(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = said(search.main, f"--data embedded {TINY} {words}".split(), capsys)
    assert line.startswith("python -m sgl_fast.search: ") and SEARCH[words] in line


@pytest.mark.parametrize("words", EVALUATE)
def test_of_an_evaluation(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = said(evaluate.main, f"--genotype DARTS_V2 --data embedded --quiet {words}".split(), capsys)
    assert line.startswith("python -m sgl_fast.evaluate: ") and EVALUATE[words] in line


@pytest.mark.parametrize("setting", ENVIRONMENT)
def test_of_the_environment(
    setting: str, extension: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(*setting.split("="))
    assert ENVIRONMENT[setting] in said(search.main, TINY.split(), capsys)


def test_there_are_enough() -> None:
    assert len(SEARCH) + len(EVALUATE) + len(ENVIRONMENT) >= 90
