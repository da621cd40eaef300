"""Whole search steps on a GPU, and a short search from the command line."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sgl_fast import Batch, Config, Search, Supernet, space
from sgl_fast.backends.choice import use_backend

from .. import eager
from ..processes import Done, run
from .kernels import kernels_of
from .table import GPU, OURS
from .timing import DEVICE, Call, Found, Row, milliseconds, need_gpu, tried, watched

K, N, SIDE = 2, 50, 32
WARM = 4  # steps before those that count: the third one is captured where steps are graphs
KINDS = {"": False, " in a graph": True}
SEARCH_LIMIT = 36  # seconds of a backend's
SHORT = ["--epochs", "3", "--arch-start", "0"]


def steps(contenders: Sequence[str], algorithm: str) -> Found:
    """Of PC-DARTS, K = 2, 50 images, one contender after the other, so that each has the memory for itself."""
    need_gpu()
    yield GPU, torch.cuda.get_device_name()
    rows: dict[str, Row] = {}
    for contender in contenders:
        for kind, graph in KINDS.items():
            if contender == "eager" and graph:
                continue  # its steps read their losses and gradient norms
            row = tried(contender, partial(step_row, algorithm, contender, graph))
            if not isinstance(row, str):
                rows[f"{contender}{kind}"] = row
            yield f"{contender}{kind}", row
    if "eager" in rows:  # the last one, if time was left
        for name, row in rows.items():
            yield name, row | {"to eager": rows["eager"]["ms"] / row["ms"]}


def step_row(algorithm: str, contender: str, graph: bool, device: str = DEVICE, **sizes: int) -> Row:
    """Milliseconds, memory and kernels of a step."""
    warm = 1 if contender == "eager" else WARM
    step, row = watched(partial(step_of, algorithm, contender, graph, device, **sizes), device, warm)
    first = milliseconds(step)
    row = {"ms": min(first, milliseconds(step, max(1, min(20, int(500 / first))))), **row}
    if contender in OURS:  # the others have too many to be logged in this time
        kernels = tried(contender, partial(kernels_of, step))
        row |= {} if isinstance(kernels, str) else {"kernels": sum(one.calls for one in kernels)}
    return row


def step_of(
    algorithm: str, contender: str, graph: bool, device: str = DEVICE, N: int = N, side: int = SIDE, **sizes: int
) -> Call:
    """N images; sizes of the space"""
    shape = space("pc_darts", **sizes)
    config = Config.preset("pc_darts", algorithm, learners=K, arch_start=0, pretrain_epochs=0)
    batch = batch_of(N, side).to(device)
    if contender == "eager":
        return partial(eager_search(config, shape, device).step, batch)
    search = Search(Supernet(shape), config, device, graph)

    def step() -> Any:
        with use_backend(contender):
            return search.step(batch)

    return step


def eager_search(config: Config, shape: Any, device: str) -> Any:
    """The released step, or the second order pair by pair."""
    made = eager.learners(shape, config)
    for one in made:
        for module in one.modules():
            module.to(device)
    return (eager.Released if config.schedule == "released" else eager.Pairwise)(made)


def batch_of(N: int, side: int) -> Batch:
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, N, 3, side, side, generator=draw), torch.randint(10, (2, N), generator=draw)
    return Batch(x[0], y[0], x[1], x[2], y[1])


def search(contenders: Sequence[str]) -> Found:
    """From the command line to the genotypes, by every backend of a GPU."""
    need_gpu()
    for backend in contenders:
        if backend in OURS:
            yield from searched(backend, ["--scale", "paper", "--device", "cuda", *SHORT], SEARCH_LIMIT)


def searched(backend: str, options: Sequence[str], limit: float, go: Callable[..., Done] = run) -> Found:
    """A search in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = ["-m", "sgl_fast.search", "--space", "pc_darts", "--data", "embedded", "--backend", backend]
        done = go([sys.executable, *command, *options, "--out", str(out)], limit)
        yield f"{backend}, exit code", f"not done after {limit} s" if done.code is None else done.code
        yield f"{backend}, seconds", round(done.seconds, 1)
        yield f"{backend}, progress", progress_of(done.err)
        yield f"{backend}, last record", last_record(out / "metrics.jsonl")
        if done.code:
            yield f"{backend}, said", done.said[-1000:]


def progress_of(err: str) -> str:
    """Of the last progress line: ms a step of the last 50, a validation and pictures among them, share of the data."""
    lines = re.findall(r"step (\d+)/(\d+)  ([\d.]+) ms .*?data (\d+%)", err)
    if not lines:
        return "no progress line"
    step, steps_, ms, data = lines[-1]
    return f"{step} of {steps_} steps, {ms} ms a step, {1e3 / float(ms):.3g} steps/s, data {data}"


def last_record(path: Path) -> str:
    """Losses and accuracies of a search's last step."""
    if not path.exists() or not (lines := path.read_text(encoding="utf-8").splitlines()):
        return "none"
    record = json.loads(lines[-1])
    kept = ("step", "loss", "accuracy", "forwards", "backwards")
    return json.dumps({name: value for name, value in record.items() if any(word in name for word in kept)})
