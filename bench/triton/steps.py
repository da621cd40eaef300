"""Triton's launches in a search, by kernel, and the kernels that its run compiles: python -m bench.triton.steps.

Counted without a GPU: the step goes its way on CPU tensors, each launch ends before it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from unittest import mock

import torch

from sgl_fast import Config, Search, Supernet, space
from sgl_fast.backends import choice
from sgl_fast.kernels.configurations import assumed
from sgl_fast.run.validate import validate
from sgl_fast.spaces import EVERY, RULES

from ..gpu.steps import batch_of
from ..tables import table
from .launches import Launch, handled, launch_of

IMAGES, SIDE = 2, 32  # what is counted does not depend on how many images there are


@contextmanager
def caught(arch: int) -> Iterator[Counter[Launch]]:
    """Launches as on that architecture, of backend triton on CPU tensors; none of them runs."""
    found: Counter[Launch] = Counter()
    here = mock.patch.multiple(choice, interpreted=lambda: True, why_not_triton=lambda *_: None)
    counted = handled(lambda kernel, run, args, options: found.update([launch_of(kernel, args, options)]))
    with counted, assumed(arch), here, choice.use_backend("triton"):
        yield found


def step_launches(name: str, layers: int, arch: int) -> Counter[Launch]:
    """Of a step of two learners that moves the architectures, too."""
    search = search_of(name, layers)
    with caught(arch) as found, suppress(FloatingPointError):  # what was not computed is no number
        search.step(batch_of(IMAGES, SIDE))
    return found


def search_of(name: str, layers: int) -> Search:
    config = Config.preset(name, learners=2, arch_start=0, pretrain_epochs=0)
    return Search(Supernet(space(name, layers=layers)), config, "cpu", graph=False)


def run_launches(name: str, arch: int) -> Counter[Launch]:
    """Of a step and a validation in all stages of a search."""
    found: Counter[Launch] = Counter()
    for layers in RULES[name].layers:
        found += step_launches(name, layers, arch)
        with caught(arch) as validated:
            images, labels = torch.zeros(IMAGES, 3, SIDE, SIDE), torch.zeros(IMAGES, dtype=torch.int64)
            validate(search_of(name, layers), [(images, labels)])
        found += validated
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.triton.steps", description=__doc__)
    parser.add_argument("--space", choices=EVERY, default="pc_darts")
    parser.add_argument("--arch", type=int, default=90, help="70 for sm_70 (default %(default)s)")
    args = parser.parse_args(arguments)
    run = run_launches(args.space, args.arch)
    step = sum((step_launches(args.space, layers, args.arch) for layers in RULES[args.space].layers[:1]), Counter())
    launches, kernels = Counter[str](), Counter(launch.kernel for launch in run)
    for launch, count in step.items():
        launches[launch.kernel] += count
    rows = [[f"`{name}`", str(launches[name]), str(kernels[name])] for name, _ in kernels.most_common()]
    total = ["all", str(launches.total()), str(kernels.total())]
    print(table(["kernel", "launches a step", "kernels a run"], [*rows, total]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
