"""Relative error of the hypergradient's methods against `exact` in float64, on briefly trained small supernets.

python bench/hypergradient_error.py [--steps 40] [--spaces NAME ...] writes bench/results/hypergradient_error.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import sgl_fast
from sgl_fast import Arch, Config, Search
from sgl_fast.data import Feed, open_dataset
from sgl_fast.spaces import SPACES

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
        options = {"xi_w": XI, "xi_v": XI, "explicit_pseudo_label_grad": True}
        return sgl_fast.hypergradient(search.nets[0], w, v, arch, batch, method=method, r=r, **options)

    want = at("exact", 1.0, torch.float64).flat()
    rows = [("exact", torch.float32, (1.0,))]
    rows += [(m, d, RADII) for m in ("frozen", "finite_difference") for d in (torch.float64, torch.float32)]
    found = {}
    for method, dtype, radii in rows:
        got = [at(method, r, dtype).flat().double() for r in radii]
        found[method, dtype] = [((g - want).norm() / want.norm()).item() for g in got]
    return found


def kept(spaces: list[str]) -> list[str]:
    """The rows of the file that belong to other spaces."""
    lines = OUT.read_text(encoding="utf-8").splitlines() if OUT.exists() else []
    return [x for x in lines if x.startswith("| ") and x.split()[1] in SPACES and x.split()[1] not in spaces]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--spaces", nargs="+", choices=list(SPACES), default=list(SPACES), help="the other rows stay")
    args = parser.parse_args()
    feed = Feed(open_dataset("embedded"), 12, seed=1)
    head = "| space | method | precision | " + " | ".join(f"r = {r:g}" for r in RADII) + " |"
    sizes = "3 layers, 2 nodes, 4 channels (PC-DARTS 8), K = 2, batches of 12, explicit term included"
    title = f"Relative error of h against exact in float64 after {args.steps} training steps on Fashion-MNIST; {sizes}."
    lines = [title, "", head, "|---" * (3 + len(RADII)) + "|", *kept(args.spaces)]
    for name in args.spaces:
        search = trained(name, args.steps, feed)
        for (method, dtype), values in errors(search, feed, args.steps).items():
            cells = " | ".join(f"{v:.1e}" for v in values) + " |" * (len(RADII) - len(values))
            lines.append(f"| {name} | {method} | {str(dtype).removeprefix('torch.')} | {cells} |")
            print(lines[-1], flush=True)
        OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
