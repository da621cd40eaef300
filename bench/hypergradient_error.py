"""Relative error of the hypergradient's methods against `exact` in float64, on small supernets.

python -m bench.hypergradient_error [--steps 40] [--spaces NAME ...] [--sides PIXELS ...] writes both tables of
bench/results/hypergradient_error.md: of a few spaces by the radius, and of `frozen` by the size of the images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

import sgl_fast
from sgl_fast import Arch, Config, Search
from sgl_fast.data import Dataset, Feed, open_dataset
from sgl_fast.spaces import SPACES

from . import implicit_error
from .report import write_section

RADII = (1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
SIZES = {"layers": 3, "nodes": 2, "num_classes": 10}
XI = 0.025
OUT = Path(__file__).parent / "results" / "hypergradient_error.md"


def trained(name: str, steps: int, feed: Feed) -> Search:
    """Two learners after some first-order steps on the embedded images."""
    channels = 8 if name.startswith("pc") else 4
    net = sgl_fast.Supernet(sgl_fast.space(name, channels=channels, **SIZES))
    config = Config.preset(name, order=1, lr=0.05, warmup_epochs=0, arch_start=0, steps_per_epoch=feed.steps_per_epoch)
    search = Search(net, config)
    for step in range(steps):
        search.step(feed.batch(step))
    return search


def errors(search: Search, feed: Feed, step: int) -> dict[tuple[str, torch.dtype], list[float]]:
    """One list over RADII for each method and precision, against exact."""

    def at(method: str, r: float, dtype: torch.dtype) -> Arch:
        w, v = search.w.to(dtype), search.v.to(dtype)
        arch, batch = search.arch.map(lambda t: t.to(dtype)), feed.batch(step).to(dtype=dtype)
        options: dict[str, Any] = {"xi_w": XI, "xi_v": XI, "explicit_pseudo_label_grad": True}
        return sgl_fast.hypergradient(search.nets[0], w, v, arch, batch, method=method, r=r, **options)

    want = at("exact", 1.0, torch.float64).flat()
    rows: list[tuple[str, torch.dtype, tuple[float, ...]]] = [("exact", torch.float32, (1.0,))]
    rows += [(m, d, RADII) for m in ("frozen", "finite_difference") for d in (torch.float64, torch.float32)]
    found = {}
    for method, dtype, radii in rows:
        got = [at(method, r, dtype).flat().double() for r in radii]
        found[method, dtype] = [((g - want).norm() / want.norm()).item() for g in got]
    return found


def kept(names: Iterable[str]) -> list[str]:
    """The rows of the file that begin with one of the names."""
    lines = OUT.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith(tuple(f"| {name} |" for name in names))]


def write(about: str, head: Sequence[str], lines: Iterable[str], name: str) -> None:
    """One of the file's two tables."""
    rule = "|---" * len(head) + "|"
    text = "\n".join([about, "", f"| {' | '.join(head)} |", rule, *lines]) + "\n"
    write_section(OUT, text, (f"<!-- {name} -->", f"<!-- /{name} -->"))


def by_radius(spaces: Sequence[str], steps: int, feed: Feed) -> None:
    sizes = "3 layers, 2 nodes, 4 channels (PC-DARTS 8), K = 2, batches of 12, explicit term included"
    about = f"Relative error of h against exact in float64 after {steps} training steps on Fashion-MNIST; {sizes}."
    head = ["space", "method", "precision", *(f"r = {r:g}" for r in RADII)]
    lines = kept(set(SPACES) - set(spaces))
    for name in spaces:
        search = trained(name, steps, feed)
        for (method, dtype), values in errors(search, feed, steps).items():
            cells = " | ".join(f"{v:.1e}" for v in values) + " |" * (len(RADII) - len(values))
            lines.append(f"| {name} | {method} | {str(dtype).removeprefix('torch.')} | {cells} |")
            print(lines[-1], flush=True)
        write(about, head, lines, "radii")


def by_size(sides: Sequence[int], dataset: Dataset, seeds: int) -> None:
    lines = kept(f"{size.side} x {size.side}" for size in implicit_error.SIZES if size.side not in sides)
    for size in implicit_error.SIZES:
        for dtype in implicit_error.DTYPES:
            if size.side in sides:
                lines.append(f"| {' | '.join(implicit_error.row(dataset, size, dtype, seeds))} |")
                print(lines[-1], flush=True)
        write(implicit_error.ABOUT, implicit_error.HEAD, lines, "sizes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--spaces", nargs="*", choices=list(SPACES), default=list(SPACES), help="the other rows stay")
    sides = sorted({size.side for size in implicit_error.SIZES})
    parser.add_argument("--sides", nargs="*", type=int, choices=sides, default=sides, help="the other rows stay")
    parser.add_argument("--seeds", type=int, default=1, help="of the table by size")
    args = parser.parse_args()
    dataset = open_dataset("embedded")
    by_radius(args.spaces, args.steps, Feed(dataset, 12, seed=1))
    by_size(args.sides, dataset, args.seeds)


if __name__ == "__main__":
    main()
