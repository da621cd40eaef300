"""Two processes (gloo) step a search as one process does; a process that dies ends the other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ports import free_port
from torch import Tensor

ROOT = Path(__file__).parents[2]
PROGRAM = """
import datetime, sys
import torch
import torch.distributed as dist
import sgl_fast

rank, count, port, out, name, method, dies = sys.argv[1:]
torch.set_num_threads(1)
if int(count) > 1:
    limit = datetime.timedelta(seconds=20)
    where = f"tcp://localhost:{port}"
    dist.init_process_group("gloo", init_method=where, rank=int(rank), world_size=int(count), timeout=limit)
net = sgl_fast.Supernet(sgl_fast.space(name, channels=8, layers=3, nodes=2, num_classes=5))
algorithm = {"algorithm": "released"} if method == "released" else {"method": method}
settings = {"learners": 3, "arch_start": 0, "pretrain_epochs": 0, "steps_per_epoch": 1, "seed": 1, "chunk": 2}
search = sgl_fast.Search(net, sgl_fast.Config.preset(name, **settings, **algorithm))
draw = torch.Generator().manual_seed(0)
for step in range(2):
    images, labels = torch.randn(3, 4, 3, 8, 8, generator=draw), torch.randint(5, (2, 4), generator=draw)
    batch = sgl_fast.Batch(images[0], labels[0], images[1], images[2], labels[1])
    if dies == "yes" and rank == "1" and step == 1:
        sys.exit(0)
    record = search.step(batch)
kept = [search.w, search.v, search.arch.flat(), search.running.mean, search.running.var]
torch.save({"tensors": kept, "forwards": record["forwards"], "backwards": record["backwards"]}, out)
if dist.is_initialized():
    dist.destroy_process_group()
"""


def start(rank: int, count: int, port: int, out: Path, name: str, method: str, dies: str = "no") -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, *map(str, (rank, count, port, out, name, method, dies))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def off(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-12)).item()


@pytest.mark.parametrize(
    ("name", "method"), [("pc_darts", "frozen"), ("darts", "finite_difference"), ("darts", "released")]
)
def test_two_processes_are_as_one(name: str, method: str, tmp_path: Path) -> None:
    """Three learners on two: both processes have the state of one, and count its passes."""
    port = free_port()
    running = [start(r, 2, port, tmp_path / f"{r}.pt", name, method) for r in range(2)]
    alone = start(0, 1, port, tmp_path / "alone.pt", name, method)
    for process in [*running, alone]:
        said = process.communicate(timeout=240)[1]
        assert process.returncode == 0, said
    first, second, want = (torch.load(tmp_path / f"{n}.pt") for n in ("0", "1", "alone"))
    assert all(torch.equal(a, b) for a, b in zip(first["tensors"], second["tensors"], strict=True))
    assert max(off(a, b) for a, b in zip(first["tensors"], want["tensors"], strict=True)) < 1e-5
    assert first["forwards"] == want["forwards"] and first["backwards"] == want["backwards"]


def test_a_process_that_dies_ends_the_other(tmp_path: Path) -> None:
    port = free_port()
    running = [start(r, 2, port, tmp_path / f"{r}.pt", "pc_darts", "frozen", "yes") for r in range(2)]
    running[1].communicate(timeout=300)
    assert running[1].returncode == 0
    said = running[0].communicate(timeout=300)[1]
    assert running[0].returncode != 0 and "RuntimeError" in said
    assert not (tmp_path / "0.pt").exists()


SLOW = """
import sys, time
from datetime import timedelta
import torch
import sgl_fast
from sgl_fast.sgl import processes

rank = int(sys.argv[1])
processes.STEP = timedelta(seconds=10)
net = sgl_fast.Supernet(sgl_fast.space("pc_darts", channels=8, layers=3, nodes=1, num_classes=5))
with processes.joined("cpu"):
    search = sgl_fast.Search(net, sgl_fast.Config(learners=2, order=1))
    images, labels = torch.randn(3, 4, 3, 8, 8), torch.zeros(2, 4, dtype=torch.int64)
    run = search.run
    for step, seconds in enumerate((13, 0, 0, 600)):  # in each step of the second process
        search.run = lambda *given: (time.sleep(seconds * rank), run(*given))[1]
        search.step(sgl_fast.Batch(images[0], labels[0], images[1], images[2], labels[1]))
        print(step, flush=True)
"""


def test_a_first_step_may_be_slow_and_others_may_not() -> None:
    """The first one compiles; a process that is stuck later ends the others in the time of a step."""
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SLOW, str(rank)],
            cwd=ROOT,
            env=os.environ | where | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    out, said = running[0].communicate(timeout=300)
    running[1].kill()
    running[1].communicate()
    assert out.split() == ["0", "1", "2"] and running[0].returncode != 0
    assert "imed out" in said


COMMAND = """
import os, sys
from sgl_fast.search import main

rank, at = os.environ["RANK"], sys.argv.index("--out") + 1
sys.argv[at] += "-elsewhere" * (rank != "0")
sys.exit(main(sys.argv[1:]))
"""


TINY = [
    "--data",
    "embedded",
    "--channels",
    "8",
    "--layers",
    "3",
    "--nodes",
    "2",
    "--limit",
    "64",
    "--batch-size",
    "16",
    "--order",
    "2",
    "--batches",
    "own",
]
TINY += ["--quiet", "--device", "cpu"]


def torchrun(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The folder of the processes that do not lead is elsewhere: it must not matter."""
    program = out.parent / "program.py"
    program.write_text(COMMAND)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    ]
    command += [str(program), *TINY, "--out", str(out), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_the_command_by_torchrun(tmp_path: Path) -> None:
    """One run folder, written by the process that leads; it is that of one process. Learners have their own images."""
    both = torchrun(tmp_path / "both", "--epochs", "1")
    assert both.returncode == 0, both.stderr[-2000:]
    arguments = [*TINY, "--epochs", "1", "--out", str(tmp_path / "one")]
    one = subprocess.run(
        [sys.executable, "-m", "sgl_fast.search", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert one.returncode == 0 and one.stdout.replace("/one", "/both") == both.stdout
    assert sorted(p.name for p in (tmp_path / "both").iterdir()) == sorted(p.name for p in (tmp_path / "one").iterdir())
    again = torchrun(tmp_path / "both", "--resume")
    assert again.returncode == 0 and again.stdout == both.stdout, again.stderr[-2000:]
    assert not (tmp_path / "both-elsewhere").exists()
