"""Processes share a training from scratch: equal to one process that takes the parts of each batch in turns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ports import free_port
from states import repeatable, same
from torch.nn.functional import cross_entropy
from toys import CHEAP, TINY, toy_images

from sgl_fast.data.whole import with_validation
from sgl_fast.run import checkpoint
from sgl_fast.run.recipe import Recipe
from sgl_fast.run.retrain import Retraining

ROOT = Path(__file__).parents[2]
RECIPE = {**TINY, "drop_path": 0.0, "limit": None, "ema": 0.5}
PROGRAM = f"""
import sys
import torch
import torch.distributed as dist
from toys import CHEAP, toy_images
from sgl_fast.run.recipe import Recipe
from sgl_fast.run.retrain import Retraining

rank, port, out = sys.argv[1:]
dist.init_process_group("gloo", init_method=f"tcp://localhost:{{port}}", rank=int(rank), world_size=2)
run = Retraining(CHEAP, toy_images(), Recipe(**{RECIPE!r}))
for _ in range(3):
    run.train_step(run.batch())
record = run.finish_epoch()
torch.save({{"record": record, "state": run.state_dict()}}, out)
dist.destroy_process_group()
"""
COMMAND = ["--genotype", "DARTS_V2", "--data", "embedded", "--quiet", "--figures", "none", "--channels", "2"]
COMMAND += ["--layers", "2", "--epochs", "2", "--batch-size", "8", "--limit", "16"]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"} | more


def test_two_processes_train_as_one_with_the_batch_statistics_of_halves(tmp_path: Path) -> None:
    port = free_port()
    outs = [tmp_path / f"{rank}.pt" for rank in range(2)]
    commands = [[sys.executable, "-c", PROGRAM, str(rank), str(port), str(out)] for rank, out in enumerate(outs)]
    processes = [subprocess.Popen(command, cwd=ROOT, env=environment()) for command in commands]
    assert [process.wait(600) for process in processes] == [0, 0]
    first, second = (torch.load(out) for out in outs)
    assert first["record"] == second["record"]
    assert same(first["state"]["momenta"], second["state"]["momenta"])

    one = Retraining(CHEAP, toy_images(), Recipe(**RECIPE))
    losses, right = 0.0, 0
    for _ in range(3):
        x, y = one.batch()
        one.network.train()
        one.optimizer.param_groups[0]["lr"] = first["record"]["lr"]
        one.optimizer.zero_grad()
        for half in (slice(4, 8), slice(0, 4)):  # running statistics end with the first process's
            before = {name: b.clone() for name, b in one.network.named_buffers()}
            logits, auxiliary = one.network(x[half])
            loss = cross_entropy(logits, y[half]) + 0.4 * cross_entropy(auxiliary, y[half])
            (loss / 2).backward()
            losses += cross_entropy(logits, y[half], reduction="sum").item()
            right += (logits.argmax(1) == y[half]).sum().item()
            if half.start:
                for name, b in one.network.named_buffers():
                    b.copy_(before[name])
        torch.nn.utils.clip_grad_norm_(one.network.parameters(), 5.0)
        one.optimizer.step()
        one.average.update_parameters(one.network)
        one.step += 1
    for name, value in one.network.state_dict().items():
        torch.testing.assert_close(first["state"]["network"][name], value, rtol=1e-5, atol=1e-6)
    record = first["record"]
    assert record["train_loss"] == pytest.approx(losses / 24, rel=1e-5) and record["train_accuracy"] == right / 24
    for name, value in one.test().items():
        assert record[name] == pytest.approx(value, rel=1e-4), name
    assert len(with_validation(toy_images()).train[1]) == 24


def torchrun(out: Path, *words: str) -> subprocess.Popen:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-endpoint"]
    command = [*launcher, f"localhost:{free_port()}", "-m", "sgl_fast.evaluate", *words, "--out", str(out)]
    return subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_run_of_two_processes_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    process = torchrun(whole, *COMMAND)
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0 and said.count(b"test accuracy") == 1

    process = torchrun(stopped, *COMMAND)
    while not (stopped / "checkpoint.pt").exists() and process.poll() is None:  # torchrun's own patience is 30 s
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)
    state = checkpoint.load(stopped / "checkpoint.pt")
    assert state["step"] >= 4
    again = torchrun(stopped, "--resume", "--quiet", "--figures", "none")
    said = again.communicate(timeout=600)[1].decode()
    assert again.returncode == 0, said
    for name in ("metrics.jsonl", "result.json"):
        assert repeatable(stopped / name) == repeatable(whole / name), name
    assert same(*(checkpoint.load(out / "checkpoint.pt") for out in (whole, stopped)))
    assert json.loads((whole / "result.json").read_text())["epoch"] == 2


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path: Path) -> None:
    process = torchrun(tmp_path / "run", *COMMAND, "--set", "batch_size=7")
    said = process.communicate(timeout=600)[1].decode()
    assert "--batch-size: need a batch that the 2 processes share evenly; got 7" in said
    assert process.returncode != 0
