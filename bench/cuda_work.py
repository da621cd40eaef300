"""What the CUDA kernels of a search step do, and how long that takes by the cost model, on GPUs that nobody timed.

make model writes bench/results/cuda_work.md, cuda_work.json and the README's projection. It needs no GPU: a search step
of full size is launched through the driver's stand-in and its kernels are traced (cuda_trace), each kind once.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch

from sgl_fast.backends import choice
from sgl_fast.data.batch import Batch
from sgl_fast.nets.supernet import Supernet
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.search import Search
from sgl_fast.spaces import space

from . import cuda_model, cycle_model
from .cuda_trace import Launch, Trace, stem, tracing
from .gpus import GPUS, V100, Gpu
from .report import ROOT, write_section
from .tables import number, table

BEGIN, END = "<!-- projection -->", "<!-- /projection -->"
SPACES, IMAGES, LEARNERS = ("pc_darts",), 50, 2
STEPS = {"first order, as released": "released", "second order": "best"}  # the algorithm
SECTOR = 32
CODE = ("csrc/cuda", "csrc/tests/trace")  # kernels and their launches; what they do is counted by

ABOUT = f"""**Modelled, never timed.** What the kernels of a search step take on GPUs that have not run them: {IMAGES}
images, K = {LEARNERS}, float32, channels and layers as published; of the fused kernels alone, stem, head and optimisers
that are PyTorch's are not in it. Each kind of launch is run from its PTX, block by block, and counted; how counts
become time is said in [bench/cuda_model.py](../cuda_model.py), what is known of a GPU in [bench/gpus.py](../gpus.py).
"""
KERNELS = """By kernel, a second-order step. Instructions of machine code, shuffles, barriers and loads of global memory
are a warp's, on the path that it takes; in flight: loads of a warp at a time, alone; GB: sectors of DRAM; blocks: of a
multiprocessor of a V100 at a time, and rounds, how often. Bound: what instructions and bytes take if nothing waits.
"""
CALIBRATION = """How far the model is off a cycle-level simulator of a V100, on parts of launches. By these CHAIN and
POWER were set; the simulator itself is within some 50 % of hardware.
"""


class Kind(NamedTuple):
    """Of a kernel, all its launches: per warp, and on each GPU milliseconds."""

    launches: int
    instructions: float
    shuffles: float
    barriers: float
    loads: float
    in_flight: float
    gigabytes: float
    blocks: float
    rounds: float
    bound: float
    ms: tuple[float, ...]


def stood_in() -> Any:
    """The driver's stand-in; CUDA kernels take the place of the CPU's."""
    sys.path.insert(0, str(ROOT / "tests"))
    from simulated import stand_in

    driver, own = stand_in(), choice.compiled()
    found: Any = SimpleNamespace(**vars(own) | vars(own.cuda))
    choice._found = found
    return driver


def traced(driver: Any, trace: Trace, call: Callable[[], object]) -> list[Launch]:
    """The launches of a call, whose kernels do not run."""
    trace.launches = []
    with driver.counting(), choice.use_backend("cpu"), tracing(driver.library, trace):
        call()
    return trace.launches


def step(name: str, algorithm: str) -> Callable[[], object]:
    net = Supernet(space(name))
    search = Search(net, Config.preset(name, algorithm, learners=LEARNERS, arch_start=0, pretrain_epochs=0))
    x, y = torch.randn(3, IMAGES, 3, 32, 32), torch.randint(10, (2, IMAGES))
    return lambda: search.step(Batch(x[0], y[0], x[1], x[2], y[1]))


def one_pass(name: str) -> Callable[[], object]:
    """Forward and backward of one learner."""
    net = Supernet(space(name))
    weights = net.init_weights(1).requires_grad_()
    arch = net.init_arch(1).map(lambda t: t.requires_grad_())
    images = torch.randn(1, IMAGES, 3, 32, 32)
    return lambda: torch.autograd.grad(net(weights, arch, images).sum(), [weights, *arch.tensors()])


def kinds(launches: Iterable[Launch]) -> dict[str, Kind]:
    groups: dict[str, list[Launch]] = defaultdict(list)
    for one in launches:
        groups[stem(one.kernel)].append(one)
    return {name: kind(group) for name, group in groups.items()}


def kind(group: list[Launch]) -> Kind:
    blocks = [(launch.images, b, launch.threads // 32) for launch in group for b in launch.blocks]
    warps = sum(images * count for images, _, count in blocks)

    def mean(name: str) -> float:
        return float(sum(images * getattr(b, name) for images, b, _ in blocks) / warps)

    waited = sum(images * b.cycles[0] * count for images, b, count in blocks)
    in_flight = sum(images * b.loading for images, b, _ in blocks) / waited
    costs = [cuda_model.cost(one, V100) for one in group]
    ms = tuple(1e3 * seconds(group, gpu) for gpu in GPUS)
    gigabytes = SECTOR * sum(images * b.dram_sectors for images, b, _ in blocks) / 1e9
    return Kind(
        len(group),
        mean("slots"),
        mean("shuffles"),
        mean("barriers"),
        mean("loads"),
        in_flight,
        gigabytes,
        sum(c.resident for c in costs) / len(costs),
        sum(c.rounds for c in costs) / len(costs),
        1e3 * sum(c.floor for c in costs),
        ms,
    )


def seconds(launches: Iterable[Launch], gpu: Gpu) -> float:
    """One after the other."""
    known: dict[tuple[object, ...], float] = {}

    def cost(one: Launch) -> float:
        key = (id(one.blocks), one.grid)
        if key not in known:
            known[key] = cuda_model.cost(one, gpu).seconds
        return known[key]

    return sum(cost(one) + gpu.gap for one in launches)


def code_of(text: str) -> str:
    """C++ without comments, in which no string has // or /*, and without line ends."""
    return " ".join(re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL).split())


def digest(root: Path = ROOT) -> str:
    """Of what the figures are made of: kernels, their launches and registers, the trace, the model's constants."""
    known = GPUS, cuda_model.CHAIN, cuda_model.POWER, sorted(cuda_model.resources().items())
    content = hashlib.sha256(repr(known).encode())
    for path in sorted(path for folder in CODE for path in (root / folder).iterdir() if path.suffix != ".md"):
        content.update(f"{path.name}\n{code_of(path.read_text(encoding='utf-8'))}\n".encode())
    return content.hexdigest()[:16]


def markdown(steps: dict[tuple[str, str], list[Launch]]) -> str:
    title = "# What the CUDA kernels do, and how long by the cost model\n"
    parts = [title, ABOUT, f"Made of `{digest()}`.\n", step_table(steps), KERNELS]
    for name in SPACES:
        parts += [f"{name}\n", kernel_table(kinds(steps[name, "second order"]))]
    return "\n".join([*parts, CALIBRATION, cycle_model.section()])


def step_table(steps: dict[tuple[str, str], list[Launch]]) -> str:
    head = ["search step", "kernels", *(f"{gpu.name}, ms" for gpu in GPUS)]
    rows = [
        [f"{name}, {order}", str(len(found)), *(number(1e3 * seconds(found, gpu)) for gpu in GPUS)]
        for (name, order), found in steps.items()
    ]
    return table(head, rows)


def kernel_table(found: dict[str, Kind]) -> str:
    head = [
        "kernel",
        "launches",
        "instructions",
        "shuffles",
        "barriers",
        "loads",
        "in flight",
        "GB",
        "blocks",
        "rounds",
    ]
    rows = sorted(found.items(), key=lambda item: -item[1].ms[0])
    lines = ([f"`{name}_kernel`", *map(number, k[:-1]), *map(number, k.ms)] for name, k in rows)
    return table([*head, "bound, ms", *(f"{gpu.name}, ms" for gpu in GPUS)], lines)


def counts(launches: Iterable[Launch]) -> dict[str, dict[str, float]]:
    """Of a pass of one learner and one image, what `make gpu` compares with: launches, bytes of DRAM, multiply-adds."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(("launches", "bytes", "multiply_adds"), 0.0))
    for one in launches:
        row, images = found[stem(one.kernel)], one.images / IMAGES
        row["launches"] += 1
        row["bytes"] += images * SECTOR * sum(b.dram_sectors for b in one.blocks)
        row["multiply_adds"] += images * 32 * sum(b.units[2] for b in one.blocks)
    return {f"{name}_kernel": {key: round(value) for key, value in row.items()} for name, row in found.items()}


def main() -> None:
    driver, steps, passes = stood_in(), {}, {}
    for name in SPACES:
        trace = Trace()
        passes[name] = counts(traced(driver, trace, one_pass(name)))
        for order, algorithm in STEPS.items():
            steps[name, order] = traced(driver, trace, step(name, algorithm))
            print(name, order, [number(1e3 * seconds(steps[name, order], gpu)) for gpu in GPUS], flush=True)
    results = ROOT / "bench" / "results"
    (results / "cuda_work.md").write_text(markdown(steps), encoding="utf-8")
    (results / "cuda_work.json").write_text(json.dumps(passes, indent=1) + "\n", encoding="utf-8")
    about = f"Modelled, never timed: the fused kernels of a search step, {IMAGES} images, K = {LEARNERS}, float32.\n\n"
    write_section(ROOT / "README.md", about + step_table(steps), (BEGIN, END))


if __name__ == "__main__":
    main()
