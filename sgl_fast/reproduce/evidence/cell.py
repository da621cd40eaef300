"""Trains the network of a cell from several initialisations at a time, as virtual learners, and tests it.

python -m sgl_fast.reproduce.evidence.cell --cell GENOTYPE|FOLDER --out DIR [options of sgl_fast.search]
The network is what the genotype leaves of the search's supernet (`nets.discrete`): same channels, cells and images. All
cells, and all initialisations, see the same batches of the training images; the validation images, which searches have
seen, take no part.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import write_text_atomic
from ...genotype.genotype import Genotype
from ...run.command import refuse
from ...run.run_folder import RunFolder
from .settings import parsed

if TYPE_CHECKING:
    from torch import Tensor

PROG = "python -m sgl_fast.reproduce.evidence.cell"
RESULT = "result.json"
LR, MOMENTUM, WEIGHT_DECAY, CLIP = 0.1, 0.9, 3e-4, 5.0


def options() -> argparse.ArgumentParser:
    """Those that are not the search's."""
    own = argparse.ArgumentParser(PROG, add_help=False)
    own.add_argument("--cell", required=True)
    own.add_argument("--step", type=int)
    own.add_argument("--steps", type=int, default=200)
    own.add_argument("--images", type=int, default=32)
    own.add_argument("--initialisations", type=int, default=3)
    return own


def main(argv: list[str] | None = None) -> int:
    """result.json has test_accuracy, one an initialisation, and the genotype. Exit code: 0, or 2 for bad arguments."""
    try:
        args, settings, run = parsed(options(), sys.argv[1:] if argv is None else argv)
        genotype = genotype_of(args.cell, args.step)
        accuracy = trained(genotype, settings, args.steps, args.images, args.initialisations)
    except ValueError as error:
        return refuse(PROG, error)
    run.out.mkdir(parents=True, exist_ok=True)
    result = {"test_accuracy": accuracy, "genotype": json.loads(genotype.to_json())}
    write_text_atomic(run.out / RESULT, json.dumps(result) + "\n")
    return 0


def genotype_of(cell: str, step: int | None) -> Genotype:
    """cell: JSON; or a search's folder: its best learner's after a step, the first's where that step has no validation.

    ValueError where there is none.
    """
    if cell.startswith("{"):
        return Genotype.from_json(cell)
    records = [r for r in RunFolder(Path(cell)).read_metrics() if r["step"] == step and "genotypes" in r]
    if not records:
        raise ValueError(f"--step: no genotype of step {step} in {cell}")
    return Genotype(**records[0]["genotypes"][records[0].get("best_learner", 0)])


def trained(genotype: Genotype, settings: dict[str, Any], steps: int, images: int, initialisations: int) -> list[float]:
    """Accuracy on the test images, one an initialisation."""
    import torch

    from ...data import Feed
    from ...nets.discrete import Discrete
    from ...nets.supernet import draw_seeds
    from ...search import open_data
    from ...spaces import space

    dataset = open_data(settings)
    sizes = {name: settings[name] for name in ("channels", "nodes")}
    sizes |= {"layers": settings["layers"][0], "num_classes": dataset.num_classes}
    cell = Discrete(space(settings["space"], ops=_ops(settings), **sizes), genotype)
    net, feed = cell.net, Feed(dataset, images, seed=0)
    draw = torch.Generator().manual_seed(0)
    weights = net.init_weights(initialisations, draw).requires_grad_()
    arch, running = cell.arch(weights.detach()), net.init_running(initialisations)
    optimizer = torch.optim.SGD([weights], LR, MOMENTUM, weight_decay=WEIGHT_DECAY)

    def logits(x: Tensor, training: bool) -> Tensor:
        seeds = draw_seeds(initialisations, draw)
        return net(weights, arch, x, training, running, skip_beta=0.0, dropout_seeds=seeds)

    for step in range(steps):
        optimizer.param_groups[0]["lr"] = LR * (1 + math.cos(math.pi * step / steps)) / 2
        x, y = feed.labeled("train", step)
        loss = torch.nn.functional.cross_entropy(logits(x, True).flatten(0, 1), y.repeat(initialisations))
        optimizer.zero_grad()
        (initialisations * loss).backward()
        assert weights.grad is not None
        norms = weights.grad.norm(dim=1, keepdim=True)
        weights.grad.mul_((CLIP / norms).clamp(max=1.0))
        optimizer.step()
    correct, count = torch.zeros(initialisations), 0
    with torch.no_grad():
        for x, y in feed.evaluation("test", 100):
            correct += (logits(x, False).argmax(-1) == y).sum(1)
            count += len(y)
    accuracy: list[float] = (correct / count).tolist()
    return accuracy


def _ops(settings: dict[str, Any]) -> tuple[str, ...] | None:
    from ...run.search_settings import ops_of

    return ops_of(settings["ops"])


if __name__ == "__main__":
    sys.exit(main())
