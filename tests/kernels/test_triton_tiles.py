"""The table of tiles, a file over it, how both are chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from compiled import printed

from bench.triton import tiles, tune
from bench.triton.launches import LIMITS, Resources, occupancy
from sgl_fast.kernels import configurations
from sgl_fast.kernels.configurations import KERNELS, VARIABLE, Tiles, assumed, read_tables, tiles_of

CPU = torch.device("cpu")


def at(arch: int, kernel: str = "combine") -> Tiles:
    with assumed(arch):
        return tiles_of(kernel, CPU)


def test_every_architecture_has_its_tiles() -> None:
    tables = read_tables(None)
    assert set(tables) == {"default", *map(str, LIMITS)}
    assert all(set(kernels) == set(KERNELS) for kernels in tables.values())
    assert tiles_of("combine", CPU) == tables["default"]["combine"]  # the interpreter's
    with assumed(80, {"combine": Tiles(8, 8, 1)}):
        assert tiles_of("combine", CPU) == (8, 8, 1, 3) and tiles_of("convolve", CPU) == tables["80"]["convolve"]


def test_the_table_is_what_was_measured() -> None:
    """tiles.json has the rows that the report marks."""
    marked = {}
    for line in tiles.OUT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[-1] == "*":
            marked[cells[1], cells[0]] = [int(n) for n in cells[2:5]]
            assert cells[7] == "0", line  # stack
    tables = read_tables(None)
    want = {(a, k): [*row[:3]] for a, rows in tables.items() if a != "default" for k, row in rows.items()}
    assert marked == want


def test_a_file_goes_before_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its own architectures and kernels; a GPU takes the newest architecture that is not newer than it is."""
    path = tmp_path / "tiles.json"
    path.write_text(json.dumps({"89": {"combine": [32, 8, 2, 1]}, "80": {"state_grad": [16, 4, 1, 2]}}))
    before = {arch: at(arch) for arch in (86, 89, 90)}
    monkeypatch.setenv(VARIABLE, str(path))
    assert at(89) == (32, 8, 2, 1)
    assert (at(86), at(90)) == (before[86], before[90])
    assert at(89, "state_grad") == at(86, "state_grad") and at(80, "state_grad") == (16, 4, 1, 2)
    assert at(120) == before[90] and at(60) == read_tables(None)["default"]["combine"]


BAD: list[tuple[Any, str]] = [
    ("{", "cannot read"),
    ([], "need architectures"),
    ({"80": [1]}, "need architectures"),
    ({"sm_80": {}}, "got 'sm_80'"),
    ({"80": {"pools": [64, 16, 4, 3]}}, "no kernel 'pools'"),
    ({"80": {"combine": [64, 16, 4]}}, r"combine: need pixels.*got \[64, 16, 4\]"),
    ({"80": {"combine": [48, 16, 4, 3]}}, "powers of two"),
    ({"80": {"combine": [64, 16, 4, 0]}}, "1 to 8 stages"),
    ({"80": {"combine": [64, 16, 4.0, 3]}}, "got"),
    ({"80": {"combine": [2048, 16, 4, 3]}}, "up to 1024"),
    ({"80": {"pointwise_dgrad_dot": [8, 16, 4, 3]}}, "pointwise_dgrad_dot: need"),
]


@pytest.mark.parametrize(("content", "said"), BAD, ids=[said for _, said in BAD])
def test_a_malformed_file_is_one_line(content: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiles.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(ValueError, match=said) as error:
        configurations.check()
    assert str(error.value).startswith(VARIABLE) and "\n" not in str(error.value)


def test_a_search_with_triton_refuses_a_missing_file(
    interpreted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sgl_fast.backends.choice import use_backend
    from sgl_fast.search import main

    monkeypatch.setenv(VARIABLE, "/nowhere.json")
    with use_backend(None):
        assert main(["--data", "embedded", "--backend", "triton", "--out", str(tmp_path / "run")]) == 2
    assert f"{VARIABLE}: cannot read /nowhere.json: No such file" in capsys.readouterr().err


def test_blocks() -> None:
    tiles = Tiles(64, 16, 4, 2)
    assert tiles.block(5, 100) == (8, 64, 4, 2)
    assert tiles.block(3, 3) == (4, 4, 1, 2)  # a warp at least
    assert tiles.block(64, 4096, rows=64) == (16, 64, 8, 2)  # eight at most
    assert tiles.block(3, 3, least=16) == (16, 16, 2, 2)


@pytest.mark.parametrize(
    ("arch", "found", "share"),
    [
        (80, Resources(32, 0, 0, 4), 1.0),
        (80, Resources(128, 0, 0, 4), 0.25),
        (75, Resources(32, 0, 0, 1), 0.5),  # 16 blocks
        (70, Resources(32, 48 * 1024, 0, 8), 0.25),  # two blocks' shared memory
        (86, Resources(40, 0, 0, 8), 1.0),
    ],
)
def test_occupancy(arch: int, found: Resources, share: float) -> None:
    assert occupancy(arch, found) == share


def test_the_best_by_the_compiler() -> None:
    """No stack before occupancy, half of it before a larger tile."""
    rows = [
        tiles.Measured(Tiles(128, 16, 4), 255, 0, 8, 0.5),
        tiles.Measured(Tiles(64, 16, 4), 128, 0, 0, 0.25),
        tiles.Measured(Tiles(32, 16, 4), 64, 0, 0, 0.5),
        tiles.Measured(Tiles(32, 8, 4), 32, 0, 0, 1.0),
    ]
    assert max(rows, key=tiles.rank) == rows[2]
    assert max(rows[:2], key=tiles.rank) == rows[1]


def test_the_best_by_time() -> None:
    one, two, three = (Tiles(n, 16, 4) for n in (64, 32, 16))
    times = {"combine": {one: 1.0, two: 0.99, three: 2.0}, "state_grad": {one: 1.0, two: 0.9, three: 0.5}}
    assert tune.better(times) == {"state_grad": three}


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
def test_tuning_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="needs an NVIDIA GPU"):
        tune.main(["--out", str(tmp_path / "tiles.json")])


TUNE = """
import sys
import torch
from bench.triton import tiles, tune
from bench.triton.launches import cell_pass

tune.PASSES, tune.STAGES = 1, (3,)
tiles.CANDIDATES.update({name: rows[:3] for name, rows in tiles.CANDIDATES.items()})
launched = []
times = tune.tune(
    [cell_pass("pc_darts", 0)], torch.device("cpu"), lambda launch: lambda: launched.append(1) or 1.0, lambda: None
)
assert sum(each for some in times.values() for each in some.values()) < len(launched)
for name, candidates in times.items():
    assert len(candidates) == 3, (name, candidates)
    assert len(set(candidates.values())) == 1, (name, candidates)  # as many launches with each
    candidates[list(candidates)[-1]] = 0.1
sys.stdout.write(tiles.written({"80": tune.better(times)}))
"""


def test_every_candidate_is_timed_once(tmp_path: Path) -> None:
    """By a clock that counts, in a process whose launches are compiled ones; what it writes can be read."""
    path, tables = tmp_path / "tiles.json", printed("-c", TUNE)
    path.write_text(tables)
    assert {"combine", "convolve_dot"} < set(json.loads(tables)["80"])
    assert read_tables(str(path))["80"]["combine"] == (64, 16, 8, 3)
