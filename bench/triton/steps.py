"""Triton's launches in a search, by kernel, and the kernels that its run compiles: python -m bench.triton.steps.

Counted without a GPU: the step goes its way on CPU tensors, each launch ends before it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import suppress

from sgl_fast import Config, Search, Supernet, space
from sgl_fast.data import open_dataset
from sgl_fast.kernels.ahead import Launch, caught
from sgl_fast.run.run_launches import launches_of_run
from sgl_fast.run.search_settings import settings_of
from sgl_fast.spaces import EVERY, RULES

from ..gpu.steps import batch_of
from ..tables import table

IMAGES, SIDE = 2, 32  # what is counted does not depend on how many images there are


def step_launches(name: str, layers: int, arch: int) -> Counter[Launch]:
    """Of a step of two learners that moves the architectures, too."""
    config = Config.preset(name, learners=2, arch_start=0, pretrain_epochs=0)
    search = Search(Supernet(space(name, layers=layers)), config, "cpu", graph=False)
    with caught(arch) as found, suppress(FloatingPointError):  # what was not computed is no number
        search.step(batch_of(IMAGES, SIDE))
    return found


def run_launches(name: str, arch: int) -> Counter[Launch]:
    """Of a step of each kind and a validation in all stages of a search with the paper's settings."""
    size = 64 if space(name).imagenet else 32
    settings = settings_of({"space": name, "data": "embedded", "image_size": size}, "cuda")
    return launches_of_run(settings, open_dataset("embedded", None, image_size=size), arch)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.triton.steps", description=__doc__)
    parser.add_argument("--space", choices=EVERY, default="pc_darts")
    parser.add_argument("--arch", type=int, default=90, help="70 for sm_70 (default %(default)s)")
    args = parser.parse_args(arguments)
    run = run_launches(args.space, args.arch)
    step = step_launches(args.space, RULES[args.space].layers[0], args.arch)
    launches, kernels = Counter[str](), Counter(launch.kernel for launch in run)
    for launch, count in step.items():
        launches[launch.kernel] += count
    rows = [[f"`{name}`", str(launches[name]), str(kernels[name])] for name, _ in kernels.most_common()]
    total = ["all", str(launches.total()), str(kernels.total())]
    print(table(["kernel", "launches a step", "kernels a run"], [*rows, total]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
