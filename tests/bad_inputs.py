"""What people type wrongly, and what the one line says, for tests/run/test_bad_inputs.py; how long it takes.

    python tests/bad_inputs.py

types each in a folder without data and writes bench/results/bad_inputs.md, slowest first; or exit code 1, where one is
not answered by its one line and exit code 2, or takes LIMIT seconds of a core more than the import of torch.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

OUT = Path(__file__).parent.parent / "bench" / "results" / "bad_inputs.md"
LIMIT = 1.0
SHOWN = 20
TINY = "--channels 4 --layers 1 --nodes 1 --batch-size 4 --limit 12 --epochs 1 --quiet"
TRAIN = "--genotype DARTS_V2 --data embedded --quiet"
SEARCH = {  # words after --data embedded and TINY: what the line says
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
    "--out file/run": "cannot make run folder file/run: file is a file",
    "--out occupied": "occupied already holds a run: go on with --resume occupied",
    "--resume nowhere": "no run to resume in nowhere",
    "--resume occupied": "config.json holds no search",
    "--resume": "--resume: need the run's folder",
    "--resume auto": "--resume auto: need --out DIR",
    "--speed 9": "unknown option --speed",
    "fast": "unexpected argument fast",
}
EVALUATE = {  # after TRAIN
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


def make_places(folder: Path) -> None:
    """Where things lie that are no runs, no data and no texts."""
    (folder / "file").write_text("x")
    (folder / "binary").write_bytes(b"PK\x03\x04\xff")
    (folder / "one" / "a").mkdir(parents=True)
    (folder / "occupied").mkdir()
    (folder / "occupied" / "config.json").write_text("{}")


class Answer(NamedTuple):
    """cpu: seconds of a core; seconds: of the clock; right: one line, which says what it should, and exit code 2"""

    cpu: float
    seconds: float
    typed: str
    said: str
    right: bool


def inputs() -> Iterator[tuple[str, str, dict[str, str], str]]:
    """Words of the program, the last of them, environment, and what the line says."""
    for words, says in SEARCH.items():
        yield f"search --data embedded {TINY} {words}", f"search {words}", {}, says
    for words, says in EVALUATE.items():
        yield f"evaluate {TRAIN} {words}", f"evaluate {words}", {}, says
    for setting, says in ENVIRONMENT.items():
        yield f"search {TINY}", f"{setting} search", dict([setting.split("=")]), says


def answer(words: str, typed: str, variables: dict[str, str], says: str, folder: Path) -> Answer:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SGL_FAST_")}
    cpu, begin = used(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "sgl_fast", *words.split()],
        cwd=folder,
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=600,
    )
    cpu, seconds = used() - cpu, time.monotonic() - begin
    right = done.returncode == 2 and done.stderr.count("\n") == 1 and says in done.stderr
    return Answer(cpu, seconds, typed, done.stderr.strip().partition(": ")[2].replace(str(folder), "."), right)


def used() -> float:
    """Seconds of cores that the processes so far have had."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def importing() -> float:
    """Seconds of a core for torch alone."""
    before = used()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return used() - before


def written(answers: list[Answer], alone: float) -> str:
    """The page."""
    quick = [each for each in answers if each.cpu < alone / 2]
    most = max(each.cpu for each in quick)
    text = f"""\
# Bad inputs

{len(answers)} commands with something wrong: each is answered by one line and exit code 2, and no run is begun.
{len(quick)} of them do not wait for torch: {most:.2f} s of a core at most. The others, slowest first; `import torch`
alone takes {alone:.1f} s (torch {version("torch")}). `python tests/bad_inputs.py` writes this page.

| s | command | answer |
|---|---|---|
"""
    slow = (each for each in answers if each not in quick)
    rows = (f"| {each.cpu:.1f} | `{each.typed}` | {each.said} |\n" for each in slow)
    return text + "".join(rows)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        make_places(Path(name))
        answers = sorted((answer(*each, Path(name)) for each in inputs()), reverse=True)
    alone = statistics.median(importing() for _ in range(3))
    for each in answers[:SHOWN]:
        print(f"{each.cpu:5.2f} s of a core, {each.seconds:5.2f} s  {each.typed}: {each.said}")
    wrong = [each for each in answers if not each.right or each.cpu > alone + LIMIT]
    for each in wrong:
        print(f"wrong, or too late: {each}")
    if wrong:
        return 1
    OUT.write_text(written(answers, alone), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
