"""What the CUDA kernels of a pass compute and move, counted from the cells' plans, and what a V100 could make of it.

python -m bench.cuda_work writes bench/results/cuda_work.md and the README's projection. It needs no GPU:
nothing is timed, every time is a projection from counts and data sheets.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import NamedTuple

from sgl_fast.nets.supernet import Supernet
from sgl_fast.ops.mixed_cell import numbers
from sgl_fast.ops.plan import program_of
from sgl_fast.spaces import space

from . import cycle_model
from .cuda_launches import CellLaunches
from .report import ROOT, write_section
from .tables import number, table

BEGIN, END = "<!-- projection -->", "<!-- /projection -->"


class Gpu(NamedTuple):
    """Data sheet, and what of it a kernel is taken to reach; seconds, bytes, floating-point operations."""

    name: str
    flops: float
    products: float
    memory: float
    cache: float
    launch: float


# Half of 15.7 TFLOP/s and of the tensor cores' 125, 85 percent of 900 GB/s, L2 as measured by Jia et al. (arXiv
# 1804.06826), launches in a graph.
V100 = Gpu("V100", 0.5 * 15.7e12, 0.5 * 125e12, 0.85 * 900e9, 2.155e12, 2e-6)


class Count(NamedTuple):
    kernels: int = 0
    flops: float = 0
    products: float = 0
    asked: float = 0
    distinct: float = 0
    seconds: float = 0
    blocks: float = math.inf  # of a launch, at least
    shared: float = 0  # bytes of a block, at most

    def plus(self, other: Count) -> Count:
        sums = (a + b for a, b in zip(self[:6], other[:6], strict=True))
        kernels, flops, products, asked, distinct, seconds = sums
        narrow = min(self.blocks, other.blocks), max(self.shared, other.shared)
        return Count(int(kernels), flops, products, asked, distinct, seconds, *narrow)


Work = dict[tuple[str, str], Count]  # by direction and kernel


class Setup(NamedTuple):
    """A pass of one learner. Of a design on paper, forward and backward: kernels, GB."""

    space: str
    images: int
    model: tuple[int, float, int, float]


SETUPS = [
    Setup("pc_darts", 50, (124, 1.25, 140, 1.98)),
    Setup("pc_darts", 256, (124, 6.4, 140, 10.2)),
    Setup("darts", 50, (124, 3.43, 140, 4.75)),
    Setup("p_darts", 50, (79, 2.1, 89, 2.9)),
    Setup("pc_darts_imagenet", 128, (125, 4.4, 141, 6.8)),
]
# Forward and backward passes of a learner; whether they may keep float16, which plain finite differences may not.
STEPS = {
    "first order, as released": (5, 4, False),
    "the same, float16 kept": (5, 4, True),
    "second order": (11, 11, False),
}
LEARNERS = 2

ABOUT = f"""One pass of one learner, float32, with the gradients of the weights; of the cells alone: stem, head and
optimisers are not in it. Tensor GFLOP: of the three float16 products that stand for one in float32. Asked: what the
kernels load and store, loads that a cache answers included. Distinct: every place once a launch. Model: the same on
paper, before the kernels were written, when every tensor moves once where a fused kernel needs it. ms: projected for a
V100, launch by launch the most of operations ({V100.flops / 1e12:.2f} TFLOP/s, then {V100.products / 1e12:.1f} on
tensor cores), distinct bytes ({V100.memory / 1e9:.0f} GB/s) and asked bytes ({V100.cache / 1e12:.1f} TB/s), plus
{V100.launch * 1e6:.0f} us. **Nothing here was timed.** Blocks: of the smallest launch; shared KB: of a block, at most,
where a multiprocessor has 96.
"""
DIFFERENCES = """Where the counts differ from the model, and why:

* Kernels: fewer. Both first states share a launch, pools and weighted operations too, and a node's sums are taken by
  the kernel that completes its gradient.
* Backward, distinct: the weights' gradients read results and grad z once more, after the inputs' gradients did.
* Backward, operations: the depthwise results are computed again for the weights' gradients, and the gradient of a
  depthwise result is computed in both kernels.
* Asked: grad z of all outputs is read again for every few input channels.
"""


def work(setup: Setup, half: bool = False, gpu: Gpu = V100) -> Work:
    """By direction and kernel; half: float16 between forward and backward."""
    net = Supernet(space(setup.space))
    side = 28 if net.space.imagenet else 32
    found: Work = defaultdict(Count)
    for cell, _ in net.sections.cells:
        plan = program_of(tuple(numbers(cell)), side, side)
        for direction in ("forward", "backward"):
            for one in getattr(CellLaunches(plan, 1, setup.images, half), direction)():
                computing = one.flops / gpu.flops + one.products / gpu.products
                seconds = max(computing, one.asked / gpu.cache, one.distinct / gpu.memory)
                count = Count(1, one.flops, one.products, one.asked, one.distinct, seconds, one.blocks, one.shared)
                found[direction, one.kernel] = found[direction, one.kernel].plus(count)
        side //= 2 if cell.kind == "reduce" else 1
    return found


def total(found: Work, direction: str) -> Count:
    sums = Count()
    for (way, _), count in found.items():
        sums = sums.plus(count) if way == direction else sums
    return sums


def step_seconds(found: Work, passes: tuple[int, int], gpu: Gpu = V100) -> float:
    """Of the cells in a search step of all learners, which share launches."""
    sums = [total(found, direction) for direction in ("forward", "backward")]
    return sum(n * (LEARNERS * s.seconds + s.kernels * gpu.launch) for n, s in zip(passes, sums, strict=True))


Works = dict[tuple[Setup, bool], Work]  # by whether float16 is kept


def markdown(works: Works) -> str:
    parts = ["# What the CUDA kernels do, counted\n", ABOUT, pass_table(works), DIFFERENCES, "## By kernel\n"]
    for (setup, half), found in works.items():
        if setup.images == 50 and not half:
            parts += [f"{setup.space}, {setup.images} images\n", kernel_table(found)]
    parts += [f"## A search step, K = {LEARNERS}, ms, projected for a V100\n", step_table(works)]
    return "\n".join([*parts, "## By a cycle model\n", cycle_model.section()])


def pass_table(works: Works) -> str:
    head = ["pass", "kernels", "model", "GFLOP", "tensor GFLOP", "asked GB", "distinct GB", "model GB", "V100 ms"]
    rows = []
    for (setup, half), found in works.items():
        for i, direction in enumerate(("forward", "backward")):
            c = total(found, direction)
            name = f"{setup.space}, {setup.images} images, {direction}{', float16 kept' * half}"
            milliseconds = 1e3 * (c.seconds + c.kernels * V100.launch)
            giga = [number(x / 1e9) for x in (c.flops, c.products, c.asked, c.distinct)]
            model = ("", "") if half else (str(setup.model[2 * i]), number(setup.model[2 * i + 1]))
            rows.append([name, str(c.kernels), model[0], *giga, model[1], number(milliseconds)])
    return table(head, rows)


def kernel_table(found: Work) -> str:
    head = [
        "direction",
        "kernel",
        "launches",
        "GFLOP",
        "tensor GFLOP",
        "asked GB",
        "distinct GB",
        "V100 ms",
        "blocks",
        "shared KB",
    ]
    return table(head, ([key[0], f"`{key[1]}`", str(c.kernels), *figures(c)] for key, c in found.items()))


def figures(c: Count) -> list[str]:
    return [f"{x / 1e9:.2f}" for x in (c.flops, c.products, c.asked, c.distinct)] + [
        f"{1e3 * c.seconds:.2f}",
        f"{c.blocks:.0f}",
        number(c.shared / 1024),
    ]


def step_table(works: Works) -> str:
    rows = []
    for setup in SETUPS:
        seconds = [step_seconds(works[setup, half], (f, b)) for f, b, half in STEPS.values()]
        rows.append([f"{setup.space}, {setup.images} images", *(number(1e3 * s) for s in seconds)])
    return table(["search step", *STEPS], rows)


def main() -> None:
    works = {(setup, half): work(setup, half) for setup in SETUPS for half in (False, True)}
    (ROOT / "bench" / "results" / "cuda_work.md").write_text(markdown(works), encoding="utf-8")
    about = f"Projected, not timed: ms of the cells in a search step on a V100, float32, K = {LEARNERS}, by counts.\n\n"
    write_section(ROOT / "README.md", about + step_table(works) + cycle_model.note(), (BEGIN, END))


if __name__ == "__main__":
    main()
