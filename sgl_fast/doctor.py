"""python -m sgl_fast.doctor: the machine, which backends run here, whether they compute rightly, what is missing."""

from __future__ import annotations

import argparse
import json
import sys
from typing import NamedTuple

from .backends.choice import BACKENDS, device_of, why_not
from .backends.triton import interpreted
from .run.parser import Parser

MOST_ERROR = 1e-3  # of float32 gradients of a small net, relative to the largest
WIDTH = 11


class Finding(NamedTuple):
    """Of a backend. well: None if it cannot run, else whether it computes rightly."""

    well: bool | None
    said: str


def parser() -> argparse.ArgumentParser:
    text = "What a bug report needs: the machine, what runs on it, what does not, and the remedy."
    p = Parser(prog="python -m sgl_fast.doctor", description=text)
    p.add_argument("--backend", choices=BACKENDS, help="exit code 1 unless this one runs")
    p.add_argument("--json", action="store_true", help="all of it as one JSON object")
    return p


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 well, 1 a backend computes wrongly or the one that was asked for cannot run, 2 bad arguments."""
    args = parser().parse_args(argv)
    from .run.machine import facts

    machine: dict[str, str] = {}
    for name, line in facts():
        machine[name] = line
        if not args.json:
            say(name, line)
    backends: dict[str, Finding] = {}
    for name in BACKENDS:
        backends[name] = examine(name)
        if not args.json:
            say(name, backends[name].said)
    if args.json:
        print(json.dumps(machine | {"backends": {name: one._asdict() for name, one in backends.items()}}, indent=2))
    wrong = any(one.well is False for one in backends.values())
    return int(wrong or (args.backend is not None and backends[args.backend].well is None))


def examine(name: str) -> Finding:
    reason = why_not(name)
    if name == "triton" and interpreted():
        reason = "TRITON_INTERPRET=1 is set, which is for tests on a CPU"
    if reason:
        return Finding(None, f"no: {reason.replace(f'backend {name!r}', 'it', 1)}")
    if name == "reference":
        return Finding(True, "ready")
    try:
        error = error_of(name)
    except Exception as broken:  # whatever a machine lacks, it is said in a line
        first = str(broken).strip().partition("\n")[0]
        return Finding(False, f"BROKEN: {type(broken).__name__}: {first}")
    well = error <= MOST_ERROR
    return Finding(well, f"{'ready' if well else 'WRONG'}: gradients of a small net within {error:.0e} of float64")


def error_of(name: str) -> float:
    """Of logits and gradients of a small net, to the reference in float64, relative to the largest of each."""
    import torch

    from .nets.supernet import Supernet
    from .spaces import space

    net = Supernet(space("pc_darts", channels=8, layers=3, nodes=2))
    draw = torch.Generator().manual_seed(0)
    weights, arch = net.init_weights(2, draw, torch.float64), net.init_arch(2, draw, torch.float64)
    images = torch.randn(4, 3, 16, 16, generator=draw, dtype=torch.float64)

    def computed(dtype: torch.dtype, device: str, backend: str) -> list[torch.Tensor]:
        leaf = weights.to(device, dtype).requires_grad_()
        mixture = arch.map(lambda t: t.to(device, dtype).requires_grad_())
        logits = net(leaf, mixture, images.to(device, dtype), backend=backend)
        grads = torch.autograd.grad(logits.square().mean(), [leaf, *mixture.tensors()])
        return [t.detach().double().cpu() for t in (logits, *grads)]

    pairs = zip(
        computed(torch.float32, device_of(name), name), computed(torch.float64, "cpu", "reference"), strict=True
    )
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


def say(name: str, text: str) -> None:
    print(f"{name:<{WIDTH}}{text}")


if __name__ == "__main__":
    sys.exit(main())
