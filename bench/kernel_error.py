"""Errors of the float32 kernels against float64, beside those of the eager float32 operations, on fresh random shapes.

python -m bench.kernel_error [--shapes 400] [--seed N] writes bench/results/kernel_error.md.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from sgl_fast.ops import mixed_cell as fused
from sgl_fast.ops.flat_update import central_difference, perturb, row_norms, sgd
from sgl_fast.ops.pseudo_label import cross_entropy, pseudo_label_vjp, pseudo_labels
from sgl_fast.reference import mixed_cell as reference
from sgl_fast.testing import draw_inputs, draw_setting, run

OUT = Path(__file__).parent / "results" / "kernel_error.md"
MOST = 2.0
HEAD = """\
Root-mean-square error of each tensor against float64: the `cpu` kernels' over that of the same operation in eager
PyTorch, float32, {shapes} random shapes a kernel (seed {seed}), one thread. Together: over the errors of all
shapes, each relative to its tensor. Beyond {most:g}: shapes in which ours is more than {most:g} times as far off,
and shapes in which eager is. Tensors that either computes without an error are left out. A ReLU's input that
rounding puts on the other side of its kink, in either, makes the outliers.

| tensor | shapes | median | 95 % | most | together | ours beyond {most:g} | eager beyond {most:g} |
|---|---|---|---|---|---|---|---|
"""

Named = dict[str, Tensor]
Pair = tuple[float, float]  # ours, eager: relative root-mean-square errors
Compute = Callable[[torch.dtype, str], Named]


def cell(draw: random.Random) -> Compute:
    """Output, gradients and running statistics of a random cell."""
    setting = draw_setting(draw)
    inputs = draw_inputs(setting)
    names = ["out", "grad s0", "grad s1", "grad weights", "grad op_weights", "grad edge_weights"]
    if not setting.edge_weights:
        names.pop()
    names += ["running mean", "running var"]

    def compute(dtype: torch.dtype, backend: str) -> Named:
        op = reference.mixed_cell if backend == "reference" else fused.mixed_cell
        return dict(zip(names, run(setting, inputs.at(dtype), op), strict=True))

    return compute


def pseudo_label(draw: random.Random) -> Compute:
    size = draw.randint(2, 5), draw.randint(1, 100), draw.choice([10, 100, 1000, draw.randint(2, 1200)])
    teachers, students = (3 * torch.randn(*size) for _ in range(2))

    def compute(dtype: torch.dtype, backend: str) -> Named:
        p, targets = pseudo_labels(teachers.to(dtype), backend)
        loss, log_probs, grad = cross_entropy(students.to(dtype), torch.softmax(teachers, -1).to(dtype), 1.0, backend)
        cotangent = pseudo_label_vjp(torch.softmax(teachers, -1).to(dtype), students.to(dtype), backend)
        return {"p": p, "targets": targets, "loss": loss, "log_probs": log_probs, "grad": grad, "cotangent": cotangent}

    return compute


def flat_update(draw: random.Random) -> Compute:
    K, P = draw.randint(1, 4), draw.randint(1, 400_000)
    w, g, b = (torch.randn(K, P) for _ in range(3))
    both, eps = torch.randn(2 * K, P), torch.rand(K) + 0.1

    def compute(dtype: torch.dtype, backend: str) -> Named:
        W, G, B = (t.to(dtype) for t in (w, g, b))
        new, buffer, _ = sgd(W, G, B, 0.1, 0.9, 3e-4, 5.0, backend)
        found = {"weights": new, "buffer": buffer, "norms": row_norms(G, backend)}
        found["perturbed"], found["eps"] = perturb(W, G, 0.01, backend)
        return found | {"central_difference": central_difference(both.to(dtype), eps.to(dtype), backend)}

    return compute


def errors(compute: Compute) -> Iterator[tuple[str, Pair]]:
    """Of every tensor that is not 0 throughout."""
    want = compute(torch.float64, "reference")
    ours, eager = (compute(torch.float32, backend) for backend in ("cpu", "reference"))
    for name, true in want.items():
        scale = true.square().mean().sqrt()
        if scale > 0:
            pair = [((t[name].double() - true).square().mean().sqrt() / scale).item() for t in (ours, eager)]
            yield name, (pair[0], pair[1])


def row(name: str, pairs: list[Pair]) -> str:
    ratios = sorted(a / b for a, b in pairs if a and b)
    together = (sum(a * a for a, _ in pairs) / sum(b * b for _, b in pairs)) ** 0.5
    above, below = sum(r > MOST for r in ratios), sum(r < 1 / MOST for r in ratios)
    tail = ratios[int(0.95 * (len(ratios) - 1))]
    numbers = " | ".join(f"{x:.2f}" for x in (statistics.median(ratios), tail, ratios[-1], together))
    return f"| {name} | {len(ratios)} | {numbers} | {above} | {below} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.kernel_error", description=__doc__)
    parser.add_argument("--shapes", type=int, default=400)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    draw, lines = random.Random(args.seed), []
    for kernel, make in (("mixed_cell", cell), ("pseudo_label", pseudo_label), ("flat_update", flat_update)):
        found: dict[str, list[Pair]] = {}
        for _ in range(args.shapes):
            for name, pair in errors(make(draw)):
                found.setdefault(name, []).append(pair)
        lines += [row(f"{kernel}: {name}", pairs) for name, pairs in found.items()]
        print("\n".join(lines[-len(found) :]), flush=True)
    head = HEAD.format(shapes=args.shapes, seed=args.seed, most=MOST)
    OUT.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
