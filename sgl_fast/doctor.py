"""python -m sgl_fast.doctor: which backends run here, whether they compute rightly, what else is missing."""

from __future__ import annotations

import argparse
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from . import __version__
from .backends import device_code
from .backends.choice import BACKENDS, device_of, why_not
from .backends.triton import interpreted
from .run.parser import Parser

MOST_ERROR = 1e-3  # of float32 gradients of a small net, relative to the largest
WIDTH = 11


def parser() -> argparse.ArgumentParser:
    text = "What runs on this machine, what does not, and the remedy."
    p = Parser(prog="python -m sgl_fast.doctor", description=text)
    p.add_argument("--backend", choices=BACKENDS, help="exit code 1 unless this one runs")
    return p


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 well, 1 a backend computes wrongly or the one that was asked for cannot run, 2 bad arguments."""
    args = parser().parse_args(argv)
    say("sgl_fast", f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    say("torch", torch_line())
    say("GPU", gpu_line())
    say("CUDA code", device_code.summary())
    well = [examine(name) for name in BACKENDS]
    return int(False in well or (args.backend is not None and well[BACKENDS.index(args.backend)] is None))


def examine(name: str) -> bool | None:
    """Whether a backend computes rightly; None if it cannot run."""
    reason = why_not(name)
    if name == "triton" and interpreted():
        reason = "TRITON_INTERPRET=1 is set, which is for tests on a CPU"
    if reason:
        say(name, f"no: {reason.replace(f'backend {name!r}', 'it', 1)}")
        return None
    if name == "reference":
        say(name, "ready")
        return True
    try:
        error = error_of(name)
    except Exception as broken:  # whatever a machine lacks, it is said in a line
        say(name, f"BROKEN: {type(broken).__name__}: {str(broken).strip().splitlines()[0] if str(broken) else ''}")
        return False
    well = error <= MOST_ERROR
    say(name, f"{'ready' if well else 'WRONG'}: gradients of a small net within {error:.0e} of float64{kind_of(name)}")
    return well


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


def kind_of(name: str) -> str:
    from .backends.choice import compiled

    return f", {compiled().isa()} instructions" if name == "cpu" else ""


def torch_line() -> str:
    import torch

    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    return f"{torch.__version__}, {cuda}, {torch.get_num_threads()} threads; {of('torchvision')}, {of('triton')}"


def of(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def gpu_line() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none that torch can use"
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return "; ".join(f"{p.name}, sm_{p.major}{p.minor}, {p.total_memory / 2**30:.0f} GiB" for p in found)


def say(name: str, text: str) -> None:
    print(f"{name:<{WIDTH}}{text}")


if __name__ == "__main__":
    sys.exit(main())
